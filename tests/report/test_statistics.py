"""Intervals and tests: known answers, the right direction, and outside libraries."""

from __future__ import annotations

import ir_measures
import numpy as np
import pytest
from scipy import stats

from benchmark.protocol.metrics import METRIC_NAMES, Ranks, gains, mean_metrics
from benchmark.report.collect import REFERENCE_FAMILY
from benchmark.report.events import gains_of, read_events, read_top, top_of, write_top
from benchmark.report.statistics import (
    LEVEL,
    against_best,
    bootstrap_means,
    collect_events,
    compare,
    holm,
    p_value_of_better,
    statistics_of,
)
from benchmark.report.tables import main_table
from tests.report.conftest import drawn_ranks


def random_ranks(seed: int, events: int = 60, candidates: int = 20) -> Ranks:
    random = np.random.default_rng(seed)
    above = random.integers(0, candidates, events)
    tied = random.integers(0, candidates - above) * (random.random(events) < 0.5)
    return Ranks(above.astype(np.int32), tied.astype(np.int32), random.random(events) < 0.9)


# Against an outside library


def outside_values(ranks: Ranks, place_among_tied: np.ndarray) -> np.ndarray:
    """(events, metrics) as ir_measures has them, the target at a given place among its equals."""
    measures = [
        ir_measures.parse_measure(name.replace("HR", "Success").replace("NDCG", "nDCG"))
        for name in METRIC_NAMES
    ]
    run, qrels = [], []
    for event in range(len(ranks)):
        qrels.append(ir_measures.Qrel(str(event), "target", 1))
        above = int(ranks.above[event] + place_among_tied[event])
        below = int(ranks.tied[event] - place_among_tied[event])
        names = [f"above-{i}" for i in range(above)]
        names += ["target"] if ranks.returned[event] else []
        names += [f"below-{i}" for i in range(below)] or ["last"]
        run += [ir_measures.ScoredDoc(str(event), n, -float(i)) for i, n in enumerate(names)]
    values = np.zeros((len(ranks), len(measures)))
    for found in ir_measures.iter_calc(measures, qrels, run):
        values[int(found.query_id), measures.index(found.measure)] = found.value
    return values


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rule", ["optimistic", "pessimistic", "expected"])
def test_metrics_of_events_agree_with_ir_measures(seed: int, rule: str) -> None:
    """Every order of the tied is handed over; the expected rule is the mean over all of them."""
    ranks = random_ranks(seed)
    if rule == "optimistic":
        theirs = outside_values(ranks, np.zeros(len(ranks), dtype=int))
    elif rule == "pessimistic":
        theirs = outside_values(ranks, ranks.tied)
    else:
        total = np.zeros((len(ranks), len(METRIC_NAMES)))
        for place in range(int(ranks.tied.max()) + 1):
            values = outside_values(ranks, np.minimum(place, ranks.tied))
            total += np.where((place <= ranks.tied)[:, None], values, 0.0)
        theirs = total / (ranks.tied + 1)[:, None]
    ours = gains_of(ranks, rule)
    assert np.abs(ours - theirs).max() < 1e-6  # they return single precision
    assert list(mean_metrics(ranks, rule).values()) == pytest.approx(theirs.mean(axis=0), abs=1e-6)


# Tests against the best system


def test_the_direction_is_that_the_best_is_better() -> None:
    """Obvious: one system finds every target, the other none. Its p-value must be the small one."""
    everything, nothing = np.ones((1, 50)), np.zeros((1, 50))
    nothing[0, 0] = 1.0  # so that the differences have a variance
    assert p_value_of_better(everything, nothing) < 1e-6
    assert p_value_of_better(nothing, everything) > 1 - 1e-6
    test = against_best({"nothing": nothing, "everything": everything})
    assert test.best == "everything"
    assert test.p_values["nothing"] < 1e-6 and test.best_is_clear


@pytest.mark.parametrize("seed", range(5))
def test_with_one_seed_it_is_scipys_paired_test(seed: int) -> None:
    random = np.random.default_rng(seed)
    first = random.random((1, 40))
    second = random.random((1, 40))
    expected = stats.ttest_rel(first[0], second[0], alternative="greater").pvalue
    assert p_value_of_better(first, second) == pytest.approx(expected, rel=1e-9)


def test_the_test_is_paired() -> None:
    """A small gain in every event is certain although the events differ far more among them."""
    random = np.random.default_rng(0)
    events = random.normal(size=(1, 200))
    better = events + 0.01 + 0.001 * random.normal(size=events.shape)
    assert p_value_of_better(better, events) < 1e-6
    assert stats.ttest_ind(better[0], events[0], alternative="greater").pvalue > 0.4


def test_equal_systems_are_no_better_than_each_other() -> None:
    values = np.random.default_rng(0).random((1, 30))
    assert p_value_of_better(values, values) == 1.0
    assert p_value_of_better(values + 0.5, values) == pytest.approx(0.0, abs=1e-12)


def test_more_seeds_do_not_make_more_events() -> None:
    """Three copies of the same run say nothing new; a test over seeds x events would shrink p."""
    random = np.random.default_rng(3)
    first, second = random.random((1, 60)) + 0.08, random.random((1, 60))
    alone = p_value_of_better(first, second)
    copies = p_value_of_better(np.repeat(first, 3, axis=0), np.repeat(second, 3, axis=0))
    assert copies == pytest.approx(alone, rel=1e-9)


def test_seeds_that_disagree_make_it_less_certain() -> None:
    random = np.random.default_rng(4)
    first, second = random.random((1, 500)) + 0.1, random.random((1, 500))
    steady = p_value_of_better(np.repeat(first, 3, axis=0), second)
    shaken = p_value_of_better(first + np.array([[-0.2], [0.0], [0.2]]), second)
    assert steady < LEVEL < shaken


def test_holm_by_hand() -> None:
    # Sorted 0.001, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.004, 0.06, 0.06 (0.06 > 0.06), 0.06.
    assert holm([0.02, 0.001, 0.04, 0.03]) == pytest.approx([0.06, 0.004, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


# Intervals


def test_the_interval_of_a_share_is_the_binomial_one() -> None:
    hits = np.zeros((1, 400, 1))
    hits[0, :100] = 1.0
    means = bootstrap_means({"system": hits})["system"]
    low, high = np.quantile(means, (0.025, 0.975))
    # Normal approximation: 0.25 ± 1.96 * sqrt(0.25 * 0.75 / 400) = 0.2076, 0.2924.
    assert low == pytest.approx(0.2076, abs=0.006) and high == pytest.approx(0.2924, abs=0.006)


def test_all_systems_meet_the_same_resampled_events() -> None:
    values = np.random.default_rng(0).random((1, 50, 2))
    means = bootstrap_means({"one": values, "two": values + 0.25})
    assert np.allclose(means["two"] - means["one"], 0.25)


def test_copies_of_a_seed_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(0).random((1, 100, 1))
    alone = bootstrap_means({"system": values})["system"]
    copies = bootstrap_means({"system": np.repeat(values, 4, axis=0)})["system"]
    assert copies.std() == pytest.approx(alone.std(), rel=1e-9)


def test_seeds_that_disagree_widen_the_interval() -> None:
    values = np.random.default_rng(0).random((1, 400, 1))
    shaken = values + np.array([-0.2, 0.0, 0.2])[:, None, None]
    alone = bootstrap_means({"system": values})["system"].std()
    assert bootstrap_means({"system": shaken})["system"].std() > 3 * alone


def test_a_systems_interval_does_not_depend_on_the_other_systems() -> None:
    values = np.random.default_rng(0).random((3, 50, 2))
    alone = bootstrap_means({"system": values}, "search")["system"]
    beside = bootstrap_means({"a": values * 2, "system": values}, "search")["system"]
    assert np.allclose(alone, beside)


# From run folders to marks


def test_marks_of_significance_in_the_main_table(make_run) -> None:
    runs = [
        make_run("good", search=drawn_ranks(0.5)),
        make_run("as-good", search=drawn_ranks(0.5001, seed=9)),
        make_run("poor", search=drawn_ranks(0.1)),
        make_run("trivial", search=drawn_ranks(0.9), family=REFERENCE_FAMILY),
    ]
    table = main_table(
        "search", runs, statistics=statistics_of(runs, collect_events(runs))["search"]
    )
    of = {row.system: {cell.verdict for cell in row.cells} for row in table.rows}
    assert of["good"] | of["as-good"] == {"", "level"}
    assert of["poor"] == of["trivial"] == {""}
    assert "one-sided paired t-test per event" in table.caption and "Holm" in table.caption


def test_a_clear_winner_has_its_mark(make_run) -> None:
    runs = [make_run("good", search=drawn_ranks(0.6)), make_run("poor", search=drawn_ranks(0.1))]
    table = main_table(
        "search", runs, statistics=statistics_of(runs, collect_events(runs))["search"]
    )
    of = {row.system: [cell.verdict for cell in row.cells] for row in table.rows}
    assert set(of["good"]) == {"clear"} and set(of["poor"]) == {""}


def test_every_interval_holds_its_mean(suite) -> None:
    for task, of_task in statistics_of(suite, collect_events(suite)).items():
        for row in main_table(task, suite, statistics=of_task).rows:
            for cell in row.cells:
                if cell.mean is not None:
                    assert cell.interval[0] <= cell.mean <= cell.interval[1]
                    assert cell.interval[1] - cell.interval[0] < 0.2


def test_rows_with_other_settings_are_not_tested(make_run) -> None:
    runs = [make_run(n, search=drawn_ranks(0.3)) for n in ("alpha", "alpha@row", "beta")]
    of_task = statistics_of(runs, collect_events(runs))["search"]
    assert "alpha@row" in of_task.intervals
    for test in of_task.tests.values():
        assert {test.best, *test.p_values} == {"alpha", "beta"}


def test_ranks_that_contradict_the_metrics_take_no_part(make_run) -> None:
    run = make_run("alpha", search=drawn_ranks(0.3))
    other = make_run("beta", search=drawn_ranks(0.5))
    false = run.model_copy(update={"metrics": other.metrics})
    events = collect_events([false, other])
    assert "do not give the metrics" in events.sentences[0]
    assert set(events.by_task["search"]) == {"beta"}


def test_another_number_of_events_takes_no_part(make_run) -> None:
    runs = [make_run(n, search=drawn_ranks(0.3)) for n in ("alpha", "beta")]
    events = {run.record.system.name: [read_events(run)["search"]] for run in runs}
    events["short"] = [read_events(make_run("short", search=drawn_ranks(0.3, 50)))["search"]]
    of_task = compare("search", events, list(events))
    assert set(of_task.intervals) == {"alpha", "beta"}
    assert of_task.sentences == ("short: its number of search events differs from others'.",)


# The compact form of ranks


@pytest.mark.parametrize("rule", ["optimistic", "pessimistic", "expected"])
def test_the_compact_form_keeps_every_metric_of_every_event(rule: str) -> None:
    ranks = random_ranks(7, events=300, candidates=100)
    for name in METRIC_NAMES:
        assert np.array_equal(gains(top_of(ranks), name, rule), gains(ranks, name, rule))


def test_the_compact_form_is_small_and_comes_back(tmp_path) -> None:
    ranks = {"search": drawn_ranks(0.2, 1000), "recommendation": random_ranks(1)}
    write_top(tmp_path / "top.npz", ranks)
    assert (tmp_path / "top.npz").stat().st_size < 3000
    for task, (back, histogram) in read_top(tmp_path / "top.npz").items():
        assert np.array_equal(gains_of(back, "expected"), gains_of(ranks[task], "expected"))
        assert histogram.sum() == len(ranks[task])
        assert histogram[-1] == np.count_nonzero(~ranks[task].returned)
