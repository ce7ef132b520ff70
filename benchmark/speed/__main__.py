"""``python -m benchmark.speed [topic …]``: print measurements, one line each."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from pathlib import Path

from benchmark.cli import guarded
from benchmark.errors import BenchmarkError, unknown_value

_SERVE = "serve"  # above this package, hence found by its name


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.speed", description=__doc__)
    parser.add_argument("topics", nargs="*", help="what to measure (default: everything)")
    parser.add_argument(
        "--documents",
        metavar="N,N",
        help="sizes of the collections of topic bm25 (default: 10000)",
    )
    parser.add_argument(
        "--runs", metavar="RUN,RUN", help="folders of trained runs, for topic serve"
    )
    arguments = parser.parse_args(argv)

    def command() -> int:
        from benchmark.speed.bm25 import bm25
        from benchmark.speed.measure import as_lines
        from benchmark.speed.topics import TOPICS
        from benchmark.systems.catalogue import INDEX_PACKAGE

        topics = dict(TOPICS)
        if arguments.documents is not None:
            topics["bm25"] = partial(bm25, _sizes(arguments.documents))
        for package in ("benchmark.report", INDEX_PACKAGE):
            topics |= import_module(f"{package}.speed").TOPICS
        if arguments.runs is not None:
            runs = [Path(run) for run in arguments.runs.split(",")]
            topics[_SERVE] = partial(import_module("benchmark.serve.speed").latencies, runs)
        elif _SERVE in arguments.topics:
            raise BenchmarkError(f"topic {_SERVE}: --runs must name the folders of trained runs.")
        for name in arguments.topics:
            if name not in topics:
                raise unknown_value("topic", name, topics)
        for name in arguments.topics or topics:
            for line in as_lines(topics[name]()):
                print(line, flush=True)
        return 0

    return guarded(command)


def _sizes(text: str) -> list[int]:
    """The numbers of a list such as 10000,100000.

    Raises:
        BenchmarkError: it is none.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise BenchmarkError(
            f"--documents: must be numbers such as 10000,100000, not {text!r}."
        ) from error


if __name__ == "__main__":
    raise SystemExit(main())
