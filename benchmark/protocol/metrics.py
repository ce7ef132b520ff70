"""HR@k, NDCG@k, Recall@k and MRR@k with one true item an event, tie-aware, without sorting.

A rank follows from two counts: how many candidates score above the target and how many score the
same. The rules for ties are *expected* (the mean over all orders of the tied candidates),
*pessimistic* (the target comes last among them) and *optimistic* (first). A target that a beam did
not return scores 0 under every rule, unless it is placed last (:meth:`Ranks.placed`).

``HR@k = [rank <= k]``, ``NDCG@k = [rank <= k] / log2(rank + 1)`` (one relevant item, so the ideal
gain is 1), ``MRR@k = [rank <= k] / rank``. With one relevant item Recall@k is HR@k. Where ranks
hold several relevant items with gains, metrics are those of :mod:`benchmark.protocol.graded`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.protocol.graded import JudgedRanks, graded_gains

TieRule = Literal["expected", "pessimistic", "optimistic"]
View = Literal["lists", "all-items"]
"""What a target is ranked among: its candidate list, or all items that the protocol admits."""

VIEWS: tuple[View, ...] = ("lists", "all-items")
CUTOFFS: dict[View, tuple[int, ...]] = {"lists": (1, 5, 10), "all-items": (5, 10, 20, 50, 100)}
"""The cut-offs of each view, unless a protocol's settings give others."""

_GAINS: dict[str, Callable[[NDArray[np.int64]], NDArray[np.float64]]] = {
    "HR": lambda rank: np.ones(len(rank)),
    "NDCG": lambda rank: 1.0 / np.log2(rank + 1.0),
    "MRR": lambda rank: 1.0 / rank,
    "Recall": lambda rank: np.ones(len(rank)),
}


def shown_metrics(cutoffs: Sequence[int]) -> tuple[str, ...]:
    """The metrics of a table: HR at every cut-off, NDCG where it is not the same."""
    return (*(f"HR@{k}" for k in cutoffs), *(f"NDCG@{k}" for k in cutoffs if k > 1))


def every_metric(cutoffs: Sequence[int]) -> tuple[str, ...]:
    """All metrics at all cut-offs."""
    return tuple(f"{name}@{k}" for name in _GAINS for k in cutoffs)


METRIC_NAMES: tuple[str, ...] = shown_metrics(CUTOFFS["lists"])
"""The metrics of validation, and of a table of lists with the default cut-offs."""


@dataclass(frozen=True)
class Ranks:
    """What the scores say of each event's target; every array has shape (events,).

    ``above`` counts the candidates with a higher score, ``tied`` those other candidates with the
    same score, ``returned`` is false where the target's own score is -inf. ``judged`` are the ranks
    of all items with a gain, the target among them, where relevance is graded.
    """

    above: NDArray[np.int32]
    tied: NDArray[np.int32]
    returned: NDArray[np.bool_]
    judged: JudgedRanks | None = None

    def __len__(self) -> int:
        return len(self.above)

    def placed(self, view: View) -> Ranks:
        """The ranks as metrics of a view take them.

        What a beam did not return of a list scores 0. Among all items it stands after all that was
        returned, tied, so that it has a rank.
        """
        if view == "lists":
            return self
        judged = self.judged and self.judged.all_returned()
        return replace(self, returned=np.ones(len(self), dtype=bool), judged=judged)

    @classmethod
    def together(cls, parts: Sequence[Ranks]) -> Ranks:
        """The ranks of several sets of events, one after another."""
        columns = ((part.above, part.tied, part.returned) for part in parts)
        above, tied, returned = map(np.concatenate, zip(*columns, strict=True))
        whole = cls(above, tied, returned)
        graded = [part.judged for part in parts if part.judged is not None]
        if not graded:
            return whole
        return replace(whole, judged=JudgedRanks.together(graded, [len(part) for part in parts]))


def ranks_of_targets(
    scores: NDArray[np.floating],
    target_column: NDArray[np.integer],
    is_absent: NDArray[np.bool_] | None = None,
) -> Ranks:
    """Count, for each event, the candidates above the target and tied with it.

    Args:
        scores: (events, candidates), higher is better, no NaN.
        target_column: (events,), the column of the true item.
        is_absent: (events, candidates), columns that hold no candidate; none if not given.
    """
    target = np.take_along_axis(scores, target_column[:, None].astype(np.int64), axis=1)
    is_above, is_equal = scores > target, scores == target
    if is_absent is not None:
        is_above &= ~is_absent
        is_equal &= ~is_absent
    above = np.count_nonzero(is_above, axis=1)
    tied = np.count_nonzero(is_equal, axis=1) - 1
    return Ranks(
        above=above.astype(np.int32),
        tied=tied.astype(np.int32),
        returned=target[:, 0] != -np.inf,
    )


def _gain_table(name: str, cutoff: int, positions: int) -> NDArray[np.float64]:
    """The gain of the true item at each 1-based position, shape (positions,)."""
    position = np.arange(1, positions + 1)
    return np.where(position <= cutoff, _GAINS[name](position), 0.0)


def gains(ranks: Ranks, metric: str, ties: TieRule = "expected") -> NDArray[np.float64]:
    """The metric of each event, shape (events,). ``metric`` is written like ``"NDCG@5"``.

    Raises:
        BenchmarkError: it is none of HR, NDCG, MRR and Recall at a positive cutoff.
    """
    name, _, cutoff = metric.partition("@")
    if name not in _GAINS or not cutoff.isdecimal() or int(cutoff) < 1:
        *others, last = (f"{known}@k" for known in _GAINS)
        allowed = f"{', '.join(others)} and {last}"
        raise BenchmarkError(f"unknown metric {metric!r}; allowed are {allowed}, k from 1.")
    if not len(ranks):
        return np.zeros(0)
    if ranks.judged is not None:
        table = _gain_table(name, int(cutoff), ranks.judged.places)
        return graded_gains(ranks.judged, len(ranks), name, table, int(cutoff), ties)
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


def mean_metrics(
    ranks: Ranks, ties: TieRule = "expected", names: Sequence[str] = METRIC_NAMES
) -> dict[str, float]:
    """The metrics ``names``, averaged over the events; 0 where there are none."""
    return {name: float(gains(ranks, name, ties).mean()) if len(ranks) else 0.0 for name in names}
