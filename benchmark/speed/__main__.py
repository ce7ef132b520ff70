"""``python -m benchmark.speed [topic …]``: print measurements, one line each."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module

from benchmark.cli import guarded
from benchmark.errors import unknown_value


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.speed", description=__doc__)
    parser.add_argument("topics", nargs="*", help="what to measure (default: everything)")
    arguments = parser.parse_args(argv)

    def command() -> int:
        from benchmark.speed.measure import as_lines
        from benchmark.speed.topics import TOPICS
        from benchmark.systems.catalogue import INDEX_PACKAGE

        topics = dict(TOPICS)
        for package in ("benchmark.report", INDEX_PACKAGE):
            topics |= import_module(f"{package}.speed").TOPICS
        for name in arguments.topics:
            if name not in topics:
                raise unknown_value("topic", name, topics)
        for name in arguments.topics or topics:
            for line in as_lines(topics[name]()):
                print(line, flush=True)
        return 0

    return guarded(command)


if __name__ == "__main__":
    raise SystemExit(main())
