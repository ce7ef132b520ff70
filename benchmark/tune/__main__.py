"""``python -m benchmark.tune``: choose systems' settings under one budget, by validation figures.

The same command goes on after a kill or Ctrl-C, and runs beside itself on one results folder.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.cli import console, guarded
from benchmark.errors import EXIT_FAILED_SYSTEM, BenchmarkError, shortened
from benchmark.run.options import add_arithmetic_option, add_backend_options
from benchmark.systems.arithmetic import use
from benchmark.systems.precisions import PRECISIONS, SINGLE_PRECISION
from benchmark.systems.processes import number_of_processes

if TYPE_CHECKING:
    from benchmark.run.backend import Dask, Processes

_MOST_TRIALS = 10_000


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmark.tune",
        description="Choose the settings of systems by validation figures, each under the same "
        "budget, and write them as a preset. Test events are never ranked. Trials are kept: the "
        "same command goes on after an interruption.",
    )
    add = parser.add_argument
    add("--dataset", default="ml-100k", help="a recipe by name, or a file (default: ml-100k)")
    add("--systems", default="all", help="systems separated by commas (default: all of the suite)")
    add("--preset", default="laptop", help="where tuning begins (default: laptop)")
    add("--protocol", default="paper", help="paper, released or clean (default: paper)")
    add("--trials", type=int, default=12, help="the most trials of a system (default: 12)")
    add(
        "--minutes",
        type=float,
        default=20.0,
        help="no trial of a system begins after so many minutes of CPU, over all threads, or, with "
        "--device cuda, of the device (default: 20)",
    )
    add("--seed", type=int, default=2024, help="of trainings and drawn values (default: 2024)")
    add(
        "--set",
        action="append",
        default=[],
        metavar="SYSTEM.KEY=VALUE",
        help="hold one value of a system, or protocol.KEY=VALUE; may be repeated",
    )
    add("--jobs", type=int, help="trials at the same time, each a process (default: 1)")
    add_backend_options(parser, "trials")
    add("--threads", type=int, help="threads a trial (default: the cores shared among the jobs)")
    add("--device", default=None, help="cpu or cuda[:N] (default: cuda if there is one)")
    add("--precision", default=SINGLE_PRECISION, choices=PRECISIONS, help="of training and scoring")
    add_arithmetic_option(parser)
    add("--results", type=Path, default=Path("results"), help="where journal and tables go")
    add("--presets", type=Path, help="where tuned/DATASET.yaml goes (default: RESULTS/presets)")
    add("--prepared", type=Path, default=Path("datasets/prepared"), help="prepared data sets")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code (0, 1 failed system, 2 bad input, 130 Ctrl-C)."""
    arguments = _parser().parse_args(argv)
    return guarded(lambda: _tune(arguments))


def _tune(arguments: argparse.Namespace) -> int:
    _refuse_bad_numbers(arguments)
    if number_of_processes() > 1:
        raise BenchmarkError("python -m benchmark.tune does not run under torchrun; use --jobs.")
    if find_spec("optuna") is None:
        raise BenchmarkError("python -m benchmark.tune needs Optuna: pip install '.[tune]'.")
    arguments.device = use(arguments.arithmetic, arguments.device)
    # Loaded here, so that --help and bad numbers answer at once.
    from benchmark.run.backend import opened

    with opened(
        arguments.backend, arguments.scheduler, arguments.jobs, arguments.threads
    ) as backend:
        return _tune_by(backend, arguments)


def _tune_by(backend: Processes | Dask, arguments: argparse.Namespace) -> int:
    from benchmark.tune.campaign import Campaign, Wanted
    from benchmark.tune.report import sentences, write_tuning_report
    from benchmark.tune.studies import Budget

    out, err = console(), console(on_stderr=True)
    wanted = Wanted(
        dataset=arguments.dataset,
        systems=tuple(part.strip() for part in arguments.systems.split(",") if part.strip()),
        preset=arguments.preset,
        protocol=arguments.protocol,
        seed=arguments.seed,
        assignments=tuple(arguments.set),
        budget=Budget(arguments.trials, arguments.minutes),
        backend=backend,
        threads=arguments.threads,
        device=arguments.device,
        precision=arguments.precision,
        results=arguments.results,
        presets=arguments.presets or arguments.results / "presets",
        prepared_root=arguments.prepared,
    )
    campaign = Campaign(wanted, err)
    found = campaign.run()
    paths = [campaign.preset, *write_tuning_report(found, campaign.folder)]
    for sentence in sentences(found):
        out.print(sentence, soft_wrap=True)
    out.print("\nFiles:")
    for path in paths:
        out.print(f"  {path}", soft_wrap=True)
    without = any(not any(trial.is_finished for trial in trials) for _, trials in found)
    return EXIT_FAILED_SYSTEM if without else 0


def _refuse_bad_numbers(arguments: argparse.Namespace) -> None:
    if not 1 <= arguments.trials <= _MOST_TRIALS:
        raise BenchmarkError(f"--trials {arguments.trials}: must be from 1 to {_MOST_TRIALS:,}.")
    if not (math.isfinite(arguments.minutes) and arguments.minutes > 0):
        raise BenchmarkError(f"--minutes {arguments.minutes}: must be a number above 0.")
    if not 0 <= arguments.seed < 2**63:
        raise BenchmarkError(f"--seed {arguments.seed}: must be from 0 to 2^63 - 1.")
    if arguments.jobs is not None and arguments.jobs < 1:
        raise BenchmarkError(f"--jobs {arguments.jobs}: must be at least 1.")
    for option in ("dataset", "protocol", "preset"):
        value = getattr(arguments, option)
        if "," in value:
            raise BenchmarkError(
                f"--{option} {shortened(value)}: tuning is of one {option} at a time."
            )


if __name__ == "__main__":
    raise SystemExit(main())
