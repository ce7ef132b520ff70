"""The same systems on two samples of test events, whose users are not paired.

If nothing has changed between the samples, users are as likely in one as in the other. So they are
exchanged, each with all that every system makes of all its events, and the differences are
studentised anew. Where both samples are of one population that is a permutation test: it needs no
large number of users, and metrics may be as skewed as they will. As the statistic is Welch's, it
holds about for large samples that differ in other ways than their means (Janssen 1997). One
exchange serves all systems and metrics, which keeps every correlation between them, and the largest
studentised difference is compared (:mod:`benchmark.report.statistics.simultaneous`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmark.report.statistics.simultaneous import Means
from benchmark.report.statistics.studentised import (
    CELLS_AT_ONCE,
    FLIPS,
    Differences,
    Floats,
    Integers,
    Runs,
    judged_against,
    of_sample,
    scores_by_chance,
)

_ROUNDING = 1e-12  # of a sum of squares, by which the rest about the mean may miss zero


@dataclass(frozen=True)
class Unpaired:
    """Systems on the events of ``first`` and, in the same order, on those of ``second``."""

    first: Means
    second: Means

    def largest_by_chance(self, random: np.random.Generator, flips: int = FLIPS) -> Floats:
        """The largest studentised difference where no system is better on one side.

        Args:
            random: exchanges users and draws runs.
            flips: how often users are exchanged.

        Returns:
            (flips, metrics).
        """
        pooled = _Pooled.of(self.first, self.second)
        _, users = pooled.sides
        at_once = max(1, CELLS_AT_ONCE // max(users, pooled.columns.shape[1]))
        largest = np.zeros((flips, self.first.value.shape[1]))
        for start in range(0, flips, at_once):
            rows = min(at_once, flips - start)
            chosen = np.tile(pooled.as_it_is, (rows, 1))
            random.permuted(chosen, axis=1, out=chosen)
            score = scores_by_chance(*pooled.differences(chosen), *self._of_runs, random)
            largest[start : start + rows] = score.max(axis=1)
        return largest

    def judged(self, largest: Floats) -> Differences:
        """Second minus first of every system.

        Args:
            largest: (flips, metrics) from :meth:`largest_by_chance`, or (flips, 1) where the
                metrics are one family.
        """
        pooled = _Pooled.of(self.first, self.second)
        _, variance, freedom = (of[0] for of in pooled.differences(pooled.as_it_is[None]))
        value = self.second.value - self.first.value
        return judged_against(largest, value, variance, freedom, *self._of_runs)

    @property
    def _of_runs(self) -> tuple[Runs, Integers]:
        """The runs of the first side's systems, then of the second's; pairs (second, first)."""
        one, other = self.first.runs, self.second.runs
        systems = len(one.deviations)
        pairs = np.stack([np.arange(systems) + systems, np.arange(systems)], axis=1)
        deviations = (*one.deviations, *other.deviations)
        return Runs(deviations, (*one.by_event, *other.by_event)), pairs


@dataclass(frozen=True)
class _Pooled:
    """The users of both samples, those of the first before the others.

    ``columns`` are, for each user, what sums over a sample's users are needed of: the sums of the
    metrics about their means over both samples, their squares, their products with the number
    of events, that number and its square. ``shape`` is (systems, metrics), ``sides`` the number of
    users of the first sample and of both.
    """

    columns: Floats
    shape: tuple[int, int]
    sides: tuple[int, int]

    @staticmethod
    def of(first: Means, second: Means) -> _Pooled:
        sides = (first, second)
        sizes = np.concatenate([side.sizes * side.events for side in sides])
        sums = np.concatenate([side.sums * side.events for side in sides])
        # Differences do not change with the centre; rounding is least about the mean of all.
        about = sums - sizes[:, None, None] * (sums.sum(axis=0) / sizes.sum())
        flat = about.reshape(len(about), -1)
        of_sizes = np.stack([sizes, sizes**2], axis=1)
        columns = np.concatenate([flat, flat**2, flat * sizes[:, None], of_sizes], axis=1)
        return _Pooled(columns, sums.shape[1:], (len(first.sizes), len(sizes)))

    @property
    def as_it_is(self) -> Floats:
        """(users,) 1 for the users of the first sample, 0 for those of the second."""
        first, both = self.sides
        return (np.arange(both) < first).astype(np.float64)

    def differences(self, chosen: Floats) -> tuple[Floats, Floats, Floats]:
        """Differences of means, their variances and these variances' degrees of freedom.

        Args:
            chosen: (rows, users) 1 for the users of the first sample, as many in each row.

        Returns:
            Three times (rows, systems, metrics).
        """
        first, both = self.sides
        of_first = chosen @ self.columns
        of_second = self.columns.sum(axis=0) - of_first
        one, of_one = self._mean_and_variance(of_first, first)
        other, of_other = self._mean_and_variance(of_second, both - first)
        variance = of_one + of_other
        weighed = of_one**2 / max(first - 1, 1) + of_other**2 / max(both - first - 1, 1)
        freedom = np.ones(variance.shape)
        known = (weighed > 0.0) & np.isfinite(weighed)
        np.divide(variance**2, weighed, out=freedom, where=known)
        return other - one, variance, freedom

    def _mean_and_variance(self, totals: Floats, users: int) -> tuple[Floats, Floats]:
        """Of a sample of so many users, (rows, systems, metrics) each, from its totals."""
        rows, shape = len(totals), (len(totals), *self.shape)
        sums, squares, products = totals[:, :-2].reshape(rows, 3, -1).transpose(1, 0, 2)
        events, squares_of_events = totals[:, -2:-1], totals[:, -1:]
        if users < 2:  # one user says nothing of how much users differ
            return (sums / events).reshape(shape), np.full(shape, np.inf)
        mean = sums / events
        left = squares - 2.0 * mean * products + mean**2 * squares_of_events
        left = np.where(left > _ROUNDING * squares, left, 0.0)
        return mean.reshape(shape), (of_sample(users) * left / events**2).reshape(shape)
