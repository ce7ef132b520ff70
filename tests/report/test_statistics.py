"""Intervals and tests: known answers, the right direction, and outside libraries."""

from __future__ import annotations

import ir_measures
import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmark.files import write_manifest
from benchmark.jobs.record import Run, read_run
from benchmark.protocol.metrics import METRIC_NAMES, Ranks, gains, mean_metrics
from benchmark.protocol.settings import PRESETS
from benchmark.report.reading.collect import REFERENCE_FAMILY
from benchmark.report.reading.collected_events import collect_events
from benchmark.report.reading.events import gains_of, read_events
from benchmark.report.reading.ranks import EventRanks
from benchmark.report.reading.top import read_top, top_of, write_top
from benchmark.report.statistics.bootstrap import bootstrap_means
from benchmark.report.statistics.inference import compare, statistics_of
from benchmark.report.tables.metrics import main_table
from benchmark.report.tables.rows import Table
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


# Intervals


def one_each(values: np.ndarray) -> np.ndarray:
    return np.arange(values.shape[1])


def test_the_interval_of_a_share_is_the_binomial_one() -> None:
    hits = np.zeros((1, 400, 1))
    hits[0, :100] = 1.0
    means = bootstrap_means({"system": hits}, one_each(hits))["system"]
    low, high = np.quantile(means, (0.025, 0.975))
    # Normal approximation: 0.25 ± 1.96 * sqrt(0.25 * 0.75 / 400) = 0.2076, 0.2924.
    assert low == pytest.approx(0.2076, abs=0.006) and high == pytest.approx(0.2924, abs=0.006)


def test_users_are_drawn_with_all_their_events() -> None:
    """100 users with four equal events each tell no more than 100 events."""
    hits = np.zeros((1, 400, 1))
    hits[0, :100] = 1.0
    means = bootstrap_means({"system": hits}, np.repeat(np.arange(100), 4))["system"]
    assert means.std() == pytest.approx(np.sqrt(0.25 * 0.75 / 100), rel=0.07)


def test_unequal_users_give_the_deviation_of_a_ratio() -> None:
    """Against the jackknife over users, as computed one user at a time."""
    random = np.random.default_rng(0)
    users = np.sort(random.choice(80, 500, p=random.dirichlet(np.ones(80))))
    values = (random.random(80)[users] + random.random(500))[None, :, None] / 2
    left_out = [values[0, users != user].mean() for user in np.unique(users)]
    number = len(left_out)
    jackknife = np.sqrt((number - 1) / number * np.sum((left_out - np.mean(left_out)) ** 2))
    means = bootstrap_means({"system": values}, users)["system"]
    assert means.std() == pytest.approx(jackknife, rel=0.1)


def test_all_systems_meet_the_same_resampled_users() -> None:
    values = np.random.default_rng(0).random((1, 50, 2))
    means = bootstrap_means({"one": values, "two": values + 0.25}, one_each(values))
    assert np.allclose(means["two"] - means["one"], 0.25)


def test_copies_of_a_seed_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(0).random((1, 100, 1))
    alone = bootstrap_means({"system": values}, one_each(values))["system"]
    copies = bootstrap_means({"system": np.repeat(values, 4, axis=0)}, one_each(values))["system"]
    assert copies.std() == pytest.approx(alone.std(), rel=1e-9)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_interval_covers_the_mean_over_all_possible_runs(seeds: int) -> None:
    """In 95 of 100 cases, although few runs were drawn; resampling three runs reaches 75."""
    random = np.random.default_rng(seeds)
    covered = 0
    for _ in range(200):
        values = 0.5 + random.normal(scale=0.02, size=(seeds, 1, 1)) + np.zeros((1, 40, 1))
        means = bootstrap_means({"system": values}, one_each(values), resamples=1000)["system"]
        low, high = np.quantile(means, (0.025, 0.975))
        covered += low <= 0.5 <= high
    assert covered >= 181  # 190 are expected, with a deviation of 3


def test_a_systems_interval_does_not_depend_on_the_other_systems() -> None:
    values = np.random.default_rng(0).random((3, 50, 2))
    alone = bootstrap_means({"system": values}, one_each(values), "search")["system"]
    both = {"a": values / 2, "system": values}
    beside = bootstrap_means(both, one_each(values), "search")["system"]
    assert np.allclose(alone, beside)


# From run folders to marks


def table_of(runs: list[Run]) -> Table:
    return main_table(
        "search", runs, statistics=statistics_of(runs, collect_events(runs))["search"]
    )


def test_marks_of_significance_in_the_main_table(make_run) -> None:
    runs = [
        make_run("good", search=drawn_ranks(0.5)),
        make_run("as-good", search=drawn_ranks(0.5001, seed=9)),
        make_run("poor", search=drawn_ranks(0.1)),
        make_run("trivial", search=drawn_ranks(0.9), family=REFERENCE_FAMILY),
    ]
    table = table_of(runs)
    of = {row.system: {cell.verdict for cell in row.cells} for row in table.rows}
    assert of["good"] == of["as-good"] == {"level"}
    assert of["poor"] == of["trivial"] == {""}
    assert "All pairs are tested at once, two-sided" in table.caption
    assert "With one seed this concerns these trained instances only" in table.caption


def test_a_clear_winner_has_its_mark(make_run) -> None:
    runs = [make_run("good", search=drawn_ranks(0.6)), make_run("poor", search=drawn_ranks(0.1))]
    of = {row.system: [cell.verdict for cell in row.cells] for row in table_of(runs).rows}
    assert set(of["good"]) == {"clear"} and set(of["poor"]) == {""}


def test_marks_are_those_of_the_table_of_differences(suite) -> None:
    """A system is level if no interval below or above it puts it under another one."""
    of_tasks = statistics_of(suite, collect_events(suite))
    for task, of_task in of_tasks.items():
        table = main_table(task, suite, statistics=of_task)
        differences = of_task.trained.differences
        for row in (row for group in table.groups if not group.is_reference for row in group.rows):
            for column, cell in enumerate(row.cells):
                if cell.mean is None:
                    continue
                worse = any(
                    (row.system == first and differences.high[place, column] < 0.0)
                    or (row.system == second and differences.low[place, column] > 0.0)
                    for place, (first, second) in enumerate(of_task.trained.pairs)
                )
                assert (cell.verdict == "") == worse


def test_with_several_seeds_the_caption_says_that_runs_are_part_of_it(suite) -> None:
    of_task = statistics_of(suite, collect_events(suite))["search"]
    caption = main_table("search", suite, statistics=of_task).caption
    assert "with runs redrawn from the deviation between seeds" in caption
    assert "trained instances only" not in caption


def test_users_of_several_events_are_told_with_their_design_effect(make_run) -> None:
    """Four copies of each event: the variance of a mean is four times that of so many events."""
    once = [drawn_ranks(level, 100) for level in (0.2, 0.3)]
    ranks = [
        Ranks(*(np.repeat(part, 4) for part in (of.above, of.tied, of.returned))) for of in once
    ]
    users = {"search": np.repeat(np.arange(1, 101), 4)}
    settings = PRESETS["paper"].model_dump(mode="json") | {"split": "global-time"}
    runs = [
        make_run(name, search=of, users=users, settings=settings)
        for name, of in zip(("alpha", "beta"), ranks, strict=True)
    ]
    of_task = statistics_of(runs, collect_events(runs))["search"]
    # 399 / 99 of four copies and the corrections of both samples.
    assert of_task.design_effect == pytest.approx((399 / 99, 399 / 99), rel=1e-6)
    assert "4.0 to 4.0 times" in main_table("search", runs, statistics=of_task).caption
    alone = [make_run(f"{name}-once", search=of) for name, of in zip("ab", once, strict=True)]
    without = statistics_of(alone, collect_events(alone))["search"]
    assert "design effect" not in main_table("search", alone, statistics=without).caption
    half = of_task.trained.differences.high - of_task.trained.differences.low
    assert half == pytest.approx(without.trained.differences.high - without.trained.differences.low)


def without_users(run: Run) -> Run:
    """The run as it was written before users were kept."""
    path = run.folder / "ranks.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["user"]), path, write_page_checksum=True)
    write_manifest(run.folder)
    return read_run(run.folder)


@pytest.mark.parametrize("split, told", [("leave-one-out", False), ("global-time", True)])
def test_ranks_without_users_count_each_event_and_it_is_said(make_run, split, told) -> None:
    settings = PRESETS["paper"].model_dump(mode="json") | {"split": split}
    runs = [make_run(n, search=drawn_ranks(0.3), settings=settings) for n in ("alpha", "beta")]
    before = statistics_of(runs, collect_events(runs))["search"]
    old = [without_users(run) for run in runs]
    of_task = statistics_of(old, collect_events(old))["search"]
    assert np.array_equal(of_task.intervals["alpha"], before.intervals["alpha"])
    assert ("every test event counts as a user of its own" in " ".join(of_task.sentences)) == told


def test_runs_of_other_users_take_no_part(make_run) -> None:
    runs = [make_run(n, search=drawn_ranks(0.3)) for n in ("alpha", "beta")]
    others = {"search": np.arange(1, 401)[::-1]}
    runs.append(make_run("gamma", search=drawn_ranks(0.3), users=others))
    of_task = statistics_of(runs, collect_events(runs))["search"]
    assert set(of_task.intervals) == {"alpha", "beta"}
    assert of_task.sentences == ("gamma: its search events are of other users than others'.",)


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
    assert set(events.of("lists", "search")) == {"beta"}


def test_another_number_of_events_takes_no_part(make_run) -> None:
    runs = [make_run(n, search=drawn_ranks(0.3)) for n in ("alpha", "beta")]
    events = {run.record.system.name: [read_events(run)["lists"]["search"]] for run in runs}
    short = make_run("short", search=drawn_ranks(0.3, 50))
    events["short"] = [read_events(short)["lists"]["search"]]
    of_task = compare("search", events, list(events))
    assert set(of_task.intervals) == {"alpha", "beta"}
    assert of_task.sentences == ("short: its number of search events differs from others'.",)


# The compact form of ranks


@pytest.mark.parametrize("rule", ["optimistic", "pessimistic", "expected"])
def test_the_compact_form_keeps_every_metric_of_every_event(rule: str) -> None:
    ranks = random_ranks(7, events=300, candidates=100)
    for name in METRIC_NAMES:
        assert np.array_equal(gains(top_of(ranks, 10), name, rule), gains(ranks, name, rule))


LARGEST = {"lists": 10, "all-items": 100}


def test_the_compact_form_is_small_and_comes_back(tmp_path) -> None:
    ranks = {"search": drawn_ranks(0.2, 1000), "recommendation": random_ranks(1)}
    users = {"search": np.arange(70_000, 71_000) // 3, "recommendation": np.arange(60)[::-1]}
    found = {task: EventRanks(of, users[task]) for task, of in ranks.items()}
    write_top(tmp_path / "top.npz", {"lists": found}, LARGEST)
    assert (tmp_path / "top.npz").stat().st_size < 3000
    back = read_top(tmp_path / "top.npz")
    assert list(back) == ["lists"] and set(back["lists"]) == set(ranks)
    for task, kept in back["lists"].items():
        assert np.array_equal(kept.users, users[task])
        assert np.array_equal(gains_of(kept.placed, "expected"), gains_of(ranks[task], "expected"))
        assert kept.histogram.sum() == len(ranks[task])
        assert kept.histogram[-1] == np.count_nonzero(~ranks[task].returned)
    without = {task: EventRanks(of) for task, of in ranks.items()}
    write_top(tmp_path / "old.npz", {"lists": without}, LARGEST)
    assert all(kept.users is None for kept in read_top(tmp_path / "old.npz")["lists"].values())


def test_the_compact_form_keeps_both_views_and_some_ranks_whole(tmp_path) -> None:
    ranks = {"search": random_ranks(2, candidates=900), "recommendation": random_ranks(3)}
    others = np.arange(2000, 2060)
    found = {task: EventRanks(of, np.arange(60), others) for task, of in ranks.items()}
    views = {"lists": found, "all-items": found}
    write_top(tmp_path / "top.npz", views, LARGEST, whole=["recommendation"])
    back = read_top(tmp_path / "top.npz")["all-items"]
    names = [f"{name}@{k}" for name in ("HR", "NDCG", "MRR", "Recall") for k in (5, 20, 100)]
    for task, kept in back.items():
        placed = ranks[task].placed("all-items")
        for rule in ("expected", "pessimistic", "optimistic"):
            assert np.array_equal(gains_of(kept.placed, rule, names), gains_of(placed, rule, names))
        assert kept.histogram[-1] == np.count_nonzero(~ranks[task].returned) > 0
        assert np.array_equal(kept.users, np.arange(60))
    assert back["search"].whole is None
    whole = back["recommendation"].whole
    assert np.array_equal(whole.others, others)
    for name in ("above", "tied", "returned"):
        assert np.array_equal(getattr(whole.ranks, name), getattr(ranks["recommendation"], name))


def test_twenty_thousand_events_of_both_views_stay_below_100_kb(tmp_path) -> None:
    """As many test events and items as amazon-beauty has, half of them of either task."""
    random = np.random.default_rng(0)
    items, events = 12_101, 11_200
    users = np.arange(events)
    barred = random.geometric(0.12, events)
    views: dict = {"lists": {}, "all-items": {}}
    for task in ("recommendation", "search"):
        above = (random.beta(0.4, 1.2, events) * (items - barred)).astype(np.int32)
        tied = (random.poisson(1.0, events) * (random.random(events) < 0.5)).astype(np.int32)
        tied = np.minimum(tied, items - barred - above)
        returned = np.ones(events, dtype=bool)
        whole = Ranks(above, tied, returned)
        sampled = Ranks(random.binomial(99, above / items).astype(np.int32), tied * 0, returned)
        views["all-items"][task] = EventRanks(whole, users, items - barred)
        views["lists"][task] = EventRanks(sampled, users, np.full(events, 99))
    write_top(tmp_path / "top.npz", views, LARGEST, whole=["recommendation"])
    assert (tmp_path / "top.npz").stat().st_size < 100_000
