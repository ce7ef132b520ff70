"""The speed board's measuring: ways of one task in turns, and what comes of it.

Seconds are those of the processor, in one thread, so that a busy machine disturbs them little. The
ways of a task take turns, so that what disturbs one round disturbs all; the figure of a way is the
least of its rounds, and a ratio compares such figures of one run.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version

ROUNDS = 3
SECONDS_A_WAY = 6.0
"""A way that took so long in all takes no further turn."""


@dataclass(frozen=True)
class Peer:
    """A library that does the same; the board says which it could not import.

    Attributes:
        name: how the board calls it.
        modules: what has to be importable.
        distribution: what gives its version.
        remedy: how to install it.
        topic: where it takes part.
    """

    name: str
    topic: str
    modules: tuple[str, ...]
    distribution: str
    remedy: str

    def missing(self) -> str | None:
        """Why it cannot take part; None if it can."""
        for module in self.modules:
            try:
                import_module(module)
            except Exception as error:  # whatever a library of others raises while it is imported
                said = str(error).partition("\n")[0]
                return f"{type(error).__name__}: {said}"
        return None

    def title(self) -> str:
        """Its name with the version."""
        return f"{self.name} {version(self.distribution)}"


@dataclass(frozen=True)
class Way:
    """One way to do a task.

    ``seconds`` does it once and returns its seconds. ``units`` is how much it then has done, where
    that is not what the task asks for. ``rounds`` bounds its turns.
    """

    name: str
    seconds: Callable[[], float]
    is_ours: bool = False
    note: str = ""
    units: int | None = None
    warms_up: bool = True
    rounds: int = ROUNDS


@dataclass(frozen=True)
class Timed:
    """What a way took: the least and the median of its rounds, per unit of the task's work."""

    name: str
    is_ours: bool
    least: float
    median: float
    rounds: int
    note: str = ""


@dataclass(frozen=True)
class Task:
    """What is done, how much of it, and how large it is on the axis of a scaling curve.

    ``limit`` is said where ours is not the fastest, or below ``goal`` times the fastest of others.
    """

    topic: str
    what: str
    units: int
    unit: str
    size: int | None = None
    axis: str = ""
    goal: float = 1.0
    limit: str = ""


@dataclass(frozen=True)
class Line:
    """A line of the board."""

    task: Task
    ways: tuple[Timed, ...]

    @property
    def ours(self) -> Timed | None:
        """Our fastest way."""
        return min((way for way in self.ways if way.is_ours), key=_least, default=None)

    @property
    def best_peer(self) -> Timed | None:
        """The fastest way of others."""
        return min((way for way in self.ways if not way.is_ours), key=_least, default=None)

    @property
    def ratio(self) -> float | None:
        """How many times faster ours is than the fastest of others."""
        ours, peer = self.ours, self.best_peer
        return None if ours is None or peer is None else peer.least / ours.least

    @property
    def reaches_goal(self) -> bool | None:
        """Whether the ratio is what is wanted; None where there is nothing to compare with."""
        return None if self.ratio is None else self.ratio >= self.task.goal


@dataclass(frozen=True)
class Board:
    """A topic of the board: its lines, of sizes up to a bound, and the peers that it asks for."""

    topic: str
    lines: Callable[[int], Iterable[Line]]
    peers: tuple[Peer, ...] = ()


@dataclass(frozen=True)
class Curve:
    """Seconds of a way by size, and the exponent of the power of the size that fits them best."""

    topic: str
    what: str
    axis: str
    way: str
    is_ours: bool
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    exponent: float


def _least(way: Timed) -> float:
    return way.least


def race(task: Task, ways: Sequence[Way]) -> Line:
    """Time all ways in turns; those that ask for it do the work once before."""
    seconds: list[list[float]] = [[] for _ in ways]
    spent = [way.seconds() if way.warms_up else 0.0 for way in ways]
    for turn in range(ROUNDS):
        for place, way in enumerate(ways):
            if turn and (turn >= way.rounds or spent[place] > SECONDS_A_WAY):
                continue
            seconds[place].append(way.seconds())
            spent[place] += seconds[place][-1]
    return Line(
        task,
        tuple(_timed(way, task, found) for way, found in zip(ways, seconds, strict=True)),
    )


def _timed(way: Way, task: Task, seconds: Sequence[float]) -> Timed:
    units = task.units if way.units is None else way.units
    least = max(min(seconds), 1e-9) / units
    median = max(statistics.median(seconds), 1e-9) / units
    return Timed(way.name, way.is_ours, least, median, len(seconds), way.note)


def curves_of(lines: Iterable[Line]) -> Iterator[Curve]:
    """A curve for each way that was timed at three sizes of a task or more."""
    points: dict[tuple[str, str, str, str, bool], list[tuple[int, float]]] = {}
    for line in lines:
        task = line.task
        if task.size is None:
            continue
        for way in line.ways:
            key = (task.topic, task.what, task.axis, way.name, way.is_ours)
            points.setdefault(key, []).append((task.size, way.least * task.units))
    for key, found in points.items():
        if len({size for size, _ in found}) >= 3:
            sizes, seconds = zip(*sorted(found), strict=True)
            yield Curve(*key, sizes, seconds, growth(sizes, seconds))


def growth(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The slope of the straight line through the logarithms, by least squares.

    >>> round(growth([10, 100, 1000], [1.0, 100.0, 10000.0]), 6)
    2.0
    """
    by_log = statistics.linear_regression(
        [math.log(size) for size in sizes], [math.log(one) for one in seconds]
    )
    return by_log.slope


def sizes_up_to(largest: int, most: int = 1_000_000) -> list[int]:
    """Powers of ten from a thousand to the smaller of the two, the smaller one if below that."""
    bound = min(largest, most)
    return [size for size in (10**power for power in range(3, 9)) if size <= bound] or [bound]
