"""Simultaneous tests: known laws for easy cases, and error rates where all systems are equal."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from benchmark.report.__main__ import main
from benchmark.report.simulate import BY_EVENT, CHOSEN_BEST, OURS, World, simulate
from benchmark.report.statistics.simultaneous import all_pairs, judged, largest_by_chance, means_of
from benchmark.report.statistics.studentised import LEVEL, Differences


def all_judged(values: list[np.ndarray], users: np.ndarray | None = None) -> Differences:
    users = np.arange(values[0].shape[1]) if users is None else users
    means, pairs = means_of(values, users), all_pairs(len(values))
    return judged(means, pairs, largest_by_chance(means, pairs, np.random.default_rng(0)))


def systems(*shape: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).random(shape))


# Against known laws


@pytest.mark.parametrize("seed", range(5))
def test_two_systems_give_students_paired_test(seed: int) -> None:
    first, second = systems(2, 1, 300, 1, seed=seed)
    found = all_judged([first, second])
    expected = stats.ttest_rel(first[0, :, 0], second[0, :, 0])
    interval = expected.confidence_interval(1.0 - LEVEL)
    assert found.value[0, 0] == pytest.approx((first - second).mean())
    assert found.p_value[0, 0] == pytest.approx(expected.pvalue, abs=0.02)
    assert found.low[0, 0] == pytest.approx(interval.low, abs=0.002)
    assert found.high[0, 0] == pytest.approx(interval.high, abs=0.002)


@pytest.mark.parametrize("number", [3, 8, 20])
def test_independent_systems_give_tukeys_law(number: int) -> None:
    means = means_of(systems(number, 1, 500, 1), np.arange(500))
    pairs = all_pairs(number)
    largest = largest_by_chance(means, pairs, np.random.default_rng(0))
    tukey = stats.studentized_range.ppf(0.95, number, np.inf) / np.sqrt(2.0)
    assert np.quantile(largest, 0.95) == pytest.approx(tukey, rel=0.02)


def test_few_users_give_the_permutation_test() -> None:
    """Every assignment of signs to eight users, one by one, without any approximation."""
    random = np.random.default_rng(0)
    users = np.repeat(np.arange(8), [1, 9, 2, 4, 4, 3, 1, 6])
    first, second = random.random((2, 30)) + np.array([[0.2], [0.0]])
    sizes = np.bincount(users)
    sums = np.bincount(users, first - second)

    def score(of_users: np.ndarray) -> float:
        mean = of_users.sum() / 30
        return abs(mean) / np.sqrt(((of_users - sizes * mean) ** 2).sum())

    signs = 1 - 2 * ((np.arange(256)[:, None] >> np.arange(8)) & 1)
    exact = np.mean([score(sums * row) >= score(sums) - 1e-12 for row in signs])
    found = all_judged([first[None, :, None], second[None, :, None]], users)
    assert found.p_value[0, 0] == pytest.approx(exact, abs=0.02)


def test_intervals_and_tests_say_the_same() -> None:
    values = [of + 0.01 * place for place, of in enumerate(systems(8, 2, 300, 3))]
    for found in (all_judged(values), all_judged([of[:1] for of in values])):
        outside = (found.low > 0.0) | (found.high < 0.0)
        assert np.array_equal(outside, found.significant)
        assert outside.any() and not outside.all()


# What may not matter, and what must


def test_the_order_of_systems_only_turns_the_signs() -> None:
    values = systems(4, 1, 200, 2)
    there, back = all_judged(values), all_judged(values[::-1])
    places = {tuple(pair): place for place, pair in enumerate(all_pairs(4).tolist())}
    turned = [places[3 - second, 3 - first] for first, second in places]
    assert there.value == pytest.approx(-back.value[turned])
    assert there.low == pytest.approx(-back.high[turned])
    assert there.p_value == pytest.approx(back.p_value[turned])


def test_what_all_systems_share_does_not_matter() -> None:
    values = systems(3, 1, 200, 1)
    hardness = 5.0 * np.random.default_rng(1).normal(size=(1, 200, 1))
    plain, shifted = all_judged(values), all_judged([of + hardness for of in values])
    assert shifted.high - shifted.low == pytest.approx(plain.high - plain.low)


def test_equal_systems_differ_by_nothing_and_constant_differences_are_certain() -> None:
    (values,) = systems(1, 1, 50, 1)
    found = all_judged([values, values, values + 0.5])
    assert found.p_value[0, 0] == 1.0 and found.low[0, 0] == found.high[0, 0] == 0.0
    assert found.p_value[1, 0] < 0.001
    assert found.low[1, 0] == pytest.approx(-0.5) == found.high[1, 0]


def test_copies_of_a_run_say_nothing_new() -> None:
    values = systems(3, 1, 100, 1)
    alone, copies = all_judged(values), all_judged([np.repeat(of, 3, axis=0) for of in values])
    assert copies.high - copies.low == pytest.approx(alone.high - alone.low, rel=0.02)


def test_runs_that_disagree_make_it_less_certain() -> None:
    first, second = systems(2, 1, 500, 1)
    steady = all_judged([np.repeat(first + 0.1, 3, axis=0), second])
    shaken = all_judged([first + 0.1 + np.array([-0.2, 0.0, 0.2])[:, None, None], second])
    assert steady.significant[0, 0] and not shaken.significant[0, 0]


# Error rates: would fail with an error of 0.15, and with the tests that were wrong before


def most_false(world: World, repetitions: int, name: str = OURS) -> float:
    return float(simulate(world, repetitions)[name].error.max())


# With 200 repetitions and an error of 0.05, more than 20 false ones have a chance below 0.001 in
# each metric; an error of 0.15 gives 30.
@pytest.mark.parametrize("number", [2, 5, 12, 20])
def test_no_one_of_equal_systems_is_called_worse(number: int) -> None:
    assert most_false(World(systems=number, gain=0.0), 200) <= 0.1


def test_choosing_the_best_and_testing_it_is_found_out() -> None:
    assert most_false(World(systems=12, gain=0.0), 100, CHOSEN_BEST) > 0.15


def test_users_with_several_events_are_no_news() -> None:
    """900 events of 90 users, some with forty and some with one."""
    found = simulate(World(systems=5, users=90, within_users=0.3, gain=0.0), 200)
    assert found[OURS].error.max() <= 0.1
    assert found[BY_EVENT].error.min() > 0.2


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("deviation", [0.03, 0.1])
def test_runs_that_go_their_own_way_make_no_system_better(seeds: int, deviation: float) -> None:
    world = World(systems=5, seeds=seeds, run_deviation=deviation, gain=0.0)
    assert most_false(world, 150) <= 0.12


def test_one_seed_alone_would_call_lucky_runs_better() -> None:
    """Why the table says so: the events of one run each know nothing of other runs."""
    assert most_false(World(systems=5, run_deviation=0.1, gain=0.0), 100) > 0.15


def test_a_better_system_is_found() -> None:
    power = simulate(World(systems=5, gain=0.1), 30)[OURS].power
    assert np.all(power > 0.5)


# The command


def test_the_command_prints_and_writes_the_figures(tmp_path, capsys) -> None:
    options = ["--systems", "2,3", "--events", "60", "--users", "30", "--repetitions", "4"]
    assert main(["simulate", *options, "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    for words in ("2 systems: error", "3 systems: power", OURS, CHOSEN_BEST, BY_EVENT):
        assert words in shown
    text = (tmp_path / "simulation.md").read_text()
    assert "60 events of 30 users" in text and "4 repetitions" in text
    assert main(["simulate", *options, "--out", str(tmp_path / "again")]) == 0
    assert (tmp_path / "again" / "simulation.csv").read_bytes() == (
        tmp_path / "simulation.csv"
    ).read_bytes()


@pytest.mark.parametrize("options, named", [
    (["--systems", "1"], "--systems"),
    (["--repetitions", "0"], "--repetitions"),
    (["--within-users", "1"], "--within-users"),
    (["--run-deviation", "-1"], "--run-deviation"),
    (["--users", "901"], "--users"),
    (["--second-users", "9"], "--second-events"),
    (["--second-events", "8", "--second-users", "9"], "--second-users"),
    (["--gain", "0.5"], "--gain"),
])  # fmt: skip
def test_options_that_make_no_sense_are_one_sentence(options, named: str, capsys) -> None:
    try:
        code = main(["simulate", *options])
    except SystemExit as stopped:
        code = stopped.code
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1 and named in error


def test_runs_that_are_alike_keep_the_error_rate() -> None:
    """Eight equal systems of three runs each, which deviate as a whole.

    A difference from the first is called significant in about one table of twenty.
    """
    random, tables, wrong, widths = np.random.default_rng(5), 150, 0, []
    pairs = np.array([(place, 0) for place in range(1, 8)])
    for _ in range(tables):
        hard = random.normal(size=(1, 120, 1))
        of_runs = 0.15 * random.normal(size=(8, 3, 1, 1))
        values = hard + of_runs + random.normal(size=(8, 3, 120, 1))
        means = means_of(list(values), np.arange(120), alike=True)
        largest = largest_by_chance(means, pairs, random, flips=299)
        found = judged(means, pairs, largest)
        wrong += bool(found.significant.any())
        widths.append(float((found.high - found.low).max()))
    assert wrong <= 16  # a rate of .05 gives more than that once in 1,000 tries
    assert np.isfinite(widths).all() and np.median(widths) < 1.3
    # The deviation of a difference of two means of three runs and 120 events is about .143.
    assert np.median(widths) > 2 * 2.4 * 0.143


def test_alike_runs_of_one_seed_change_nothing() -> None:
    values = systems(4, 1, 200, 2)
    plain, alike = (means_of(values, np.arange(200), alike) for alike in (False, True))
    pairs = all_pairs(4)
    one, other = (
        judged(means, pairs, largest_by_chance(means, pairs, np.random.default_rng(0)))
        for means in (plain, alike)
    )
    assert np.array_equal(one.low, other.low) and np.array_equal(one.p_value, other.p_value)
