"""``python -m benchmark.reference``: make the runs of a programme, and keep what can be committed.

What is done is never done again; the same command goes on after a kill, Ctrl-C or ``--minutes``.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.cli import console, guarded
from benchmark.errors import EXIT_FAILED_SYSTEM, BenchmarkError
from benchmark.run.options import add_arithmetic_option
from benchmark.systems.arithmetic import use
from benchmark.systems.processes import number_of_processes

if TYPE_CHECKING:
    from rich.console import Console

    from benchmark.reference.programme import Part, Programme
    from benchmark.reference.state import Place


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmark.reference",
        description="Make what a programme consists of, one unit of work after another: tune each "
        "system under the same budget, run all of them with every seed, and write presets, runs in "
        "their compact form and tables. What is done is never done again.",
    )
    add = parser.add_argument
    add("--programme", default="reference", help="by name, or a YAML file (default: reference)")
    add("--minutes", type=float, help="stop after the unit in hand, so many minutes from now")
    add("--status", action="store_true", help="say what is done and what is left, and do nothing")
    add("--keep-other-code", action="store_true", help="what other code has made is done as well")
    add("--retry-failed", action="store_true", help="run systems that failed before again")
    add(
        "--jobs",
        type=int,
        default=1,
        help="units at the same time, each a process (default: 1, by which tunings end with the "
        "same bytes)",
    )
    add("--threads", type=int, help="threads of a unit (default: the cores shared among the jobs)")
    add("--device", default=None, help="cpu or cuda[:N] (default: cuda if there is one)")
    add_arithmetic_option(parser)
    add("--out", type=Path, default=Path("results/reference"), help="where runs and tables go")
    add("--presets", type=Path, default=Path("baselines/presets"), help="where tuned/*.yaml go")
    add(
        "--work",
        type=Path,
        default=Path("results/reference-work"),
        help="where trials and what is unfinished are kept",
    )
    add("--prepared", type=Path, default=Path("datasets/prepared"), help="prepared data sets")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code (0, 1 failed system, 2 bad input, 130 Ctrl-C)."""
    arguments = _parser().parse_args(argv)
    return guarded(lambda: _reference(arguments))


def _reference(arguments: argparse.Namespace) -> int:
    minutes = arguments.minutes
    if minutes is not None and not (math.isfinite(minutes) and minutes > 0):
        raise BenchmarkError(f"--minutes {minutes}: must be a number above 0.")
    if arguments.jobs < 1:
        raise BenchmarkError(f"--jobs {arguments.jobs}: must be at least 1.")
    if number_of_processes() > 1:
        raise BenchmarkError("python -m benchmark.reference does not run under torchrun.")
    arguments.device = use(arguments.arithmetic, arguments.device)
    # Loaded here, so that --help and bad numbers answer at once.
    from benchmark.jobs.machine import chosen_device, threads_of_a_job
    from benchmark.locks import LockedElsewhere, locked
    from benchmark.reference.programme import load_programme
    from benchmark.reference.sitting import Clock, Sitting
    from benchmark.reference.state import Place

    programme = load_programme(arguments.programme)
    place = Place(
        out=arguments.out,
        presets=arguments.presets,
        work=arguments.work,
        prepared_root=arguments.prepared,
        device=chosen_device(arguments.device),
        threads=threads_of_a_job(arguments.threads, arguments.jobs),
        jobs=arguments.jobs,
        keeps_other_code=arguments.keep_other_code,
    )
    if arguments.status:
        _print_status(programme, place)
        return 0
    clock = Clock(minutes)
    sitting = Sitting(place, console(on_stderr=True), clock.goes_on, arguments.retry_failed)
    with ExitStack() as held:
        for option, folder in (("--work", arguments.work), ("--out", arguments.out)):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                # Beside the folder of what is committed, so that it is not committed.
                whole = folder.resolve()
                lock = whole.with_name(f".{whole.name}.lock")
                held.enter_context(locked(lock, waits=False))
            except LockedElsewhere:
                raise BenchmarkError(
                    f"{folder}: another command is at work there; name another folder with "
                    f"{option}."
                ) from None
        is_done = sitting.work(programme)
    for sentence in sitting.failed:
        print(f"failed: {sentence}", file=sys.stderr)
    console().print("all is done." if is_done else "some is left; the same command goes on.")
    return EXIT_FAILED_SYSTEM if sitting.failed else 0


def _print_status(programme: Programme, place: Place) -> None:
    err, out = console(on_stderr=True), console()
    for part in programme.parts:
        out.print(part.label, soft_wrap=True)
        for line in _status_of(part, place, err):
            out.print(f"  {line}", soft_wrap=True)
    for part in programme.parts:
        for system, why in part.left_out.items():
            out.print(f"{part.label}: {system} is left out: {why}", soft_wrap=True)


def _status_of(part: Part, place: Place, err: Console) -> list[str]:
    from benchmark.reference.sitting import campaign_of
    from benchmark.reference.state import runs_of, state_of_tuning, systems_to_tune

    lines = []
    if part.tuning is not None:
        campaign = campaign_of(part, part.tuning, tuple(systems_to_tune(part)), place, err)
        tuned = {
            system: state_of_tuning(campaign.planned(system), part.tuning, place)
            for system in campaign.systems
        }
        lines.append(_told("tuning", list(tuned.items())))
    if not place.has_preset(part):
        return [*lines, "runs: after tuning"]
    states = runs_of(part, place).states
    runs = [(f"{job.system}, seed {job.seed}", state) for job, state in states]
    return [*lines, _told("runs", runs)]


def _told(work: str, states: Sequence[tuple[str, str]]) -> str:
    """How many units of work are done, what became of the others, and which is next.

    >>> _told("runs", [("one, seed 1", "done"), ("other, seed 1", "other code")])
    'runs: 1 of 2 done, 1 by other code; next: other, seed 1'
    """
    counts = Counter(state for _, state in states)
    words = {"failed": "failed", "other code": "by other code", "left": "left"}
    told = [f"{counts['done']} of {len(states)} done"]
    told += [f"{counts[state]} {word}" for state, word in words.items() if counts[state]]
    coming = next((name for name, state in states if state in ("left", "other code")), "")
    return f"{work}: {', '.join(told)}{f'; next: {coming}' if coming else ''}"


if __name__ == "__main__":
    raise SystemExit(main())
