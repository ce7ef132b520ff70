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
signs already have, so its part is taken from the variance between runs. New runs are drawn from a
normal law with the covariance of those at hand, and their variance is estimated anew, as it
was from the real ones: with three seeds it is mostly wrong, and the largest difference by chance
knows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05
FLIPS = 4999
"""How often all signs are flipped: p-values are multiples of 1 / 5,000."""

_CELLS_AT_ONCE = 2_000_000  # of an array of resampled values, so that memory stays small
_NO_VARIANCE = 1e-22  # below it a difference is the same for every user, but for rounding
_NO_DIFFERENCE = 1e-12
_ROUNDING = 1e-9  # by which equal values may seem to differ

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Means:
    """Means of systems over test events, and what their error is made of.

    ``value`` is (systems, metrics). ``sums`` is (users, systems, metrics): each user's part of each
    mean, so that they add up to it; ``sizes`` (users,) is each user's share of the events. ``runs``
    has for each system (runs, metrics): how far each run's mean lies from the mean over the runs;
    ``by_event`` (metrics,) is how much of the variance between runs their events explain, which
    each run finds in its own way.
    """

    value: Floats
    sums: Floats
    sizes: Floats
    runs: tuple[Floats, ...]
    by_event: tuple[Floats, ...]

    @property
    def variance_of_events(self) -> Floats:
        """Of each mean, from the users alone, (systems, metrics)."""
        terms = self.sums - self.sizes[:, None, None] * self.value
        return np.asarray(_of_sample(len(terms)) * (terms**2).sum(axis=0))

    @property
    def has_runs(self) -> bool:
        """Whether any system has several runs."""
        return any(len(of_system) > 1 for of_system in self.runs)


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


def means_of(values: Sequence[Floats], users: Integers) -> Means:
    """The means of systems that ranked the same events.

    Args:
        values: for each system (runs, events, metrics).
        users: (events,) the user of each event.
    """
    over_runs = np.stack([of_system.mean(axis=0) for of_system in values], axis=1)
    value = over_runs.mean(axis=0)
    sums, sizes = sums_of_users(over_runs, users)
    of_runs = [of_system.mean(axis=1) for of_system in values]
    return Means(
        value,
        sums / len(users),
        sizes / len(users),
        tuple(means - means.mean(axis=0) for means in of_runs),
        tuple(_variance_by_event(of_system, users) for of_system in values),
    )


def _variance_by_event(values: Floats, users: Integers) -> Floats:
    """The variance of a run's mean that comes from what it makes of single users, (metrics,)."""
    runs, events, metrics = values.shape
    if runs == 1:
        return np.zeros(metrics)
    sums, sizes = sums_of_users(values.transpose(1, 0, 2), users)
    means = values.mean(axis=1)
    own = sums - sums.mean(axis=1, keepdims=True)
    own = own - sizes[:, None, None] * (means - means.mean(axis=0))
    squares = (own**2).sum(axis=(0, 1)) / (runs - 1) / events**2
    return np.asarray(_of_sample(len(sizes)) * squares)


def sums_of_users(values: Floats, users: Integers) -> tuple[Floats, Floats]:
    """The sum of each user's events (users, ...), and how many there are of each (users,)."""
    order = np.argsort(users, kind="stable")
    first = np.flatnonzero(np.diff(users[order], prepend=users[order[:1]] - 1))
    sizes = np.diff(first, append=len(users)).astype(np.float64)
    if len(first) == len(users):
        return values, sizes
    return np.add.reduceat(values[order], first, axis=0), sizes


def beside(one: Means, other: Means) -> Means:
    """The systems of both as of two samples: no user of one is a user of the other.

    Each sample is centred at means of its own, so nothing is left for ``sizes`` to centre; that
    users with many events draw the means towards themselves is made up for as by the jackknife.
    """
    of_one, of_other = (
        (means.sums - means.sizes[:, None, None] * means.value)
        / np.maximum(1.0 - means.sizes, _NO_DIFFERENCE)[:, None, None]
        for means in (one, other)
    )
    sums = np.concatenate(
        [
            np.pad(of_one, ((0, 0), (0, len(other.value)), (0, 0))),
            np.pad(of_other, ((0, 0), (len(one.value), 0), (0, 0))),
        ]
    )
    value = np.concatenate([one.value, other.value])
    return Means(
        value, sums, np.zeros(len(sums)), (*one.runs, *other.runs), (*one.by_event, *other.by_event)
    )


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
    alike = np.ptp(means.sizes) < _NO_DIFFERENCE
    at_once = max(1, _CELLS_AT_ONCE // max(users, len(pairs) * metrics))
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
            if not means.has_runs:
                largest[start : start + rows] = _largest_of_alike(difference, squares, means.sizes)
                continue
            left = squares - _centring(means.sizes) * difference**2
        else:
            cross = (signs @ weighed).reshape(rows, systems, metrics)
            cross = cross[:, first] - cross[:, second]
            left = squares - 2.0 * difference * cross + (means.sizes**2).sum() * difference**2
        of_events = _of_sample(users) * np.maximum(left, 0.0)
        score = (
            _scores_with_runs(means, pairs, difference, of_events, random)
            if means.has_runs
            else _studentised(difference, of_events)
        )
        largest[start : start + rows] = score.max(axis=1)
    return largest


def _centring(sizes: Floats) -> float:
    """How much of its square a mean takes from the sum of squares about it; ``sizes`` are equal."""
    return float(sizes[0] * (2.0 - len(sizes) * sizes[0]))


def _largest_of_alike(difference: Floats, squares: Floats, sizes: Floats) -> Floats:
    """The largest score where all users have as many events: it rises with one ratio."""
    scale = np.where(squares > _NO_VARIANCE, 1.0 / np.maximum(squares, _NO_VARIANCE), 0.0)
    most = (difference**2 * scale).max(axis=1)
    left = np.maximum(1.0 - _centring(sizes) * most, _NO_DIFFERENCE)
    return np.asarray(np.sqrt(most / left / _of_sample(len(sizes))))


def judged(means: Means, pairs: Integers, largest: Floats) -> Differences:
    """Every pair's difference with its simultaneous interval and corrected p-value.

    Args:
        means: of the systems.
        pairs: (pairs, 2) places of systems.
        largest: (flips, metrics) from :func:`largest_by_chance`, or (flips, 1) where the metrics
            are one family.
    """
    value = means.value[pairs[:, 0]] - means.value[pairs[:, 1]]
    of_runs = np.stack(
        [
            _variance_from_runs(deviations, by_event)
            for deviations, by_event in zip(means.runs, means.by_event, strict=True)
        ]
    )
    of_events = _of_sample(len(means.sums)) * _squares(means, pairs, means.value)
    variance, freedom = _variance_and_freedom(means, pairs, of_events, of_runs)
    score = _studentised(value, variance)
    if means.has_runs:
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
    if means.has_runs:
        critical = _from_normal(critical, freedom)
    half = critical * np.sqrt(variance)
    return Differences(value, value - half, value + half, (as_large + 1.0) / (flips + 1.0))


def _signs(random: np.random.Generator, rows: int, users: int) -> Floats:
    """(rows, users) of -1 and 1."""
    bits = np.frombuffer(random.bytes((rows * users + 7) // 8), dtype=np.uint8)
    signs = np.unpackbits(bits, count=rows * users).reshape(rows, users).astype(np.float64)
    signs *= 2.0
    signs -= 1.0
    return signs


def _of_sample(users: int) -> float:
    """By which a sum of squares about the sample's own mean is too small."""
    return users / (users - 1) if users > 1 else np.inf


def _squares(means: Means, pairs: Integers, centre: Floats) -> Floats:
    """The sum of squares of each difference's terms about ``centre``, (pairs, metrics)."""
    found = np.empty((len(pairs), means.value.shape[1]))
    terms = means.sums - means.sizes[:, None, None] * centre
    for rows in _blocks(len(pairs), terms[:, 0].size):
        of_pairs = terms[:, pairs[rows, 0]] - terms[:, pairs[rows, 1]]
        found[rows] = np.einsum("upm,upm->pm", of_pairs, of_pairs)
    return found


def _blocks(number: int, cells: int) -> Iterator[slice]:
    at_once = max(1, _CELLS_AT_ONCE // max(1, cells))
    return (slice(start, start + at_once) for start in range(0, number, at_once))


def _scores_with_runs(
    means: Means,
    pairs: Integers,
    difference: Floats,
    of_events: Floats,
    random: np.random.Generator,
) -> Floats:
    """Studentised differences with runs drawn anew, (rows, pairs, metrics).

    Args:
        means: of the systems.
        pairs: (pairs, 2).
        difference: (rows, pairs, metrics), resampled from the users.
        of_events: its variance.
        random: draws the runs.
    """
    shape = (len(difference), *means.value.shape)
    shift, of_runs = np.zeros(shape), np.zeros(shape)
    for place, (deviations, by_event) in enumerate(zip(means.runs, means.by_event, strict=True)):
        runs = len(deviations)
        if runs > 1:
            between = np.maximum((deviations**2).sum(axis=0) / (runs - 1), _NO_VARIANCE)
            scale = np.sqrt(between)
            # The variance between runs may be larger than few of them say.
            unknown = (runs - 1) / random.chisquare(runs - 1, (len(difference), 1, 1))
            as_a_whole = np.sqrt(np.maximum(between * unknown - by_event, 0.0)) / scale
            weights = random.standard_normal((2, len(difference), runs, runs)) / np.sqrt(runs - 1)
            whole, event_by_event = weights @ deviations
            whole *= as_a_whole
            event_by_event *= np.sqrt(by_event) / scale
            shift[:, place] = whole.mean(axis=1)
            drawn = whole + event_by_event
            drawn -= drawn.mean(axis=1, keepdims=True)
            of_runs[:, place] = _variance_from_runs(drawn, by_event)
    variance, freedom = _variance_and_freedom(means, pairs, of_events, of_runs)
    moved = difference + shift[:, pairs[:, 0]] - shift[:, pairs[:, 1]]
    return _as_normal(_studentised(moved, variance), freedom)


def _variance_and_freedom(
    means: Means, pairs: Integers, of_events: Floats, of_runs: Floats
) -> tuple[Floats, Floats]:
    """Each difference's variance and its degrees of freedom after Satterthwaite.

    Args:
        means: of the systems.
        pairs: (pairs, 2).
        of_events: (..., pairs, metrics) the variance from the users.
        of_runs: (..., systems, metrics) the variance of each system's mean from its runs.
    """
    degrees = np.array([max(len(of_system) - 1, 1) for of_system in means.runs], dtype=float)
    parts = of_runs**2 / degrees[:, None]
    first, second = pairs[:, 0], pairs[:, 1]
    variance = of_events + of_runs[..., first, :] + of_runs[..., second, :]
    weighed = of_events**2 / max(len(means.sums) - 1, 1)
    weighed = weighed + parts[..., first, :] + parts[..., second, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = np.where(weighed > 0.0, variance**2 / weighed, 1.0)
    return variance, freedom


def _variance_from_runs(deviations: Floats, by_event: Floats) -> Floats:
    """The variance of a mean over runs from the runs as a whole, (..., metrics).

    Args:
        deviations: (..., runs, metrics) about their own mean.
        by_event: (metrics,) see :class:`Means`.
    """
    runs = deviations.shape[-2]
    between = (deviations**2).sum(axis=-2) / max(runs - 1, 1)
    return np.asarray(np.maximum(between - by_event, 0.0) / runs)


def _studentised(difference: Floats, variance: Floats) -> Floats:
    """Differences in their standard errors; without variance, 0 or infinite."""
    size = np.abs(difference)
    certain = np.where(size > _NO_DIFFERENCE, np.inf, 0.0)
    scale = np.sqrt(np.maximum(variance, _NO_VARIANCE))
    return np.where(variance > _NO_VARIANCE, size / scale, certain)


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
