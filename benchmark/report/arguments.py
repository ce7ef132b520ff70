"""What the commands of the report can be asked for."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from benchmark.errors import EXIT_BAD_INPUT
from benchmark.protocol.metrics import VIEWS
from benchmark.report.simulate import World
from benchmark.report.trec import TIES_EXPLAINED


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence, without the usage in front of it."""
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: {message}; --help lists the options.\n")


def report_parser() -> argparse.ArgumentParser:
    """Without a word in front: everything is made anew."""
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


def compare_parser() -> argparse.ArgumentParser:
    """Of `compare A B`."""
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


def reference_parser() -> argparse.ArgumentParser:
    """Of `reference`."""
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
        help="put what these files show of one group between their marks: README.md the summary "
        "and what it shows in sentences, docs/guide.md the main tables and the catalogue",
    )
    parser.add_argument(
        "--group",
        metavar="NAME",
        help="which group that is, by the name of its folder (default: the first)",
    )
    return parser


def simulate_parser() -> argparse.ArgumentParser:
    """Of `simulate`."""
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
