"""``python -m benchmark.reproduce``: run lines of published figures, and write the page of all.

Without a line it runs nothing and writes the page from the records that are there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.cli import console, guarded
from benchmark.errors import EXIT_FAILED_SYSTEM, BenchmarkError
from benchmark.systems.processes import number_of_processes

if TYPE_CHECKING:
    from benchmark.reproduce.running import Running

FOLDER = Path("results/reproduction")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmark.reproduce",
        description="Run what was published by the original's own settings, and write a page with "
        "the published figure, ours and a verdict. Records are kept: the same command goes on "
        "after an interruption. Without a line nothing is run, and the page is written anew.",
    )
    add = parser.add_argument
    add("lines", nargs="*", metavar="LINE", help="lines to run, or 'all'; --list names them")
    add("--list", action="store_true", help="name the lines and what is there of them")
    add("--fresh", action="store_true", help="forget what is there of the lines and run them again")
    add(
        "--folder",
        type=Path,
        default=FOLDER,
        help="where lines.yaml, the records and the page are (default: %(default)s)",
    )
    add("--work", type=Path, help="where unfinished runs are kept (default: FOLDER/work)")
    add("--prepared", type=Path, default=Path("datasets/prepared"), help="prepared data sets")
    add("--threads", type=int, help="threads of a run (default: all cores)")
    add("--device", help="cpu or cuda[:N] (default: cuda if there is one)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code (0, 1 failed line, 2 bad input, 130 Ctrl-C)."""
    arguments = _parser().parse_args(argv)
    return guarded(lambda: _reproduce(arguments))


def _reproduce(arguments: argparse.Namespace) -> int:
    if number_of_processes() > 1:
        raise BenchmarkError("python -m benchmark.reproduce does not run under torchrun.")
    from benchmark.reproduce.lines import LINES_FILE, chosen_lines, read_lines
    from benchmark.reproduce.page import states, write_page

    content = read_lines(arguments.folder / LINES_FILE)
    chosen = chosen_lines(content.lines, tuple(arguments.lines))
    out = console()
    if arguments.list:
        for name, state in states(content, arguments.folder).items():
            out.print(f"{name}: {state}", soft_wrap=True)
        return 0
    failed: list[str] = []
    try:
        if chosen:
            from benchmark.reproduce.running import run_lines

            failed = run_lines(chosen, _running(arguments))
    finally:
        # Also after an interruption: what was finished is shown.
        paths, sentences = write_page(content, arguments.folder)
    for sentence in (*sentences, *failed):
        print(sentence, file=sys.stderr)
    for path in paths:
        out.print(str(path), soft_wrap=True)
    return EXIT_FAILED_SYSTEM if failed else 0


def _running(arguments: argparse.Namespace) -> Running:
    from benchmark.jobs.machine import chosen_device, threads_of_a_job
    from benchmark.reproduce.running import Running
    from benchmark.run.plan import Options

    work = arguments.work or arguments.folder / "work"
    options = Options(
        results=work,
        prepared_root=arguments.prepared,
        device=chosen_device(arguments.device),
        threads=threads_of_a_job(arguments.threads, 1),
    )
    return Running(arguments.folder, options, console(on_stderr=True), arguments.fresh)


if __name__ == "__main__":
    raise SystemExit(main())
