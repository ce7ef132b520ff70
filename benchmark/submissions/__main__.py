"""``python -m benchmark.submissions make | check``: systems that others ran, for the leaderboard.

``make`` writes ``results/submissions/<name>`` from a recorded run, ``check`` computes every figure
of one submission, or of all, anew from its ranks or TREC files.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from benchmark.cli import guarded
from benchmark.errors import EXIT_BAD_INPUT, BenchmarkError, quoted, unknown_value

SUBMISSIONS = Path("results/submissions")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmark.submissions", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    meaning = "write a submission from a recorded run"
    add = commands.add_parser("make", help=meaning, description=meaning).add_argument
    add("run", type=Path, help="a run folder, as `benchmark.protocol evaluate` records it")
    add("--licence", required=True, help="of the ranks, as SPDX names it, such as CC0-1.0")
    add("--name", default="", help="of the submission's folder (default: the system's)")
    add("--code", default="", help="where the code is (default: the run's --url)")
    add("--commit", default="", help="the state of the code that ran")
    add("--contributor", default="", help="who answers for it (default: the run's)")
    add("--hardware", default="", help="what it ran on (default: the run's)")
    add("--date", default="", metavar="YYYY-MM-DD", help="of the run (default: of its record)")
    add("--trec", type=Path, metavar="FOLDER", help="pack the TREC files of the run beside it")
    add("--root", type=Path, default=SUBMISSIONS, help="where submissions lie")
    meaning = "compute the figures of submissions anew"
    add = commands.add_parser("check", help=meaning, description=meaning).add_argument
    add("name", nargs="?", help="one of them (default: all)")
    add("--root", type=Path, default=SUBMISSIONS, help="where submissions lie")
    add(
        "--prepared",
        type=Path,
        default=Path("datasets/prepared"),
        help="where prepared data sets lie",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code (0, 2 bad input or a figure that does not follow)."""
    options = _parser().parse_args(argv)
    return guarded(lambda: _make(options) if options.command == "make" else _check(options))


def _make(options: argparse.Namespace) -> int:
    from benchmark.submissions.make import Told, make_submission

    told = Told(
        licence=options.licence,
        name=options.name,
        contributor=options.contributor,
        hardware=options.hardware,
        code=options.code,
        commit=options.commit,
        day=_day(options.date),
    )
    print(make_submission(options.run, options.root, told, options.trec))
    return 0


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise BenchmarkError(f"--date {quoted(text)}: must be a day such as 2026-11-30.") from None


def _check(options: argparse.Namespace) -> int:
    from benchmark.report.submissions import find_submissions
    from benchmark.submissions.check import check_submission

    folders = {folder.name: folder for folder in find_submissions(options.root)}
    if options.name is not None and options.name not in folders:
        raise unknown_value("submission", options.name, folders, str(options.root))
    wrong = 0
    chosen = folders.values() if options.name is None else [folders[options.name]]
    for folder in chosen:
        try:
            checked = check_submission(folder, options.prepared)
        except BenchmarkError as error:
            wrong += 1
            print(f"error: {error}", file=sys.stderr)
        else:
            print(f"{folder.name}: {'; '.join(checked.sentences)}")
    if not folders:
        print(f"{options.root}: there are no submissions.")
    return EXIT_BAD_INPUT if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
