"""``python -m benchmark.report``: rebuild every table and plot from run folders.

``compare A B`` shows the differences between two sets of runs, ``reference`` writes runs in the
small form that is committed, ``simulate`` shows how often the tables' tests are wrong.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from dataclasses import replace

from benchmark.cli import console, guarded
from benchmark.errors import BenchmarkError
from benchmark.report.arguments import (
    compare_parser,
    reference_parser,
    report_parser,
    simulate_parser,
)
from benchmark.report.build import build_report, write_grid
from benchmark.report.compare import compare_folders
from benchmark.report.plots.style import COLUMN_WIDTH, PAGE_WIDTH
from benchmark.report.shown import refresh_references
from benchmark.report.simulate import HIT_AT_10, World, simulation_grid
from benchmark.report.simulate_unpaired import unpaired_grid
from benchmark.report.terminal import print_grid, print_tables
from benchmark.report.trec import write_trec


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the options ask for; returns the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    commands = {
        "compare": (compare_parser, _compare),
        "reference": (reference_parser, _reference),
        "simulate": (simulate_parser, _simulate),
    }
    parser, command = commands.get(given[0] if given else "", (report_parser, _report))
    if command is not _report:
        given = given[1:]
    options = parser().parse_args(given)
    return guarded(lambda: command(options))


def _report(options: argparse.Namespace) -> int:
    report = build_report(
        options.runs,
        options.out,
        html=options.html,
        width=COLUMN_WIDTH if options.column else PAGE_WIDTH,
    )
    sentences, paths = list(report.sentences), list(report.paths)
    if options.trec:
        exported, told = write_trec(options.runs, options.out / "trec", options.prepared)
        paths += exported
        sentences += told
    _tell(list(dict.fromkeys(sentences)))
    out = console()
    print_tables(report.tables, out)
    for grid in report.identifiers:
        print_grid(grid, out)
    for path in paths:
        print(path)
    return 0


def _compare(options: argparse.Namespace) -> int:
    grids, sentences = compare_folders(options.first, options.second, options.view)
    _tell(sentences)
    out = console()
    for grid in grids:
        print_grid(grid, out)
        if options.out is not None:
            for path in write_grid(grid, options.out):
                print(path)
    return 0


def _reference(options: argparse.Namespace) -> int:
    paths, sentences = refresh_references(options.runs, options.out, options.readme, options.group)
    _tell(sentences)
    for path in paths:
        print(path)
    return 0


def _simulate(options: argparse.Namespace) -> int:
    if options.users > options.events:
        raise BenchmarkError(f"--users {options.users}: are more than the {options.events} events.")
    if options.second_users and options.second_events is None:
        raise BenchmarkError("--second-users: needs --second-events.")
    if options.second_users > (options.second_events or 0):
        raise BenchmarkError(
            f"--second-users {options.second_users}: are more than the {options.second_events} "
            "events of --second-events."
        )
    if options.gain >= 1.0 - HIT_AT_10:
        raise BenchmarkError(
            f"--gain {options.gain:g}: HR@10 is {HIT_AT_10:g} without it and must stay below 1."
        )
    worlds = [
        World(
            systems=systems,
            events=options.events,
            correlation=options.correlation,
            users=options.users,
            within_users=options.within_users,
            seeds=options.seeds,
            run_deviation=options.run_deviation,
            gain=options.gain,
        )
        for systems in options.systems
    ]
    if options.second_events is None:
        grid = simulation_grid(worlds, options.repetitions, options.seed)
    else:
        of_second = {"events": options.second_events, "users": options.second_users}
        both = [(world, replace(world, **of_second)) for world in worlds]
        grid = unpaired_grid(both, options.repetitions, options.seed)
    print_grid(grid, console())
    if options.out is not None:
        for path in write_grid(grid, options.out):
            print(path)
    return 0


def _tell(sentences: Sequence[str]) -> None:
    for sentence in sentences:
        print(sentence, file=sys.stderr)


if __name__ == "__main__":
    # Nearly all that a report makes stays. Looking for garbage among it as often as usual takes a
    # tenth of the time.
    gc.set_threshold(100_000)
    sys.exit(main())
