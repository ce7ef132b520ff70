"""What the draw of negatives does to a figure: exactly, where ranks over all items are known.

A candidate list holds the target and ``negatives`` items that were drawn uniformly, without
repetition, from the eligible ones. Of the items that score above the target a hypergeometric number
is drawn, so the expectation of HR@k and NDCG@k over all draws, and their deviation from
draw to draw, follow from three counts of each event. (Krichene and Rendle 2020 estimate the
opposite direction: figures over all items from sampled ones.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from benchmark.errors import BenchmarkError
from benchmark.protocol.metrics import METRIC_NAMES, Ranks, TieRule, gains

_CELLS_AT_ONCE = 1_000_000


def gains_over_draws(
    above: NDArray[np.integer],
    tied: NDArray[np.integer],
    eligible: NDArray[np.integer],
    negatives: int,
    metric: str,
    ties: TieRule = "expected",
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Each event's expected gain over uniform draws, and its variance; both (events,).

    Args:
        above: (events,) eligible items that score higher than the target.
        tied: (events,) eligible items that score the same.
        eligible: (events,) items that may be drawn, the target left out.
        negatives: how many are drawn; all eligible ones where there are fewer.
        metric: written like ``"NDCG@5"``.
        ties: the rule for candidates that score the same.

    Raises:
        BenchmarkError: the counts contradict each other, or the metric is unknown.
    """
    counts = np.stack([above, tied, eligible], axis=1).astype(np.int64)
    if (counts < 0).any() or (counts[:, 0] + counts[:, 1] > counts[:, 2]).any():
        raise BenchmarkError("items above the target and tied with it must be eligible ones.")
    if negatives < 0:
        raise BenchmarkError(f"{negatives} negatives cannot be drawn.")
    distinct, row = np.unique(counts, axis=0, return_inverse=True)
    # A list of the target alone says whether the metric is known.
    gains(_returned(np.zeros(1, np.int64), np.zeros(1, np.int64)), metric, ties)
    cutoff = min(int(metric.partition("@")[2]), negatives + 1)
    most_tied = min(int(distinct[:, 1].max(initial=0)), negatives)
    drawn_above, drawn_tied = (
        of_grid.ravel() for of_grid in np.mgrid[:cutoff, : most_tied + 1].astype(np.int64)
    )
    gain = gains(_returned(drawn_above, drawn_tied), metric, ties)
    mean, square = np.empty(len(distinct)), np.empty(len(distinct))
    for rows in _blocks(len(distinct), len(gain)):
        share = _shares(distinct[rows], drawn_above, drawn_tied, negatives)
        mean[rows], square[rows] = share @ gain, share @ gain**2
    variance = np.maximum(square - mean**2, 0.0)
    return mean[row.reshape(-1)], variance[row.reshape(-1)]


def metrics_over_draws(
    above: NDArray[np.integer],
    tied: NDArray[np.integer],
    eligible: NDArray[np.integer],
    negatives: int,
    ties: TieRule = "expected",
    names: Sequence[str] = METRIC_NAMES,
) -> dict[str, tuple[float, float]]:
    """Metric → expectation and standard deviation of its mean over the events.

    Lists of different events are drawn apart from each other. Arguments are those of
    :func:`gains_over_draws`, for each metric of ``names``.

    Raises:
        BenchmarkError: see there; or there are no events.
    """
    if not len(above):
        raise BenchmarkError("there are no events whose lists could be drawn.")
    found = {}
    for metric in names:
        mean, variance = gains_over_draws(above, tied, eligible, negatives, metric, ties)
        found[metric] = (float(mean.mean()), float(np.sqrt(variance.sum())) / len(mean))
    return found


def _returned(above: NDArray[np.int64], tied: NDArray[np.int64]) -> Ranks:
    return Ranks(above.astype(np.int32), tied.astype(np.int32), np.ones(len(above), dtype=bool))


def _blocks(number: int, cells: int) -> Iterator[slice]:
    at_once = max(1, _CELLS_AT_ONCE // cells)
    return (slice(start, start + at_once) for start in range(0, number, at_once))


def _shares(
    counts: NDArray[np.int64],
    drawn_above: NDArray[np.int64],
    drawn_tied: NDArray[np.int64],
    negatives: int,
) -> NDArray[np.float64]:
    """How likely it is to draw so many above and so many tied, (events, cells)."""
    above, tied, eligible = (column[:, None] for column in counts.T)
    below = eligible - above - tied
    drawn = np.minimum(negatives, eligible)
    rest = drawn - drawn_above - drawn_tied
    logarithm = (
        _log_choices(above, drawn_above)
        + _log_choices(tied, drawn_tied)
        + _log_choices(below, rest)
        - _log_choices(eligible, drawn)
    )
    return np.asarray(np.exp(logarithm))


def _log_choices(of: NDArray[np.int64], chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    """The logarithm of the binomial coefficient; -inf where there is no such choice."""
    possible = (chosen >= 0) & (chosen <= of)
    safe = np.where(possible, chosen, 0)
    value = gammaln(of + 1.0) - gammaln(safe + 1.0) - gammaln(of - safe + 1.0)
    return np.where(possible, value, -np.inf)
