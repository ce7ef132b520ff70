"""``python -m benchmark.protocol export | import | evaluate``: outside systems on our lists.

``export`` writes texts, training log and lists for other programs, ``import`` checks lists that
another program made, and ``evaluate`` ranks another system's TREC files in either view and records
them as a run, which gives the system its row in every table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.cli import guarded
from benchmark.errors import BenchmarkError
from benchmark.overrides import protocol_changes
from benchmark.protocol.metrics import VIEWS
from benchmark.protocol.settings import (
    DEFAULT_PRESET,
    PRESETS,
    ProtocolSettings,
    configure_protocol,
)

if TYPE_CHECKING:
    from benchmark.data.dataset import Dataset
    from benchmark.jobs.outside import Files
    from benchmark.protocol.task import Task

TASK_NAMES = ("recommendation", "search")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmark.protocol", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, meaning in (
        ("export", "write texts, training log and lists for other programs, as TREC and Parquet"),
        ("import", "check candidate lists that another program made"),
        ("evaluate", "rank another system's TREC files, and record them as a run for the tables"),
    ):
        command = commands.add_parser(name, help=meaning, description=meaning)
        command.add_argument("dataset", help="a recipe's name, or the path of its file")
        command.add_argument(
            "--protocol",
            default=DEFAULT_PRESET,
            help=f"{', '.join(PRESETS)} (default: {DEFAULT_PRESET})",
        )
        command.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="protocol.KEY=VALUE",
            help="change one protocol setting (repeatable)",
        )
        command.add_argument(
            "--prepared",
            type=Path,
            default=Path("datasets/prepared"),
            help="where prepared data sets lie",
        )
        if name == "evaluate":
            _add_evaluation(command)
            continue
        command.add_argument(
            "--task",
            action="append",
            choices=TASK_NAMES,
            help="may be repeated (default: all tasks of the data set)",
        )
        option, meaning = (
            ("--out", "a new folder") if name == "export" else ("--from", "the folder of the lists")
        )
        command.add_argument(
            option, dest="folder", required=True, type=Path, metavar="FOLDER", help=meaning
        )
    return parser


def _add_evaluation(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "--run",
        required=True,
        type=Path,
        metavar="PATH",
        help="a TREC file (with --task), or a folder of files called <task>.trec for candidate "
        "lists and <task>-all-items.trec for all items; .trec.gz too",
    )
    add("--task", choices=TASK_NAMES, help="of a file; of a folder, all that it has files for")
    add("--view", choices=VIEWS, help="likewise (a file's default: lists)")
    add("--name", help="what the record calls the system (default: the name of the file or folder)")
    add("--label", help="what tables call it (default: its name)")
    add("--family", default="outside", help="under which family it stands (default: outside)")
    add("--seed", type=int, default=0, help="of the run, where there are several (default: 0)")
    add("--hardware", default="", help="what it ran on, in a few words")
    add("--contributor", default="", help="who made the run")
    add("--url", default="", help="where its code or paper is")
    add("--results", type=Path, default=Path("results"), help="where the run is recorded")
    add("--fresh", action="store_true", help="record it again even if it is there")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code (0, 2 bad input, 130 Ctrl-C)."""
    options = _parser().parse_args(argv)
    return guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    # Imported here, so that --help is fast.
    from benchmark import data
    from benchmark.protocol import exchange
    from benchmark.protocol.kept_tasks import load_tasks

    protocol, settings = configure_protocol(options.protocol, protocol_changes(options.set))
    dataset = data.load(options.dataset, root=options.prepared)
    tasks = load_tasks(dataset, settings, options.prepared)
    if options.command == "evaluate":
        _evaluate(options, dataset, tasks, protocol, settings)
        return 0
    asked = options.task or list(tasks)
    for name in asked:
        if name not in tasks:
            raise BenchmarkError(f"data set {dataset.name}: has no {name} events.")
    chosen = {name: tasks[name] for name in asked}
    if options.command == "export":
        exchange.export_tasks(options.folder, dataset, tasks, protocol, settings, asked)
        for name, task in chosen.items():
            print(f"{name}: {_described(task.test_candidates.items.shape)}")
            print(f"  fingerprint {task.test_candidates.fingerprint}")
    else:
        for name, lists in exchange.read_candidates(options.folder, dataset, chosen).items():
            same = lists.fingerprint == chosen[name].test_candidates.fingerprint
            whose = f"those of protocol {protocol}" if same else "other lists than ours"
            print(f"{name}: {_described(lists.items.shape)}, {whose}")
            print(f"  fingerprint {lists.fingerprint}")
    return 0


def _evaluate(
    options: argparse.Namespace,
    dataset: Dataset,
    tasks: dict[str, Task],
    protocol: str,
    settings: ProtocolSettings,
) -> None:
    from benchmark.jobs.outside import OutsideSystem, rank_files, record_outside
    from benchmark.protocol.metrics import shown_metrics

    name = options.name or _name_of(options.run)
    system = OutsideSystem(
        name=name,
        label=options.label or name,
        family=options.family,
        seed=options.seed,
        contributor=options.contributor,
        url=options.url,
        hardware=options.hardware,
    )
    system.refuse_unusable("--{}")
    ranked = rank_files(_files(options), dataset, tasks, settings)
    run, is_new = record_outside(
        system,
        ranked,
        dataset,
        tasks,
        protocol,
        settings,
        options.results,
        fresh=options.fresh,
    )
    for (task, view), found in ranked.items():
        if view == "lists":
            print(f"{task}: {_described(tasks[task].test_candidates.items.shape)}")
            print(f"  {found.unnamed:,} candidates are not in the run and count as pruned")
            print(f"  {found.passed_over:,} lines of the run name items outside their event's list")
        else:
            print(f"{task}: {len(found.ranks):,} test events among all items")
            print(f"  {found.unnamed:,} items are not in the run and stand last, tied")
            print(f"  {found.passed_over:,} lines of the run name items that are not ranked")
        shown = shown_metrics(settings.cutoffs_of(view))
        width = 1 + max(map(len, shown))
        for metric in shown:
            print(f"  {metric:{width}}{run.metrics_of(view)[task][metric]:.6f}")
    done = "recorded" if is_new else "was recorded before"
    print(f"{done}: {run.folder}; tables: python -m benchmark.report", file=sys.stderr)


def _name_of(path: Path) -> str:
    """``mine/search.trec.gz`` → ``search``; of a folder its own name."""
    return path.resolve().name.removesuffix(".gz").removesuffix(".trec")


def _files(options: argparse.Namespace) -> Files:
    """The files of ``--run`` by task and view."""
    from benchmark.jobs.outside import files_in

    if not options.run.exists():
        raise BenchmarkError(f"--run {options.run}: there is no such file or folder.")
    if not options.run.is_dir():
        if options.task is None:
            raise BenchmarkError(f"--task: is needed where --run is a file ({options.run}).")
        return {(options.task, options.view or VIEWS[0]): options.run}
    found = {
        (task, view): path
        for (task, view), path in files_in(options.run).items()
        if options.task in (None, task) and options.view in (None, view)
    }
    if not found:
        raise BenchmarkError(f"{options.run}: holds no run of the chosen task and view.")
    return found


def _described(shape: tuple[int, ...]) -> str:
    return f"{shape[0]:,} lists of {shape[1]:,} candidates"


if __name__ == "__main__":
    sys.exit(main())
