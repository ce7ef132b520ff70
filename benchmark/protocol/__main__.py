"""``python -m benchmark.protocol export | import | evaluate``: outside systems on our lists.

``export`` writes the candidate lists of a data set's test events, ``import`` checks lists that
another program made, and ``evaluate`` ranks another system's TREC run on our lists, or among all
items.
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
    from benchmark.protocol.task import Task

TASK_NAMES = ("recommendation", "search")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmark.protocol", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, meaning in (
        ("export", "write the candidate lists of the test events as TREC and Parquet files"),
        ("import", "check candidate lists that another program made"),
        ("evaluate", "rank another system's TREC run on our candidate lists or among all items"),
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
            command.add_argument("--task", required=True, choices=TASK_NAMES)
            command.add_argument(
                "--view", choices=VIEWS, default=VIEWS[0], help=f"(default: {VIEWS[0]})"
            )
            command.add_argument(
                "--run", required=True, type=Path, metavar="FILE", help="the run, in TREC format"
            )
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code (0, 2 bad input, 130 Ctrl-C)."""
    options = _parser().parse_args(argv)
    return guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    # Imported here, so that --help is fast.
    from benchmark import data
    from benchmark.protocol import exchange
    from benchmark.protocol.task import load_tasks

    protocol, settings = configure_protocol(options.protocol, protocol_changes(options.set))
    dataset = data.load(options.dataset, root=options.prepared)
    tasks = load_tasks(dataset, settings, options.prepared)
    asked = [options.task] if options.command == "evaluate" else options.task or list(tasks)
    for name in asked:
        if name not in tasks:
            raise BenchmarkError(f"data set {dataset.name}: has no {name} events.")
    chosen = {name: tasks[name] for name in asked}
    if options.command == "export":
        exchange.export_tasks(options.folder, dataset, tasks, protocol, settings, asked)
        for name, task in chosen.items():
            print(f"{name}: {_described(task.test_candidates.items.shape)}")
            print(f"  fingerprint {task.test_candidates.fingerprint}")
    elif options.command == "import":
        for name, lists in exchange.read_candidates(options.folder, dataset, chosen).items():
            same = lists.fingerprint == chosen[name].test_candidates.fingerprint
            whose = f"those of protocol {protocol}" if same else "other lists than ours"
            print(f"{name}: {_described(lists.items.shape)}, {whose}")
            print(f"  fingerprint {lists.fingerprint}")
    else:
        _evaluate(options, dataset, chosen[options.task], settings)
    return 0


def _evaluate(
    options: argparse.Namespace, dataset: Dataset, task: Task, settings: ProtocolSettings
) -> None:
    from benchmark.protocol import outside
    from benchmark.protocol.metrics import mean_metrics, shown_metrics

    if options.view == "lists":
        found = outside.read_run(options.run, dataset, task)
        ranks = task.test_candidates.ranks(found.scores)
        print(f"{options.task}: {_described(task.test_candidates.items.shape)}")
        print(f"  {found.unscored:,} candidates are not in the run and count as pruned")
        print(f"  {found.outside:,} lines of the run name items outside their event's list")
    else:
        barred = task.barred(dataset, settings)
        among_all = outside.read_run_among_all(options.run, dataset, task, barred)
        ranks = among_all.ranks.placed("all-items")
        print(f"{options.task}: {len(task.test):,} test events among all items")
        print(f"  {among_all.unnamed:,} items are not in the run and stand last, tied")
        print(f"  {among_all.barred:,} lines of the run name items that are not ranked")
    shown = shown_metrics(settings.cutoffs_of(options.view))
    width = 1 + max(map(len, shown))
    for metric, value in mean_metrics(ranks, settings.ties, shown).items():
        print(f"  {metric:{width}}{value:.6f}")


def _described(shape: tuple[int, ...]) -> str:
    return f"{shape[0]:,} lists of {shape[1]:,} candidates"


if __name__ == "__main__":
    sys.exit(main())
