"""Differences in their standard errors, with what runs add to both.

New runs are drawn from a normal law with the covariance of those at hand, and their variance is
estimated anew, as it was from the real ones: with three seeds it is mostly wrong, and the largest
difference by chance (:mod:`benchmark.report.statistics.simultaneous`) knows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05
FLIPS = 4999
"""How often chance is drawn: p-values are multiples of 1 / 5,000."""

CELLS_AT_ONCE = 2_000_000
"""Of an array of resampled values, so that memory stays small."""
NO_VARIANCE = 1e-22
"""Below it a difference is the same for every user, but for rounding."""
NO_DIFFERENCE = 1e-12
_ROUNDING = 1e-9  # by which equal values may seem to differ

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Runs:
    """How runs of systems deviate from each other.

    ``deviations`` has for each system (runs, metrics): how far each run's mean lies from the mean
    over the runs; ``by_event`` (metrics,) is how much of the variance between runs their events
    explain, which each run finds in its own way. Where they are ``alike``, as those of one system
    with small changes, all systems' runs tell of one variance, which is then known far better.
    """

    deviations: tuple[Floats, ...]
    by_event: tuple[Floats, ...]
    alike: bool = False

    @property
    def several(self) -> bool:
        """Whether any system has several runs."""
        return any(len(of_system) > 1 for of_system in self.deviations)

    @property
    def variance(self) -> Floats:
        """Of each system's mean, from its runs as a whole, (systems, metrics)."""
        return _variances_from_runs(self.deviations, self)

    @property
    def degrees(self) -> Floats:
        """(systems,) of freedom with which each system's variance is known."""
        own = np.array([len(of_system) - 1 for of_system in self.deviations], dtype=float)
        return np.full(len(own), max(own.sum(), 1.0)) if self.alike else np.maximum(own, 1.0)

    @property
    def by_event_of_all(self) -> Floats:
        """(metrics,) the mean of ``by_event`` over the systems with several runs."""
        pairs = zip(self.deviations, self.by_event, strict=True)
        found = [by_event for of_system, by_event in pairs if len(of_system) > 1]
        return np.mean(found, axis=0) if found else np.zeros_like(self.by_event[0])


@dataclass(frozen=True)
class Differences:
    """First minus second of each pair, judged together; every array is (pairs, metrics).

    ``low`` and ``high`` are the ends of simultaneous intervals, ``p_value`` is corrected.
    """

    value: Floats
    low: Floats
    high: Floats
    p_value: Floats

    @property
    def significant(self) -> NDArray[np.bool_]:
        """Which differences are not explained by chance: their intervals leave out zero."""
        return self.p_value <= LEVEL


def judged_against(
    largest: Floats,
    value: Floats,
    of_events: Floats,
    freedom_of_events: Floats | float,
    runs: Runs,
    pairs: Integers,
) -> Differences:
    """Differences with simultaneous intervals and corrected p-values.

    Args:
        largest: (flips, metrics) the largest score by chance, or (flips, 1) where the metrics are
            one family.
        value: (pairs, metrics) the differences.
        of_events: their variance from the users, likewise.
        freedom_of_events: its degrees of freedom.
        runs: of the systems.
        pairs: (pairs, 2) places of systems.
    """
    variance, freedom = _with_runs(pairs, of_events, freedom_of_events, runs, runs.variance)
    score = studentised(value, variance)
    if runs.several:
        score = _as_normal(score, freedom)
    ordered = np.sort(np.broadcast_to(largest, (len(largest), value.shape[1])), axis=0)
    flips = len(ordered)
    as_large = np.stack(
        [
            flips - np.searchsorted(column, of_metric - _ROUNDING, side="left")
            for column, of_metric in zip(ordered.T, score.T, strict=True)
        ],
        axis=1,
    )
    place = min(int(np.ceil((1.0 - LEVEL) * (flips + 1))), flips) - 1
    critical = np.broadcast_to(ordered[place], value.shape)
    half = np.full(value.shape, np.inf)
    with np.errstate(over="ignore"):  # what is beyond all numbers is infinite
        if runs.several:
            critical = _from_normal(critical, freedom)
        is_known = np.isfinite(variance) & np.isfinite(critical)
        np.multiply(critical, np.sqrt(variance), out=half, where=is_known)
    return Differences(value, value - half, value + half, (as_large + 1.0) / (flips + 1.0))


def of_sample(users: int) -> float:
    """By which a sum of squares about the sample's own mean is too small."""
    return users / (users - 1) if users > 1 else np.inf


def studentised(difference: Floats, variance: Floats) -> Floats:
    """Differences in their standard errors; without variance, 0 or infinite."""
    size = np.abs(difference)
    certain = np.where(size > NO_DIFFERENCE, np.inf, 0.0)
    scale = np.sqrt(np.maximum(variance, NO_VARIANCE))
    return np.where(variance > NO_VARIANCE, size / scale, certain)


def scores_by_chance(
    difference: Floats,
    of_events: Floats,
    freedom_of_events: Floats | float,
    runs: Runs,
    pairs: Integers,
    random: np.random.Generator,
) -> Floats:
    """Studentised differences where chance was drawn, with runs drawn anew if there are several.

    Args:
        difference: (rows, pairs, metrics), resampled from the users.
        of_events: its variance.
        freedom_of_events: the variance's degrees of freedom.
        runs: of the systems.
        pairs: (pairs, 2) places of systems.
        random: draws the runs.

    Returns:
        (rows, pairs, metrics).
    """
    if not runs.several:
        return studentised(difference, of_events)
    rows, metrics = len(difference), difference.shape[-1]
    shift = np.zeros((rows, len(runs.deviations), metrics))
    every: list[Floats] = []
    of_all = np.concatenate(runs.deviations) if runs.alike else None
    # The variance between runs may be larger than few of them say; of alike ones it is one.
    unknown_of_all = _unknown(runs.degrees[0], rows, random) if runs.alike else None
    for place, (own, own_by_event) in enumerate(zip(runs.deviations, runs.by_event, strict=True)):
        number, degrees = len(own), float(runs.degrees[place])
        if number < 2:
            every.append(np.zeros((rows, number, metrics)))
            continue
        deviations = own if of_all is None else of_all
        by_event = own_by_event if of_all is None else runs.by_event_of_all
        unknown = _unknown(degrees, rows, random) if unknown_of_all is None else unknown_of_all
        between = np.maximum((deviations**2).sum(axis=0) / degrees, NO_VARIANCE)
        scale = np.sqrt(between)
        as_a_whole = np.sqrt(np.maximum(between * unknown - by_event, 0.0)) / scale
        weights = random.standard_normal((2, rows, number, len(deviations)))
        whole, event_by_event = weights / np.sqrt(degrees) @ deviations
        whole *= as_a_whole
        event_by_event *= np.sqrt(by_event) / scale
        shift[:, place] = whole.mean(axis=1)
        drawn = whole + event_by_event
        every.append(drawn - drawn.mean(axis=1, keepdims=True))
    of_runs = _variances_from_runs(every, runs)
    variance, freedom = _with_runs(pairs, of_events, freedom_of_events, runs, of_runs)
    moved = difference + shift[:, pairs[:, 0]] - shift[:, pairs[:, 1]]
    return _as_normal(studentised(moved, variance), freedom)


def _with_runs(
    pairs: Integers,
    of_events: Floats,
    freedom_of_events: Floats | float,
    runs: Runs,
    of_runs: Floats,
) -> tuple[Floats, Floats]:
    """Each difference's variance and its degrees of freedom after Satterthwaite.

    Args:
        pairs: (pairs, 2).
        of_events: (..., pairs, metrics) the variance from the users.
        freedom_of_events: its degrees of freedom.
        runs: of the systems.
        of_runs: (..., systems, metrics) the variance of each system's mean from its runs.
    """
    first, second = of_runs[..., pairs[:, 0], :], of_runs[..., pairs[:, 1], :]
    degrees = runs.degrees[:, None]
    variance = of_events + first + second
    weighed = of_events**2 / np.maximum(freedom_of_events, 1.0)
    if runs.alike:  # both are parts of one estimate
        weighed = weighed + (first + second) ** 2 / degrees[pairs[:, 0]]
    else:
        weighed = weighed + first**2 / degrees[pairs[:, 0]] + second**2 / degrees[pairs[:, 1]]
    known = (weighed > 0.0) & np.isfinite(weighed)
    freedom = np.ones(variance.shape)
    np.divide(variance**2, weighed, out=freedom, where=known)
    return variance, freedom


def _unknown(degrees: float, rows: int, random: np.random.Generator) -> Floats:
    """(rows, 1, 1) by how much a variance of so many degrees may be larger than it was found."""
    return np.asarray(degrees / random.chisquare(degrees, (rows, 1, 1)))


def _variances_from_runs(deviations: Sequence[Floats], runs: Runs) -> Floats:
    """The variance of each system's mean from its runs as a whole, (..., systems, metrics).

    Args:
        deviations: for each system (..., runs, metrics) about their own mean.
        runs: how many there are, and what their events explain.
    """
    squares = [(of_system**2).sum(axis=-2) for of_system in deviations]
    numbers = [of_system.shape[-2] for of_system in deviations]
    if runs.alike:
        between = np.sum(squares, axis=0) / runs.degrees[0]
        left = np.maximum(between - runs.by_event_of_all, 0.0)
        return np.stack([left / number for number in numbers], axis=-2)
    found = [
        np.maximum(of_system / max(number - 1, 1) - by_event, 0.0) / number
        for of_system, number, by_event in zip(squares, numbers, runs.by_event, strict=True)
    ]
    return np.stack(found, axis=-2)


def _as_normal(score: Floats, freedom: Floats) -> Floats:
    """The normal quantile that is about as rare as ``score`` under Student's law (Wallace 1959).

    It only has to make differences of unequal freedom comparable: the law of the largest is
    resampled on the same scale, so an approximation costs no validity.
    """
    return np.asarray(_wallace(freedom) * np.sqrt(freedom * np.log1p(score**2 / freedom)))


def _from_normal(quantile: Floats, freedom: Floats) -> Floats:
    """The inverse of :func:`_as_normal`."""
    return np.asarray(np.sqrt(freedom * np.expm1((quantile / _wallace(freedom)) ** 2 / freedom)))


def _wallace(freedom: Floats) -> Floats:
    return (8.0 * freedom + 1.0) / (8.0 * freedom + 3.0)
