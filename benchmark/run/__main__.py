"""``python -m benchmark.run``: run a suite, resume it, and print the tables.

Finished jobs are never run again; the same command goes on after a kill or Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.cli import console, guarded
from benchmark.errors import EXIT_FAILED_SYSTEM, BenchmarkError, counted, shortened
from benchmark.run.options import add_arithmetic_option, add_backend_options
from benchmark.systems.arithmetic import use
from benchmark.systems.precisions import PRECISIONS, SINGLE_PRECISION
from benchmark.systems.processes import agreed, is_first_process, join, number_of_processes

if TYPE_CHECKING:
    from benchmark.jobs.store import JobSpec, RunStore
    from benchmark.run.backend import Backend
    from benchmark.run.plan import Options, PlannedJob
    from benchmark.run.suite import Suite


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmark.run",
        description="Run systems under one protocol and print the tables. Finished jobs are kept: "
        "the same command resumes after an interruption.",
    )
    add = parser.add_argument
    of_suite = "(default: as in the suite)"
    add("--suite", default="all", help="a suite by name, or a YAML file (default: %(default)s)")
    add("--dataset", help=f"data sets: recipe names or files, separated by commas {of_suite}")
    add("--systems", help=f"systems separated by commas, or 'all' {of_suite}")
    add("--protocol", help=f"protocols separated by commas, see --list {of_suite}")
    add("--preset", help=f"a preset of overrides by name, or a YAML file {of_suite}")
    add("--seeds", help=f"seeds separated by commas {of_suite}")
    add(
        "--set",
        action="append",
        default=[],
        metavar="SYSTEM.KEY=VALUE",
        help="override one value of a system, or protocol.KEY=VALUE; may be repeated "
        "(default: as in the preset; --describe SYSTEM shows the keys)",
    )
    add(
        "--jobs",
        type=int,
        help="jobs at the same time, each a process (default: one for each core that has 4 GiB of "
        "memory, or for each GPU)",
    )
    add_backend_options(parser, "jobs")
    add("--threads", type=int, help="threads a job (default: the cores shared among the jobs)")
    add("--device", default=None, help="cpu or cuda[:N] (default: cuda if there is one)")
    add(
        "--precision",
        default=SINGLE_PRECISION,
        choices=PRECISIONS,
        help="of products, in training and scoring; tf32 is for accelerators "
        "(default: %(default)s)",
    )
    add_arithmetic_option(parser)
    add(
        "--results",
        type=Path,
        default=Path("results"),
        help="where runs and tables go (default: %(default)s)",
    )
    add(
        "--prepared",
        type=Path,
        default=Path("datasets/prepared"),
        help="prepared data sets (default: %(default)s)",
    )
    add(
        "--candidates",
        type=Path,
        help="a folder of candidate lists made by another program (default: lists are drawn)",
    )
    add(
        "--track",
        default="",
        help="trackers of training curves, such as tensorboard or wandb (default: none)",
    )
    add("--dry-run", action="store_true", help="print what is done, what would run, in order")
    add("--list", action="store_true", help="list systems, presets, suites, protocols, data sets")
    add(
        "--describe",
        metavar="SYSTEM",
        help="show a system's settings: meaning, default, the preset's value (default: a suite is "
        "run)",
    )
    add("--fresh", action="store_true", help="forget the chosen jobs and run them again")
    add("--retry-failed", action="store_true", help="run jobs that failed before again")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code (0, 1 failed system, 2 bad input, 130 Ctrl-C)."""
    arguments = _parser().parse_args(argv)
    if arguments.list:
        return guarded(_list)
    if arguments.describe is not None:
        return guarded(lambda: _describe(arguments))
    return guarded(lambda: _run(arguments))


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _list() -> int:
    from benchmark.run.listing import print_catalogue

    print_catalogue(console())
    return 0


def _describe(arguments: argparse.Namespace) -> int:
    from benchmark.overrides import parse_assignments
    from benchmark.run.listing import print_settings
    from benchmark.run.suite import load_suite

    preset = arguments.preset or load_suite(arguments.suite).preset
    print_settings(arguments.describe, preset, parse_assignments(arguments.set), console())
    return 0


def _chosen_suite(arguments: argparse.Namespace) -> Suite:
    from benchmark.run.suite import LARGEST_SEED, load_suite, refuse_repetitions

    suite = load_suite(arguments.suite)
    changes: dict[str, Any] = {}
    if arguments.dataset:
        changes["datasets"] = _split(arguments.dataset)
    if arguments.systems:
        chosen = _split(arguments.systems)
        changes["systems"] = "all" if chosen == ("all",) else chosen
    if arguments.protocol:
        changes["protocols"] = _split(arguments.protocol)
    if arguments.preset:
        changes["preset"] = arguments.preset
    if arguments.seeds:
        try:
            changes["seeds"] = tuple(int(seed) for seed in _split(arguments.seeds))
        except ValueError:
            raise BenchmarkError(
                f"--seeds {shortened(arguments.seeds)}: must be whole numbers separated by commas."
            ) from None
        if any(seed < 0 for seed in changes["seeds"]):
            raise BenchmarkError(f"--seeds {shortened(arguments.seeds)}: must not be negative.")
        if any(seed > LARGEST_SEED for seed in changes["seeds"]):
            raise BenchmarkError(
                f"--seeds {shortened(arguments.seeds)}: must not be above {LARGEST_SEED}."
            )
    for option, key in (
        ("--dataset", "datasets"),
        ("--systems", "systems"),
        ("--protocol", "protocols"),
        ("--seeds", "seeds"),
    ):
        refuse_repetitions(changes.get(key, ()), option)
    return suite.model_copy(update=changes)


def _options(arguments: argparse.Namespace, backend: Backend) -> Options:
    from benchmark.run.plan import Options

    device = backend.device(arguments.device)
    if arguments.precision == "tf32" and device == "cpu":
        raise BenchmarkError(
            "--precision tf32: is for CUDA devices; on a CPU it must be fp32 or bf16."
        )
    return Options(
        results=arguments.results,
        prepared_root=arguments.prepared,
        device=device,
        precision=arguments.precision,
        trackers=_split(arguments.track),
        candidates=arguments.candidates,
    )


def _run(arguments: argparse.Namespace) -> int:
    # Before numpy and torch are loaded by what follows.
    arguments.device = use(arguments.arithmetic, arguments.device)
    from benchmark.run.backend import opened

    with opened(
        arguments.backend, arguments.scheduler, arguments.jobs, arguments.threads
    ) as backend:
        return _run_by(backend, arguments)


def _run_by(backend: Backend, arguments: argparse.Namespace) -> int:
    from benchmark.data.prepare import sweep
    from benchmark.jobs.store import RunStore
    from benchmark.overrides import parse_assignments
    from benchmark.run.parts import find_parts
    from benchmark.run.plan import due, plan

    err = console(on_stderr=True)
    suite, options = _chosen_suite(arguments), _options(arguments, backend)
    if number_of_processes() > 1:
        if arguments.jobs not in (None, 1):
            raise BenchmarkError("--jobs must be 1 under torchrun: its processes share each job.")
        if ":" in options.device:
            raise BenchmarkError("--device must be cpu or cuda under torchrun: each has its card.")
        join(on_cpu=options.device == "cpu")
        if not is_first_process():
            _follow()
            return 0
    store = RunStore(options.results)
    waiting: list[JobSpec] = []
    afresh: set[str] = set()
    try:
        if not arguments.dry_run:
            store.prepare()
            sweep(options.prepared_root)
        with err.status("preparing data and candidate lists"):
            planned = plan(suite, parse_assignments(arguments.set), options)
        threads = backend.threads(arguments.threads, options.device, len(planned.jobs))
        jobs = planned.with_threads(threads).jobs
        if arguments.dry_run:
            _print_plan(jobs, arguments.retry_failed, arguments.fresh)
            return 0
        states = {job.spec.identity: job.state for job in jobs}
        store.sweep_work(states)
        waiting = (
            [job.spec for job in jobs] if arguments.fresh else due(jobs, arguments.retry_failed)
        )
        find_parts(waiting)
        for spec in waiting:
            is_forgotten = arguments.fresh or states[spec.identity] == "failed"
            if is_forgotten and not _forget(store, spec) and arguments.fresh:
                afresh.add(spec.identity)
    finally:
        agreed(waiting)  # with bad input there is nothing to follow
    started = time.monotonic()
    if waiting:
        for note in planned.notes:
            err.print(note, style="dim")
        for sentence in planned.unavailable:
            err.print(f"{sentence} It is left out.", style="red")
        backend.run(waiting, err, afresh)
    left = {job.spec.identity for job in jobs} - {spec.identity for spec in waiting}
    failed = sum(states[identity] == "failed" for identity in left)
    err.print(
        f"{counted(len(waiting), 'job')} run in {time.monotonic() - started:.1f} s, "
        f"{len(left) - failed} done before{f', {failed} failed before' if failed else ''}."
    )
    code = _report([job.spec for job in jobs], store, options)
    for sentence in planned.unavailable:
        print(f"left out: {sentence}", file=sys.stderr)
    return EXIT_FAILED_SYSTEM if planned.unavailable else code


def _forget(store: RunStore, job: JobSpec) -> bool:
    """Remove what is there of a job, unless another suite runs it now; whether it was removed."""
    from benchmark.locks import LockedElsewhere

    try:
        with store.locked(job, waits=False):
            store.discard(job)
    except LockedElsewhere:
        return False
    return True


def _follow() -> None:
    """Fit with the first process what it decides to run."""
    from benchmark.jobs.execute import follow

    jobs: list[JobSpec] = agreed([])
    for job in jobs:
        follow(job)


def _print_plan(jobs: Sequence[PlannedJob], retry_failed: bool, fresh: bool) -> None:
    from rich.table import Table

    words = {
        "finished": "done",
        "failed": "failed before" + ("; will run" if retry_failed else " (--retry-failed)"),
        "unfinished": "will resume",
        "missing": "will run",
    }
    table = Table(box=None, padding=(0, 2))
    for column in ("#", "system", "data set", "protocol", "seed", "state", "identity"):
        table.add_column(column, overflow="fold")
    for number, job in enumerate(jobs, 1):
        spec = job.spec
        state = "will run afresh" if fresh else words[job.state]
        table.add_row(
            str(number),
            spec.system,
            spec.dataset,
            spec.protocol,
            str(spec.seed),
            state,
            spec.identity[:16],
        )
    console().print(table)


def _report(jobs: Sequence[JobSpec], store: RunStore, options: Options) -> int:
    from benchmark.report.build import PAGE, build_report
    from benchmark.report.terminal import print_tables

    out = console()
    # A page that lies there would tell of older runs than the tables beside it.
    report = build_report(store.runs, options.results, html=(options.results / PAGE).exists())
    shown = {(job.dataset, job.protocol, job.preset) for job in jobs}
    tables = [t for t in report.tables if (t.key.dataset, t.key.protocol, t.key.preset) in shown]
    print_tables(tables, out)
    for sentence in report.sentences:
        print(sentence, file=sys.stderr)
    out.print("\nFiles:")
    for path in report.paths:
        out.print(f"  {path}", soft_wrap=True)
    failed = 0
    for job in jobs:
        run = store.read(job)
        if run is not None and run.record.status == "failed":
            failed += 1
            print(f"failed: {job.label}: {run.record.error}", file=sys.stderr)
    return EXIT_FAILED_SYSTEM if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
