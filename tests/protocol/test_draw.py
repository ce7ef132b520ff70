"""The draw of negatives: exact expectation and deviation against real draws and known answers."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.errors import BenchmarkError
from benchmark.protocol.draw import gains_over_draws, metrics_over_draws
from benchmark.protocol.exclusions import Exclusions
from benchmark.protocol.metrics import METRIC_NAMES, Ranks, gains
from benchmark.protocol.negatives import sample_negatives

RULES = ("expected", "pessimistic", "optimistic")


def test_one_negative_by_hand() -> None:
    """Of 10 eligible items 3 are above: the target is first in 7 of 10 lists of two."""
    mean, variance = gains_over_draws(np.array([3]), np.array([0]), np.array([10]), 1, "HR@1")
    assert mean[0] == pytest.approx(0.7) and variance[0] == pytest.approx(0.21)
    # With 4 more tied: 3 in 10 lists lost, 4 shared between two orders, 3 won.
    mean, variance = gains_over_draws(np.array([3]), np.array([4]), np.array([10]), 1, "HR@1")
    assert mean[0] == pytest.approx(0.5)
    assert variance[0] == pytest.approx(0.3 + 0.4 * 0.25 - 0.25)
    last, _ = gains_over_draws(
        np.array([3]), np.array([4]), np.array([10]), 1, "HR@1", "pessimistic"
    )
    assert last[0] == pytest.approx(0.3)


@pytest.mark.parametrize("rule", RULES)
def test_lists_of_everything_leave_nothing_to_chance(rule: str) -> None:
    above, tied = np.array([0, 2, 4, 7]), np.array([3, 0, 5, 2])
    ranks = Ranks(above.astype(np.int32), tied.astype(np.int32), np.ones(4, dtype=bool))
    for metric in METRIC_NAMES:
        mean, variance = gains_over_draws(above, tied, np.full(4, 20), 20, metric, rule)
        assert mean == pytest.approx(gains(ranks, metric, rule), abs=1e-9)
        assert variance == pytest.approx(np.zeros(4), abs=1e-9)


def test_where_fewer_are_eligible_all_of_them_are_drawn() -> None:
    above, tied, eligible = np.array([2, 0, 6]), np.array([1, 0, 0]), np.array([4, 3, 50])
    mean, variance = gains_over_draws(above, tied, eligible, 20, "HR@3")
    assert mean[:2] == pytest.approx([0.5, 1.0]) and variance[:2] == pytest.approx([0.0, 0.0])
    alone, _ = gains_over_draws(above[2:], tied[2:], eligible[2:], 20, "HR@3")
    assert mean[2] == pytest.approx(alone[0]) and 0 < mean[2] < 1


@pytest.mark.parametrize("rule", RULES)
def test_it_agrees_with_lists_that_were_drawn(rule: str) -> None:
    """5,000 draws of the protocol's own sampler for each of four events."""
    above, tied = np.array([0, 4, 12, 30]), np.array([6, 0, 20, 1])
    items, negatives, draws = 120, 20, 5000
    # Items 1 ... above score 2, the next ones are tied with the target (the last item), the rest 0.
    values = {metric: np.empty((4, draws)) for metric in METRIC_NAMES}
    for event in range(4):
        drawn, _ = sample_negatives(
            np.random.default_rng(event),
            np.arange(draws),
            np.full(draws, items),
            Exclusions.of_pairs(np.zeros(0, int), np.zeros(0, int), items),
            negatives,
        )
        over = np.count_nonzero(drawn <= above[event], axis=1)
        same = np.count_nonzero(drawn <= above[event] + tied[event], axis=1) - over
        ranks = Ranks(over.astype(np.int32), same.astype(np.int32), np.ones(draws, dtype=bool))
        for metric in METRIC_NAMES:
            values[metric][event] = gains(ranks, metric, rule)
    eligible = np.full(4, items - 1)
    for metric, found in values.items():
        mean, variance = gains_over_draws(above, tied, eligible, negatives, metric, rule)
        error = 5 * np.sqrt(variance / draws) + 1e-9
        assert np.all(np.abs(found.mean(axis=1) - mean) < error)
        # Gains are within 0 and 1, so a fourth moment is no larger than the variance.
        assert np.all(np.abs(found.var(axis=1) - variance) < error)
    together = metrics_over_draws(above, tied, eligible, negatives, rule)
    for metric, (expectation, deviation) in together.items():
        means = values[metric].mean(axis=0)  # each draw of all four lists gives one figure
        assert means.mean() == pytest.approx(expectation, abs=5 * deviation / np.sqrt(draws))
        assert means.std() == pytest.approx(deviation, rel=0.2)


def test_counts_that_contradict_each_other_are_refused() -> None:
    one = np.array([1])
    with pytest.raises(BenchmarkError, match="must be eligible"):
        gains_over_draws(one, one, one, 1, "HR@1")
    with pytest.raises(BenchmarkError, match="-5 negatives cannot be drawn"):
        gains_over_draws(one, one, np.array([4]), -5, "HR@1")
    with pytest.raises(BenchmarkError, match="unknown metric"):
        gains_over_draws(one, one, np.array([4]), 2, "MAP@1")
    with pytest.raises(BenchmarkError, match="no events"):
        metrics_over_draws(one[:0], one[:0], one[:0], 2)
