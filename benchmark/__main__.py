"""``python -m benchmark``, or ``gensar-benchmark`` where the package is installed: all commands.

``gensar-benchmark run …`` is ``python -m benchmark.run …``, and so on for the others.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from benchmark.cli import guarded
from benchmark.errors import EXIT_BAD_INPUT, unknown_value

COMMANDS = {
    "run": "run a suite, resume it, and print the tables",
    "report": "tables, plots and a page of runs that are there; compare two sets of runs",
    "data": "prepare, describe, validate and audit data sets",
    "protocol": "export texts, log and lists, and record what another program made of them",
    "submissions": "systems that others ran, for the leaderboard: make one, check all",
    "check": "probe whether a system keeps the contract",
    "recommend": "what a trained run recommends to anybody, or finds for any query text",
    "serve": "a trained run as an HTTP service",
    "tune": "choose settings by validation figures, one budget for all systems",
    "reference": "tuned runs with several seeds that can be cited, in as many sittings as it takes",
    "reproduce": "run one published figure's line again by its original's settings",
    "speed": "what the hot paths cost, as ratios against peers",
}
"""Each is a module of this package with a ``main(arguments)``."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names, or list them; returns the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    if not given or given[0] in ("-h", "--help"):
        return guarded(_list)
    if given[0] == "--version":
        print(import_module("benchmark").__version__)
        return 0
    if given[0] not in COMMANDS:
        print(f"error: {unknown_value('command', given[0], sorted(COMMANDS))}", file=sys.stderr)
        return EXIT_BAD_INPUT
    code: int = import_module(module_of(given[0])).main(given[1:])
    return code


def module_of(command: str) -> str:
    """The module whose ``main`` runs a command."""
    name = f"benchmark.{command}"
    return f"{name}.__main__" if hasattr(import_module(name), "__path__") else name


def _list() -> int:
    print(usage())
    return 0


def usage() -> str:
    """What there is to run, a line a command."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {meaning}" for name, meaning in COMMANDS.items()]
    return "\n".join(
        [
            "usage: gensar-benchmark COMMAND [options]    (or python -m benchmark.COMMAND)",
            "",
            *lines,
            "",
            "COMMAND --help describes its options; --version prints the version.",
        ]
    )


if __name__ == "__main__":
    raise SystemExit(main())
