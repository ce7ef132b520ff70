"""``python -m benchmark.report``: rebuild every table and plot from run folders.

``compare A B`` shows the differences between two sets of runs, ``reference`` writes runs in the
small form that is committed.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from benchmark.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED, BenchmarkError
from benchmark.report.build import build_report, refresh_references, write_grid
from benchmark.report.compare import compare_folders
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
        "`reference` writes runs in the small form that is committed; each has its own --help.",
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
        "--out",
        metavar="FOLDER",
        type=Path,
        help="write the tables there as well (LaTeX, Markdown, CSV)",
    )
    return parser


def _reference_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m benchmark.report reference",
        description="Write runs in the small form that is committed, with what README shows.",
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
        help="put the main tables of the first group between this file's two marks",
    )
    return parser


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
    }
    parser, command = commands.get(given[0] if given else "", (_report_parser, _report))
    if command is not _report:
        given = given[1:]
    options = parser().parse_args(given)
    try:
        return command(options)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("Interrupted; every file is either the old or the new one.", file=sys.stderr)
        return EXIT_INTERRUPTED


def _report(options: argparse.Namespace) -> int:
    report = build_report(options.runs, options.out, html=options.html)
    sentences, paths = list(report.sentences), list(report.paths)
    if options.trec:
        exported, told = write_trec(options.runs, options.out / "trec", options.prepared)
        paths += exported
        sentences += told
    _tell(list(dict.fromkeys(sentences)))
    console = Console()
    print_tables(report.tables, console)
    for grid in report.identifiers:
        print_grid(grid, console)
    for path in paths:
        print(path)
    return 0


def _compare(options: argparse.Namespace) -> int:
    grids, sentences = compare_folders(options.first, options.second)
    _tell(sentences)
    console = Console()
    for grid in grids:
        print_grid(grid, console)
        if options.out is not None:
            for path in write_grid(grid, options.out):
                print(path)
    return 0


def _reference(options: argparse.Namespace) -> int:
    paths, sentences = refresh_references(options.runs, options.out, options.readme)
    _tell(sentences)
    for path in paths:
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
