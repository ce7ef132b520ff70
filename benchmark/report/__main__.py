"""``python -m benchmark.report``: rebuild every table and plot from run folders."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from benchmark.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED, BenchmarkError
from benchmark.report.build import build_report
from benchmark.report.terminal import print_tables


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence, without the usage in front of it."""
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: {message}; --help lists the options.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m benchmark.report",
        description="Rebuild every table and plot from run folders and print the main tables.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--from",
        dest="runs",
        metavar="FOLDER",
        type=Path,
        default=Path("results/runs"),
        help="where the run folders are, at any depth (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        default=Path("results"),
        help="where tables/ and plots/ are written (default: %(default)s)",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Build and print the report; returns the exit code."""
    options = _parser().parse_args(argv)
    try:
        report = build_report(options.runs, options.out)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("Interrupted; every file is either the old or the new one.", file=sys.stderr)
        return EXIT_INTERRUPTED
    for sentence in report.sentences:
        print(sentence, file=sys.stderr)
    print_tables(report.tables, Console())
    for path in report.paths:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
