"""Comparisons of many systems at once, with one error rate for all that is said of them.

Whoever looks at all pairs of twenty systems looks at 190 differences, and at chance alone some
of them are large. So every difference is judged against what the *largest* of them would be by
chance: the single-step procedure of Westfall and Young (1993) with studentised differences, which
is Tukey's honestly significant difference without normality, equal variances or independence; in
retrieval compare Carterette (2012) and Boytsov, Belova and Westfall (2013). Tests and intervals are
the same statement: a difference is significant exactly where its simultaneous interval leaves out
zero.

Two sources of chance are kept apart.

*Users.* A user's events hang together, so users are what is resampled. If no system is better, a
user's sum of differences is as likely as its opposite; so its sign is flipped, for all pairs
and metrics alike, which keeps every correlation between them. Flipping signs is a permutation test:
it needs no large number of users, and users may have as unequal numbers of events as they will. A
mean over events is the ratio of two sums over users, and its variance is that of the ratio.

*Runs.* With several seeds a system's mean is one over runs that were drawn from many possible ones.
Runs deviate from each other as a whole, and event by event; the latter is chance of events that the
signs already have, so its part is taken from the variance between runs. How new runs are drawn says
:mod:`benchmark.report.statistics.studentised`.

Here all systems ranked the same events; for two samples of events see
:mod:`benchmark.report.statistics.unpaired`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.report.statistics.studentised import (
    CELLS_AT_ONCE,
    FLIPS,
    NO_DIFFERENCE,
    NO_VARIANCE,
    Differences,
    Floats,
    Integers,
    Runs,
    judged_against,
    of_sample,
    scores_by_chance,
)


@dataclass(frozen=True)
class Means:
    """Means of systems over test events, and what their error is made of.

    ``value`` is (systems, metrics). ``sums`` is (users, systems, metrics): each user's part of each
    mean, so that they add up to it; ``sizes`` (users,) is each user's share of the ``events``.
    """

    value: Floats
    sums: Floats
    sizes: Floats
    events: int
    runs: Runs

    @property
    def variance_of_events(self) -> Floats:
        """Of each mean, from the users alone, (systems, metrics)."""
        terms = self.sums - self.sizes[:, None, None] * self.value
        return np.asarray(of_sample(len(terms)) * (terms**2).sum(axis=0))


def means_of(values: Sequence[Floats], users: Integers, alike: bool = False) -> Means:
    """The means of systems that ranked the same events.

    Args:
        values: for each system (runs, events, metrics).
        users: (events,) the user of each event.
        alike: whether the systems' runs are taken to deviate from each other by one law.
    """
    over_runs = np.stack([of_system.mean(axis=0) for of_system in values], axis=1)
    value = over_runs.mean(axis=0)
    sums, sizes = sums_of_users(over_runs, users)
    of_runs = [of_system.mean(axis=1) for of_system in values]
    return Means(
        value,
        sums / len(users),
        sizes / len(users),
        len(users),
        Runs(
            tuple(means - means.mean(axis=0) for means in of_runs),
            tuple(_variance_by_event(of_system, users) for of_system in values),
            alike,
        ),
    )


def _variance_by_event(values: Floats, users: Integers) -> Floats:
    """The variance of a run's mean that comes from what it makes of single users, (metrics,)."""
    runs, events, metrics = values.shape
    sums, sizes = sums_of_users(values.transpose(1, 0, 2), users)
    if runs == 1 or len(sizes) == 1:
        return np.zeros(metrics)
    means = values.mean(axis=1)
    own = sums - sums.mean(axis=1, keepdims=True)
    own = own - sizes[:, None, None] * (means - means.mean(axis=0))
    squares = (own**2).sum(axis=(0, 1)) / (runs - 1) / events**2
    return np.asarray(of_sample(len(sizes)) * squares)


def sums_of_users(values: Floats, users: Integers) -> tuple[Floats, Floats]:
    """The sum of each user's events (users, ...), and how many there are of each (users,)."""
    order = np.argsort(users, kind="stable")
    first = np.flatnonzero(np.diff(users[order], prepend=users[order[:1]] - 1))
    sizes = np.diff(first, append=len(users)).astype(np.float64)
    if len(first) == len(users):
        return values, sizes
    return np.add.reduceat(values[order], first, axis=0), sizes


def all_pairs(systems: int) -> Integers:
    """Every pair of systems once, (pairs, 2)."""
    return np.stack(np.triu_indices(systems, k=1), axis=1)


def largest_by_chance(
    means: Means, pairs: Integers, random: np.random.Generator, flips: int = FLIPS
) -> Floats:
    """The largest studentised difference of all pairs where no system is better than another.

    Args:
        means: of the systems.
        pairs: (pairs, 2) places of systems.
        random: draws signs and runs.
        flips: how often.

    Returns:
        (flips, metrics), on the scale of the normal law.
    """
    users, systems, metrics = means.sums.shape
    squares = _squares(means, pairs, np.zeros_like(means.value))
    alike = np.ptp(means.sizes) < NO_DIFFERENCE
    at_once = max(1, CELLS_AT_ONCE // max(users, len(pairs) * metrics))
    largest = np.zeros((flips, metrics))
    columns = means.sums.reshape(users, -1)
    weighed = means.sizes[:, None] * columns
    first, second = pairs[:, 0], pairs[:, 1]
    for start in range(0, flips, at_once):
        rows = min(at_once, flips - start)
        signs = _signs(random, rows, users)
        moved = (signs @ columns).reshape(rows, systems, metrics)
        difference = moved[:, first] - moved[:, second]
        if alike:
            if not means.runs.several:
                largest[start : start + rows] = _largest_of_alike(difference, squares, means.sizes)
                continue
            left = squares - _centring(means.sizes) * difference**2
        else:
            cross = (signs @ weighed).reshape(rows, systems, metrics)
            cross = cross[:, first] - cross[:, second]
            left = squares - 2.0 * difference * cross + (means.sizes**2).sum() * difference**2
        of_events = of_sample(users) * np.maximum(left, 0.0)
        score = scores_by_chance(difference, of_events, users - 1, means.runs, pairs, random)
        largest[start : start + rows] = score.max(axis=1)
    return largest


def _centring(sizes: Floats) -> float:
    """How much of its square a mean takes from the sum of squares about it; ``sizes`` are equal."""
    return float(sizes[0] * (2.0 - len(sizes) * sizes[0]))


def _largest_of_alike(difference: Floats, squares: Floats, sizes: Floats) -> Floats:
    """The largest score where all users have as many events: it rises with one ratio."""
    scale = np.where(squares > NO_VARIANCE, 1.0 / np.maximum(squares, NO_VARIANCE), 0.0)
    most = (difference**2 * scale).max(axis=1)
    left = np.maximum(1.0 - _centring(sizes) * most, NO_DIFFERENCE)
    return np.asarray(np.sqrt(most / left / of_sample(len(sizes))))


def judged(means: Means, pairs: Integers, largest: Floats) -> Differences:
    """Every pair's difference with its simultaneous interval and corrected p-value.

    Args:
        means: of the systems.
        pairs: (pairs, 2) places of systems.
        largest: (flips, metrics) from :func:`largest_by_chance`, or (flips, 1) where the metrics
            are one family.
    """
    value = means.value[pairs[:, 0]] - means.value[pairs[:, 1]]
    users = len(means.sums)
    of_events = np.full(value.shape, np.inf)  # one user says nothing of how much users differ
    if users > 1:
        of_events = of_sample(users) * _squares(means, pairs, means.value)
    return judged_against(largest, value, of_events, users - 1, means.runs, pairs)


def _signs(random: np.random.Generator, rows: int, users: int) -> Floats:
    """(rows, users) of -1 and 1."""
    bits = np.frombuffer(random.bytes((rows * users + 7) // 8), dtype=np.uint8)
    signs = np.unpackbits(bits, count=rows * users).reshape(rows, users).astype(np.float64)
    signs *= 2.0
    signs -= 1.0
    return signs


def _squares(means: Means, pairs: Integers, centre: Floats) -> Floats:
    """The sum of squares of each difference's terms about ``centre``, (pairs, metrics)."""
    found = np.empty((len(pairs), means.value.shape[1]))
    terms = means.sums - means.sizes[:, None, None] * centre
    for rows in _blocks(len(pairs), terms[:, 0].size):
        of_pairs = terms[:, pairs[rows, 0]] - terms[:, pairs[rows, 1]]
        found[rows] = np.einsum("upm,upm->pm", of_pairs, of_pairs)
    return found


def _blocks(number: int, cells: int) -> Iterator[slice]:
    at_once = max(1, CELLS_AT_ONCE // max(1, cells))
    return (slice(start, start + at_once) for start in range(0, number, at_once))
