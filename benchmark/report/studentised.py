"""Differences in their standard errors, with what runs add to both.

New runs are drawn from a normal law with the covariance of those at hand, and their variance is
estimated anew, as it was from the real ones: with three seeds it is mostly wrong, and the largest
difference by chance (:mod:`benchmark.report.simultaneous`) knows it.
"""

from __future__ import annotations

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
    explain, which each run finds in its own way.
    """

    deviations: tuple[Floats, ...]
    by_event: tuple[Floats, ...]

    @property
    def several(self) -> bool:
        """Whether any system has several runs."""
        return any(len(of_system) > 1 for of_system in self.deviations)

    @property
    def variance(self) -> Floats:
        """Of each system's mean, from its runs as a whole, (systems, metrics)."""
        pairs = zip(self.deviations, self.by_event, strict=True)
        return np.stack([_variance_from_runs(*of_system) for of_system in pairs])


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
    if runs.several:
        critical = _from_normal(critical, freedom)
    half = np.full(value.shape, np.inf)
    np.multiply(critical, np.sqrt(variance), out=half, where=np.isfinite(variance))
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
    shape = (len(difference), len(runs.deviations), difference.shape[-1])
    shift, of_runs = np.zeros(shape), np.zeros(shape)
    for place, (deviations, by_event) in enumerate(
        zip(runs.deviations, runs.by_event, strict=True)
    ):
        number = len(deviations)
        if number > 1:
            between = np.maximum((deviations**2).sum(axis=0) / (number - 1), NO_VARIANCE)
            scale = np.sqrt(between)
            # The variance between runs may be larger than few of them say.
            unknown = (number - 1) / random.chisquare(number - 1, (len(difference), 1, 1))
            as_a_whole = np.sqrt(np.maximum(between * unknown - by_event, 0.0)) / scale
            weights = random.standard_normal((2, len(difference), number, number))
            whole, event_by_event = weights / np.sqrt(number - 1) @ deviations
            whole *= as_a_whole
            event_by_event *= np.sqrt(by_event) / scale
            shift[:, place] = whole.mean(axis=1)
            drawn = whole + event_by_event
            drawn -= drawn.mean(axis=1, keepdims=True)
            of_runs[:, place] = _variance_from_runs(drawn, by_event)
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
    degrees = np.array([max(len(of_system) - 1, 1) for of_system in runs.deviations], dtype=float)
    parts = of_runs**2 / degrees[:, None]
    first, second = pairs[:, 0], pairs[:, 1]
    variance = of_events + of_runs[..., first, :] + of_runs[..., second, :]
    weighed = of_events**2 / np.maximum(freedom_of_events, 1.0)
    weighed = weighed + parts[..., first, :] + parts[..., second, :]
    known = (weighed > 0.0) & np.isfinite(weighed)
    freedom = np.ones(variance.shape)
    np.divide(variance**2, weighed, out=freedom, where=known)
    return variance, freedom


def _variance_from_runs(deviations: Floats, by_event: Floats) -> Floats:
    """The variance of a mean over runs from the runs as a whole, (..., metrics).

    Args:
        deviations: (..., runs, metrics) about their own mean.
        by_event: (metrics,) see :class:`Runs`.
    """
    runs = deviations.shape[-2]
    between = (deviations**2).sum(axis=-2) / max(runs - 1, 1)
    return np.asarray(np.maximum(between - by_event, 0.0) / runs)


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
