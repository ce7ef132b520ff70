"""``python -m benchmark.speed``: the speed board, or the measurements of single topics.

Without a topic, everything on the board is measured beside the fastest libraries of others that can
be imported, in one run and one thread. With topics, their measurements are printed, a line each.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path

from benchmark.cli import guarded
from benchmark.errors import BenchmarkError, unknown_value
from benchmark.speed.contest import Board
from benchmark.systems.catalogue import INDEX_PACKAGE

# What stands above this package is found by its name.
_SERVE = "serve"
_FILES = "benchmark.report.board"
_LARGEST = 1_000_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmark.speed", description=__doc__)
    parser.add_argument("topics", nargs="*", help="what to measure (default: the board)")
    parser.add_argument(
        "--documents",
        metavar="N,N",
        help="sizes of the collections of topic bm25 (default: 10000)",
    )
    parser.add_argument(
        "--runs", metavar="RUN,RUN", help="folders of trained runs, for topic serve"
    )
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, help="of the board: writes it there as well"
    )
    parser.add_argument("--only", metavar="TOPIC,TOPIC", help="of the board: these topics")
    parser.add_argument(
        "--largest",
        metavar="N",
        type=int,
        help=f"of the board: the largest size of the scaling curves (default: {_LARGEST})",
    )
    arguments = parser.parse_args(argv)
    return guarded(partial(_topics if arguments.topics else _board, arguments))


def _board(arguments: argparse.Namespace) -> int:
    for option, topic in (("documents", "bm25"), ("runs", _SERVE)):
        if getattr(arguments, option) is not None:
            raise BenchmarkError(f"--{option}: belongs to topic {topic}; name the topic too.")
    largest = _LARGEST if arguments.largest is None else arguments.largest
    if largest < 1:
        raise BenchmarkError(f"--largest: must be at least 1, not {largest}.")
    boards = _boards()
    chosen = list(boards) if arguments.only is None else arguments.only.split(",")
    for topic in chosen:
        if topic not in boards:
            raise unknown_value("--only", topic, boards)
    files = import_module(_FILES)
    missing, lines = [], []
    with _one_thread():
        for topic in chosen:
            asked = [(peer, peer.missing()) for peer in boards[topic].peers]
            missing += [(peer, why) for peer, why in asked if why is not None]
            for line in boards[topic].lines(largest):
                lines.append(line)
                print(files.as_text(line), flush=True)
    measured = files.Measured(files.machine(), tuple(lines), tuple(missing))
    print(files.missing_sentence(measured.missing))
    if arguments.out is not None:
        files.write_board(arguments.out, measured)
        print(f"Written: {arguments.out / files.PAGE_FILE}")
    return 0


def _boards() -> dict[str, Board]:
    """The topics of the board, of this package and of those above it."""
    names = ("benchmark.speed.topics", f"{INDEX_PACKAGE}.speed_board", "benchmark.report.speed")
    return {board.topic: board for name in names for board in import_module(name).BOARD}


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def _topics(arguments: argparse.Namespace) -> int:
    from benchmark.speed.bm25 import bm25
    from benchmark.speed.measure import as_lines
    from benchmark.speed.topics import TOPICS

    for option in ("out", "only", "largest"):
        if getattr(arguments, option) is not None:
            raise BenchmarkError(f"--{option}: belongs to the board; name no topic.")
    topics = dict(TOPICS)
    for package in ("benchmark.report", INDEX_PACKAGE):
        topics |= import_module(f"{package}.speed").TOPICS
    if arguments.documents is not None:
        topics["bm25"] = partial(bm25, _sizes(arguments.documents))
    if arguments.runs is not None:
        runs = [Path(run) for run in arguments.runs.split(",")]
        topics[_SERVE] = partial(import_module("benchmark.serve.speed").latencies, runs)
    elif _SERVE in arguments.topics:
        raise BenchmarkError(f"topic {_SERVE}: --runs must name the folders of trained runs.")
    for name in arguments.topics:
        if name not in topics:
            raise unknown_value("topic", name, topics)
    for name in arguments.topics:
        for line in as_lines(topics[name]()):
            print(line, flush=True)
    return 0


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
