"""HR and NDCG: tie rules against all orders of the tied candidates, and what they must obey."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.protocol.metrics import (
    METRIC_NAMES,
    TieRule,
    gains,
    mean_metrics,
    ranks_of_targets,
)

TIE_RULES: tuple[TieRule, ...] = ("expected", "pessimistic", "optimistic")

# Few different values, so that ties are the rule; -inf is a candidate that a beam pruned.
score_rows = st.integers(2, 8).flatmap(
    lambda width: st.lists(
        st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0]), min_size=width, max_size=width),
        min_size=1,
        max_size=5,
    )
)


def one_event(scores: list[float], target: int, metric: str, ties: TieRule) -> float:
    ranks = ranks_of_targets(np.array([scores], dtype=np.float32), np.array([target]))
    return float(gains(ranks, metric, ties)[0])


def gain_at(rank: int, metric: str) -> float:
    name, _, cutoff = metric.partition("@")
    if rank > int(cutoff):
        return 0.0
    if name == "MRR":
        return 1.0 / rank
    return 1.0 / float(np.log2(rank + 1)) if name == "NDCG" else 1.0


def by_permutations(scores: list[float], target: int, metric: str) -> list[float]:
    """The gain under each order of the candidates that is sorted by score."""
    found = []
    for order in permutations(range(len(scores))):
        ordered = [scores[column] for column in order]
        if ordered == sorted(scores, reverse=True):
            found.append(gain_at(order.index(target) + 1, metric))
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.data())
def test_tie_rules_equal_all_orders_of_the_tied(values: list[int], data: st.DataObject) -> None:
    target = data.draw(st.integers(0, len(values) - 1))
    scores = [float(value) for value in values]
    for metric in ("HR@1", "HR@3", "NDCG@2", "NDCG@5"):
        orders = by_permutations(scores, target, metric)
        assert one_event(scores, target, metric, "expected") == pytest.approx(np.mean(orders))
        assert one_event(scores, target, metric, "pessimistic") == pytest.approx(min(orders))
        assert one_event(scores, target, metric, "optimistic") == pytest.approx(max(orders))


@pytest.mark.parametrize("ties", TIE_RULES)
def test_a_pruned_target_scores_nothing(ties: TieRule) -> None:
    # Seventy candidates share -inf with the target; the tie rule may not spread it over them.
    scores = np.full((1, 100), -np.inf)
    scores[0, :29] = np.arange(29)
    assert set(mean_metrics(ranks_of_targets(scores, np.array([50])), ties).values()) == {0.0}
    everything = np.full((1, 5), -np.inf)
    assert set(mean_metrics(ranks_of_targets(everything, np.array([0])), ties).values()) == {0.0}


def test_pruned_candidates_stand_below_the_target() -> None:
    scores = np.array([[-np.inf, -5.0, -np.inf]])
    assert mean_metrics(ranks_of_targets(scores, np.array([1])), "pessimistic")["HR@1"] == 1.0


def test_figures_by_hand() -> None:
    # Rank 3 of 12; tied with one on ranks 5 and 6; last of 12.
    scores = np.zeros((3, 12), dtype=np.float32)
    scores[0] = np.arange(12, 0, -1)
    scores[1] = [10, 9, 8, 7, 6, 6, 5, 4, 3, 2, 1, 0]
    scores[2] = np.arange(12, 0, -1)
    ranks = ranks_of_targets(scores, np.array([2, 5, 11]))
    assert ranks.above.tolist() == [2, 4, 11]
    assert ranks.tied.tolist() == [0, 1, 0]
    found = mean_metrics(ranks)
    assert list(found) == list(METRIC_NAMES) == ["HR@1", "HR@5", "HR@10", "NDCG@5", "NDCG@10"]
    assert found["HR@1"] == 0
    assert found["HR@5"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert found["HR@10"] == pytest.approx((1 + 1 + 0) / 3)
    assert found["NDCG@5"] == pytest.approx((1 / np.log2(4) + 0.5 / np.log2(6)) / 3)
    both = (1 / np.log2(6) + 1 / np.log2(7)) / 2
    assert found["NDCG@10"] == pytest.approx((1 / np.log2(4) + both) / 3)


def test_constant_scores_are_at_chance() -> None:
    ranks = ranks_of_targets(np.ones((7, 100)), np.arange(7))
    assert mean_metrics(ranks)["HR@10"] == pytest.approx(0.1)
    assert mean_metrics(ranks, "pessimistic")["HR@10"] == 0


def test_scores_without_ties_agree_with_a_sort() -> None:
    random = np.random.default_rng(0)
    scores = random.permuted(np.tile(np.arange(100.0), (500, 1)), axis=1)
    target = random.integers(100, size=500)
    order = np.argsort(-scores, axis=1)
    rank = np.argmax(order == target[:, None], axis=1) + 1
    ranks = ranks_of_targets(scores, target)
    for metric in METRIC_NAMES:
        expected = [gain_at(int(one), metric) for one in rank]
        for ties in TIE_RULES:
            assert gains(ranks, metric, ties) == pytest.approx(expected)


@settings(max_examples=80, deadline=None)
@given(score_rows, st.data())
def test_laws(rows: list[list[float]], data: st.DataObject) -> None:
    scores = np.array(rows, dtype=np.float32)
    width = scores.shape[1]
    target = np.array(
        data.draw(st.lists(st.integers(0, width - 1), min_size=len(rows), max_size=len(rows)))
    )
    ranks = ranks_of_targets(scores, target)
    for ties in TIE_RULES:
        # Monotone in k, NDCG never above HR, and equal to it at 1.
        for name in ("HR", "NDCG"):
            values = [gains(ranks, f"{name}@{k}", ties) for k in range(1, width + 2)]
            assert all((a <= b + 1e-12).all() for a, b in pairwise(values))
        assert gains(ranks, "HR@1", ties) == pytest.approx(gains(ranks, "NDCG@1", ties))
        assert (gains(ranks, "NDCG@4", ties) <= gains(ranks, "HR@4", ties) + 1e-12).all()
    low, middle, high = (
        gains(ranks, "NDCG@5", ties) for ties in ("pessimistic", "expected", "optimistic")
    )
    assert (low <= middle + 1e-12).all()
    assert (middle <= high + 1e-12).all()


@settings(max_examples=60, deadline=None)
@given(score_rows, st.data())
def test_invariance_under_permutation_and_monotone_transforms(
    rows: list[list[float]], data: st.DataObject
) -> None:
    scores = np.array(rows, dtype=np.float64)
    events, width = scores.shape
    target = np.array(
        data.draw(st.lists(st.integers(0, width - 1), min_size=events, max_size=events))
    )
    order = np.array(data.draw(st.permutations(range(width))))
    expected = counts(scores, target)
    assert counts(scores[:, order], np.argsort(order)[target]) == expected
    for transformed in (scores * 3 + 1, np.arctan(scores) + np.where(scores > -9, 0, -np.inf)):
        assert counts(transformed, target) == expected
    events_order = np.array(data.draw(st.permutations(range(events))))
    assert counts(scores[events_order], target[events_order]) == [
        expected[event] for event in events_order
    ]


def counts(scores: NDArray[np.float64], target: NDArray[np.int64]) -> list[tuple[int, int, bool]]:
    ranks = ranks_of_targets(scores, target)
    return list(
        zip(ranks.above.tolist(), ranks.tied.tolist(), ranks.returned.tolist(), strict=True)
    )


def test_no_events_give_zeros() -> None:
    ranks = ranks_of_targets(np.zeros((0, 100), np.float32), np.zeros(0, np.int32))
    assert set(mean_metrics(ranks).values()) == {0.0}


@pytest.mark.parametrize("metric", ["MAP@5", "HR", "HR@0", "HR@x", "NDCG@-1", "hr@5", ""])
def test_unknown_metrics_are_refused(metric: str) -> None:
    with pytest.raises(BenchmarkError, match="unknown metric"):
        gains(ranks_of_targets(np.zeros((1, 2)), np.array([0])), metric)
