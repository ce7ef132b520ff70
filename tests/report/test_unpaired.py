"""Two samples of users: known laws, every exchange one by one, and error rates without a change."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from benchmark.report.__main__ import main
from benchmark.report.simulate import World
from benchmark.report.simulate_unpaired import simulate_unpaired
from benchmark.report.statistics.simultaneous import Means, means_of
from benchmark.report.statistics.studentised import Differences
from benchmark.report.statistics.unpaired import Unpaired


def judged(first: Means, second: Means, flips: int = 4999) -> Differences:
    samples = Unpaired(first, second)
    return samples.judged(samples.largest_by_chance(np.random.default_rng(0), flips))


def one_each(*systems: np.ndarray) -> Means:
    """Means of systems (seeds, events, metrics) whose events have users of their own."""
    return means_of(systems, np.arange(systems[0].shape[1]))


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape)


def test_large_samples_give_welchs_test() -> None:
    first, second = drawn(1, 200, 1), 0.5 + 2.0 * (drawn(1, 600, 1, seed=1) - 0.44)
    found = judged(one_each(first), one_each(second))
    expected = stats.ttest_ind(second[0, :, 0], first[0, :, 0], equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert 0.01 < expected.pvalue < 0.5
    assert found.value[0, 0] == pytest.approx(second.mean() - first.mean())
    assert found.p_value[0, 0] == pytest.approx(expected.pvalue, abs=0.02)
    assert found.low[0, 0] == pytest.approx(interval.low, abs=0.004)
    assert found.high[0, 0] == pytest.approx(interval.high, abs=0.004)


def score(sums: np.ndarray, sizes: np.ndarray, chosen: list[int]) -> float:
    """The studentised difference of the means of some users and of the others, written out."""
    others = [user for user in range(len(sizes)) if user not in chosen]
    difference, variance = 0.0, 0.0
    for sign, users in ((1.0, chosen), (-1.0, others)):
        events = sizes[users].sum()
        mean = sums[users].sum() / events
        difference += sign * mean
        about = ((sums[users] - sizes[users] * mean) ** 2).sum() / events**2
        variance += about * len(users) / (len(users) - 1)
    return float(abs(difference) / np.sqrt(variance))


def test_few_users_give_the_permutation_test() -> None:
    """Every choice of five of eleven users, with unequal numbers of events."""
    users = np.repeat(np.arange(11), [1, 5, 2, 4, 4, 3, 1, 6, 2, 2, 3])
    values = drawn(1, len(users), 1) + 0.3 * (users < 5)[:, None]
    sums, sizes = np.bincount(users, values[0, :, 0]), np.bincount(users).astype(float)
    of_first = users < 5
    sides = [means_of([values[:, side]], users[side]) for side in (of_first, ~of_first)]
    observed = score(sums, sizes, list(range(5)))
    all_scores = [score(sums, sizes, list(chosen)) for chosen in combinations(range(11), 5)]
    exact = np.mean(np.array(all_scores) >= observed - 1e-9)
    assert 0.005 < exact < 0.5
    assert judged(*sides, flips=9999).p_value[0, 0] == pytest.approx(exact, abs=0.02)


def test_the_order_of_users_hardly_changes_an_interval() -> None:
    first, second = drawn(1, 40, 2), drawn(1, 30, 2, seed=1)
    found = judged(one_each(first), one_each(second))
    turned = judged(one_each(first[:, ::-1]), one_each(second[:, ::-1]))
    assert turned.high - turned.low == pytest.approx(found.high - found.low, rel=0.05)


def test_events_of_one_user_count_as_one() -> None:
    """Each event ten times, by the same user or by ten: only the latter tell more."""
    first, second = drawn(1, 50, 1), drawn(1, 50, 1, seed=1)
    users = np.repeat(np.arange(50), 10)
    tenfold = [np.repeat(values, 10, axis=1) for values in (first, second)]
    alone = judged(one_each(first), one_each(second))
    same = judged(*(means_of([values], users) for values in tenfold))
    others = judged(*(one_each(values) for values in tenfold))
    assert same.high - same.low == pytest.approx(alone.high - alone.low, rel=1e-6)
    assert (others.high - others.low)[0, 0] < 0.5 * (alone.high - alone.low)[0, 0]


def test_without_variance_equal_means_are_equal_and_others_differ() -> None:
    ones = np.ones((1, 20, 1))
    equal = judged(one_each(ones), one_each(ones))
    assert equal.p_value[0, 0] == 1.0 and equal.low[0, 0] == equal.high[0, 0] == 0.0
    other = judged(one_each(ones), one_each(0.25 * ones))
    assert other.p_value[0, 0] < 0.001
    assert other.low[0, 0] == pytest.approx(-0.75) == other.high[0, 0]


@pytest.mark.parametrize("seeds", [1, 3])
def test_one_user_says_nothing_of_others(seeds: int) -> None:
    first = means_of([drawn(seeds, 30, 1)], np.zeros(30, dtype=np.int64))
    found = judged(first, one_each(5.0 + drawn(seeds, 30, 1)))
    assert found.p_value[0, 0] == 1.0
    assert (found.low[0, 0], found.high[0, 0]) == (-np.inf, np.inf)


def test_runs_that_disagree_make_it_less_certain() -> None:
    first, second = drawn(1, 500, 1), 0.1 + drawn(1, 500, 1, seed=1)
    steady = judged(one_each(first), one_each(np.repeat(second, 3, axis=0)))
    shaken = judged(one_each(first), one_each(second + np.array([-0.2, 0, 0.2])[:, None, None]))
    assert steady.significant[0, 0] and not shaken.significant[0, 0]


# Skewed metrics and few users, which a law of large samples does not fit. With 500
# repetitions and an error of .05, 43 false ones have a chance of about .0005; an error of .12 gives
# 60.


def gains(random: np.random.Generator, users: np.ndarray) -> Means:
    """Five equal systems with five shares of hits; the events of a user are alike."""
    hard = np.sqrt(0.5) * random.standard_normal(len(users))
    hard += np.sqrt(0.5) * random.standard_normal(users.max() + 1)[users]
    noise = random.standard_normal((5, 1, len(users)))
    score = np.sqrt(0.5) * (hard + noise)
    return means_of(list(score[..., None] > stats.norm.isf([0.12, 0.25, 0.3, 0.35, 0.5])), users)


@pytest.mark.parametrize(
    "events, users",
    [((120, 48), (0, 0)), ((60, 40), (0, 0)), ((300, 900), (50, 150)), ((120, 48), (20, 48))],
)
def test_few_users_and_skewed_metrics_err_no_more_than_promised(
    events: tuple[int, int], users: tuple[int, int]
) -> None:
    false = 0
    for repetition in range(500):
        random = np.random.default_rng(repetition)
        parts = []
        for _ in range(2):
            sides = [
                gains(
                    random,
                    np.sort(random.integers(0, of, all_events)) if of else np.arange(all_events),
                )
                for all_events, of in zip(events, users, strict=True)
            ]
            samples = Unpaired(*sides)
            parts.append((samples, samples.largest_by_chance(random, 199)))
        largest = np.max([found.max(axis=1) for _, found in parts], axis=0)[:, None]
        false += any(samples.judged(largest).significant.any() for samples, _ in parts)
    assert false <= 42


def test_the_law_of_large_samples_is_not_that_of_small_ones() -> None:
    """What the test above guards against: a law of the largest that few, skewed users lack."""
    random = np.random.default_rng(0)
    large = Unpaired(gains(random, np.arange(3000)), gains(random, np.arange(3000)))
    largest = large.largest_by_chance(random, 999).max(axis=1, keepdims=True)
    false = 0
    for _ in range(500):
        samples = Unpaired(gains(random, np.arange(60)), gains(random, np.arange(24)))
        false += samples.judged(largest).significant.any()
    assert false > 42


def test_what_has_changed_is_found() -> None:
    first, second = World(systems=2, events=300, gain=0.2), World(systems=2, events=200, gain=0.2)
    error, power = simulate_unpaired(first, second, 40)
    assert error <= 0.2 and power > 0.6


def test_the_command_prints_and_writes_the_figures(tmp_path, capsys) -> None:
    options = ["--systems", "2,3", "--events", "60", "--users", "30", "--repetitions", "4"]
    options += ["--second-events", "40", "--second-users", "20"]
    assert main(["simulate", *options, "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    for words in ("2 systems", "3 systems", "Error", "Power"):
        assert words in shown
    text = (tmp_path / "simulation-unpaired.md").read_text()
    assert "60 events of 30 users" in text and "40 events of 20 users" in text
