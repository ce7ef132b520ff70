"""``python -m benchmark.report``: rebuild every table and plot from run folders.

``compare A B`` shows the differences between two sets of runs, ``reference`` writes runs in the
small form that is committed, ``simulate`` shows how often the tables' tests are wrong.
"""

from __future__ import annotations

import argparse
import gc
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from benchmark.cli import console, guarded
from benchmark.errors import EXIT_BAD_INPUT, BenchmarkError
from benchmark.protocol.metrics import VIEWS
from benchmark.report.build import build_report, write_grid
from benchmark.report.compare import compare_folders
from benchmark.report.plots.style import COLUMN_WIDTH, PAGE_WIDTH
from benchmark.report.shown import refresh_references
from benchmark.report.simulate import HIT_AT_10, World, simulation_grid
from benchmark.report.simulate_unpaired import unpaired_grid
from benchmark.report.terminal import print_grid, print_tables
from benchmark.report.trec import TIES_EXPLAINED, write_trec


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence, without the usage in front of it."""
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: {message}; --help lists the options.\n")


def _report_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m benchmark.report",
        description="Rebuild every table and plot from run folders and print the main tables.",
        epilog="Further commands: `compare A B` shows the differences between two sets of runs, "
        "`reference` writes runs in the small form that is committed, `simulate` shows how often "
        "the tables' tests are wrong; each has its own --help.",
        allow_abbrev=False,
    )
    _add_source(parser)
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        default=Path("results"),
        help="where tables/ and plots/ are written (default: %(default)s)",
    )
    parser.add_argument(
        "--html", action="store_true", help="write report.html too: all in one page"
    )
    parser.add_argument(
        "--column",
        action="store_true",
        help="plots for one column of a two-column paper, 8.5 cm wide, with letters of print size; "
        "without it they are as wide as the page",
    )
    parser.add_argument(
        "--trec",
        action="store_true",
        help="write trec/ too: runs and qrels with the items' own ids, for outside evaluators; "
        f"{TIES_EXPLAINED}; reference runs keep no scores and are left out",
    )
    parser.add_argument(
        "--prepared",
        metavar="FOLDER",
        type=Path,
        default=Path("datasets/prepared"),
        help="where prepared data sets lie, for --trec (default: %(default)s)",
    )
    return parser


def _compare_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m benchmark.report compare",
        description="Differences between two sets of runs (second minus first), with intervals.",
        allow_abbrev=False,
    )
    parser.add_argument("first", metavar="A", type=Path, help="a folder of runs")
    parser.add_argument("second", metavar="B", type=Path, help="another one")
    parser.add_argument(
        "--view",
        choices=VIEWS,
        default="lists",
        help="what targets are ranked among: their candidate lists, or all items that the "
        "protocol admits (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        help="write the tables there as well (LaTeX, Markdown, CSV)",
    )
    return parser


def _reference_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m benchmark.report reference",
        description="Write runs in the small form that is committed, with what pages show; with "
        "--from and --out the same folder only the latter.",
        allow_abbrev=False,
    )
    _add_source(parser)
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        default=Path("results/reference"),
        help="where a folder a data set, protocol and preset is written (default: %(default)s)",
    )
    parser.add_argument(
        "--readme",
        metavar="FILE",
        type=Path,
        nargs="+",
        default=[],
        help="put what these files show of one group between their marks: README.md the summary, "
        "docs/guide.md the main tables and the catalogue",
    )
    parser.add_argument(
        "--group",
        metavar="NAME",
        help="which group that is, by the name of its folder (default: the first)",
    )
    return parser


def _simulate_parser() -> argparse.ArgumentParser:
    usual = World()
    parser = _Parser(
        prog="python -m benchmark.report simulate",
        description="How often the tables' tests call one of equal systems worse than another "
        "(family-wise error), and how often they find a system that is better (power).",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--systems",
        metavar="N,N",
        type=_numbers,
        default=(2, 5, 12, 20),
        help="how many systems are compared, each number for itself (default: 2,5,12,20)",
    )
    add(
        "--events",
        metavar="N",
        type=_from(2),
        default=usual.events,
        help="test events (default: %(default)s)",
    )
    add(
        "--users",
        metavar="N",
        type=_from(0),
        default=0,
        help="users who share the events, unequally; 0 gives each event its own (default)",
    )
    add(
        "--second-events",
        metavar="N",
        type=_from(2),
        help="test `compare` instead, of a first folder with --events and --users and a second "
        "one with so many test events of its own",
    )
    add(
        "--second-users",
        metavar="N",
        type=_from(0),
        default=0,
        help="users who share the second folder's events (default: each event has its own)",
    )
    add(
        "--within-users",
        metavar="SHARE",
        type=_share,
        default=usual.within_users,
        help="part of a system's own share that a user's events have in common "
        "(default: %(default)s)",
    )
    add(
        "--correlation",
        metavar="SHARE",
        type=_share,
        default=usual.correlation,
        help="correlation of two systems' scores of an event (default: %(default)s)",
    )
    add(
        "--seeds",
        metavar="N",
        type=_from(1),
        default=usual.seeds,
        help="runs of each system (default: %(default)s)",
    )
    add(
        "--run-deviation",
        metavar="SD",
        type=_not_negative,
        default=usual.run_deviation,
        help="deviation of a run's scores, in standard deviations of an event's "
        "(default: %(default)s)",
    )
    add(
        "--gain",
        metavar="DIFFERENCE",
        type=_share,
        default=usual.gain,
        help="by how much the better system's HR@10 is higher; 0 leaves power out "
        "(default: %(default)s)",
    )
    add(
        "--repetitions",
        metavar="N",
        type=_from(1),
        default=1000,
        help="simulated tables a row (default: %(default)s)",
    )
    add("--seed", metavar="N", type=int, default=1, help="of the simulation (default: %(default)s)")
    add(
        "--out",
        metavar="FOLDER",
        type=Path,
        help="write the table there as well (LaTeX, Markdown, CSV)",
    )
    return parser


def _from(least: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least}")
        return int(text)

    return whole_number


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(_from(2), text.split(",")))


def _share(text: str) -> float:
    value = _not_negative(text)
    if value >= 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is no share from 0 to below 1")
    return value


def _not_negative(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0")
    return value


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from",
        dest="runs",
        metavar="FOLDER",
        type=Path,
        default=Path("results/runs"),
        help="where the run folders are, at any depth (default: %(default)s)",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the options ask for; returns the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    commands = {
        "compare": (_compare_parser, _compare),
        "reference": (_reference_parser, _reference),
        "simulate": (_simulate_parser, _simulate),
    }
    parser, command = commands.get(given[0] if given else "", (_report_parser, _report))
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
