"""Timing of alternatives side by side."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    """``units`` of work a second by ``way``, and the ratio to the first way of the same topic.

    ``note`` is what else is to be said of it.
    """

    what: str
    way: str
    seconds: float
    units: int
    note: str = ""

    @property
    def rate(self) -> float:
        """Units a second."""
        return self.units / max(self.seconds, 1e-12)


def best_of(work: Callable[[], object], repeats: int = 3) -> float:
    """The shortest of several runs, in wall-clock seconds."""
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def processor_seconds(work: Callable[[], object]) -> float:
    """The time of all threads of this process and of those that it waits for."""

    def now() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    started = now()
    work()
    return now() - started


def as_lines(measurements: Iterable[Measurement | str]) -> Iterator[str]:
    """One line a measurement; the ratio is to the first one with the same ``what``.

    Strings are lines already.
    """
    first: dict[str, Measurement] = {}
    for one in measurements:
        if isinstance(one, str):
            yield one
            continue
        base = first.setdefault(one.what, one)
        line = (
            f"{one.what} | {one.way} | {one.seconds:.3f} s | {one.rate:,.0f}/s | "
            f"{one.rate / base.rate:.2f} x"
        )
        yield f"{line} | {one.note}" if one.note else line
