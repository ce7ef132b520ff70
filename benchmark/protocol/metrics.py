"""HR@k and NDCG@k with one true item an event, tie-aware, without sorting.

A rank follows from two counts: how many candidates score above the target and how many score the
same. The rules for ties are *expected* (the mean over all orders of the tied candidates),
*pessimistic* (the target comes last among them) and *optimistic* (first). A target that a beam did
not return scores 0 under every rule. ``HR@k = [rank <= k]``, ``NDCG@k = [rank <= k] / log2(rank +
1)`` (one relevant item, so the ideal gain is 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError

TieRule = Literal["expected", "pessimistic", "optimistic"]
CUTOFFS: dict[str, tuple[int, ...]] = {"HR": (1, 5, 10), "NDCG": (5, 10)}
METRIC_NAMES: tuple[str, ...] = tuple(f"{name}@{k}" for name, ks in CUTOFFS.items() for k in ks)


@dataclass(frozen=True)
class Ranks:
    """What the scores say of each event's target; every array has shape (events,).

    ``above`` counts the candidates with a higher score, ``tied`` those other candidates with the
    same score, ``returned`` is false where the target's own score is -inf.
    """

    above: NDArray[np.int32]
    tied: NDArray[np.int32]
    returned: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.above)


def ranks_of_targets(scores: NDArray[np.floating], target_column: NDArray[np.integer]) -> Ranks:
    """Count, for each event, the candidates above the target and tied with it.

    Args:
        scores: (events, candidates), higher is better, no NaN.
        target_column: (events,), the column of the true item.
    """
    target = np.take_along_axis(scores, target_column[:, None].astype(np.int64), axis=1)
    above = np.count_nonzero(scores > target, axis=1)
    tied = np.count_nonzero(scores == target, axis=1) - 1
    return Ranks(
        above=above.astype(np.int32),
        tied=tied.astype(np.int32),
        returned=target[:, 0] != -np.inf,
    )


def _gain_table(name: str, cutoff: int, positions: int) -> NDArray[np.float64]:
    """The gain of the true item at each 1-based position, shape (positions,)."""
    position = np.arange(1, positions + 1)
    gain = np.ones(positions) if name == "HR" else 1.0 / np.log2(position + 1.0)
    return np.where(position <= cutoff, gain, 0.0)


def gains(ranks: Ranks, metric: str, ties: TieRule = "expected") -> NDArray[np.float64]:
    """The metric of each event, shape (events,). ``metric`` is written like ``"NDCG@5"``.

    Raises:
        BenchmarkError: it is neither HR nor NDCG at a positive cutoff.
    """
    name, _, cutoff = metric.partition("@")
    if name not in CUTOFFS or not cutoff.isdecimal() or int(cutoff) < 1:
        raise BenchmarkError(f"unknown metric {metric!r}; allowed are HR@k and NDCG@k, k from 1.")
    if not len(ranks):
        return np.zeros(0)
    positions = int((ranks.above + ranks.tied).max()) + 1
    table = _gain_table(name, int(cutoff), positions)
    if ties == "optimistic":
        value = table[ranks.above]
    elif ties == "pessimistic":
        value = table[ranks.above + ranks.tied]
    else:
        cumulative = np.concatenate([[0.0], np.cumsum(table)])
        value = (cumulative[ranks.above + ranks.tied + 1] - cumulative[ranks.above]) / (
            ranks.tied + 1
        )
    return np.where(ranks.returned, value, 0.0)


def mean_metrics(ranks: Ranks, ties: TieRule = "expected") -> dict[str, float]:
    """Every metric of the protocol, averaged over the events."""
    return {
        name: float(gains(ranks, name, ties).mean()) if len(ranks) else 0.0 for name in METRIC_NAMES
    }
