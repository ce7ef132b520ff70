"""What ablations change: each row against the system as it is, all rows tested at once."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.jobs.record import Run
from benchmark.protocol.metrics import Ranks
from benchmark.report.group import group_report
from benchmark.report.reading.collect import collect
from benchmark.report.reading.collected_events import collect_events
from benchmark.report.statistics.inference import pair_tests
from benchmark.report.tables.ablations import ablation_differences
from benchmark.report.tables.grid import Entry, Grid
from benchmark.report.tables.metrics import ablation_table
from tests.report.conftest import drawn_ranks

LEVELS = {"alpha": 0.3, "alpha@far-worse": 0.1, "alpha@alike": 0.3, "beta": 0.4}


def runs_of(make_run, seeds: int = 1) -> list[Run]:
    return [
        make_run(name, search=drawn_ranks(level, seed=100 * seed + len(name)), seed=seed)
        for name, level in LEVELS.items()
        for seed in range(1, seeds + 1)
    ]


def grid_of(runs: list[Run], system: str = "alpha") -> Grid | None:
    events = collect_events(runs).of("lists", "search")
    return ablation_differences(ablation_table("search", system, runs), system, events)


def ends_of(entry: Entry) -> tuple[float, float]:
    assert entry.ends is not None
    return entry.ends


def test_each_row_stands_against_the_system_as_it_is(make_run) -> None:
    runs = runs_of(make_run)
    grid = grid_of(runs)
    assert grid is not None
    means = {run.record.system.name: run.metrics["search"] for run in runs}
    shown = {entries[0].text: entries[1:] for entries in grid.rows}
    assert list(shown) == ["Alpha@Alike", "Alpha@Far-Worse"]
    for name, entries in shown.items():
        for metric, entry in zip(grid.head[1:], entries, strict=True):
            expected = means[name.lower()][metric] - means["alpha"][metric]
            assert entry.value == pytest.approx(expected, abs=1e-9)
            low, high = ends_of(entry)
            assert (entry.raised == "*") == (low > 0 or high < 0)
    assert all(entry.raised == "*" for entry in shown["Alpha@Far-Worse"])
    assert not any(entry.raised for entry in shown["Alpha@Alike"])


def test_more_rows_make_wider_intervals(make_run) -> None:
    """All rows of a column are one family."""
    runs = runs_of(make_run)
    few = grid_of(runs)
    more = [
        make_run(f"alpha@other-{n}", search=drawn_ranks(0.3, seed=10 + n), seed=1) for n in range(9)
    ]
    many = grid_of([*runs, *more])
    assert few is not None and many is not None
    widths = []
    for grid in (few, many):
        (row,) = (row for row in grid.rows if row[0].text == "Alpha@Alike")
        low, high = ends_of(row[1])
        widths.append(high - low)
    assert 0 < widths[0] < widths[1]


def test_seeds_and_the_number_of_rows_are_told(make_run) -> None:
    one, several = grid_of(runs_of(make_run)), grid_of(runs_of(make_run, seeds=3))
    assert one is not None and several is not None
    assert "One seed: about these trained instances only." in one.caption
    assert "One seed" not in several.caption and "deviation between seeds" in several.caption
    for grid in (one, several):
        assert grid.caption.startswith("Ablations of alpha: each row minus Alpha as it is.")
        assert "the 2 rows are one family" in grid.caption


def test_rows_of_other_events_are_named_and_left_out(make_run) -> None:
    short = make_run("alpha@short", search=drawn_ranks(0.3, events=200))
    grid = grid_of([*runs_of(make_run), short])
    assert grid is not None
    assert "Alpha@Short" not in [row[0].text for row in grid.rows]
    assert any("alpha@short" in note.text for note in grid.footnotes)


def test_rows_that_change_nothing_are_named_and_take_no_part(make_run) -> None:
    """Without an error of their own they would make every interval of few seeds infinite."""
    runs = runs_of(make_run, seeds=3)
    same = [
        make_run("alpha@same", search=drawn_ranks(0.3, seed=100 * seed + 5), seed=seed)
        for seed in (1, 2, 3)
    ]
    grid, plain = grid_of([*runs, *same]), grid_of(runs)
    assert grid is not None and plain is not None
    assert grid.rows == plain.rows
    assert [note.text for note in grid.footnotes] == [
        "The same in every event as Alpha: Alpha@Same."
    ]
    assert grid_of([run for run in runs if run.record.system.name == "alpha"] + same) is None


def test_few_seeds_of_many_rows_tell_of_the_runs_together(make_run) -> None:
    """Three seeds of a row alone leave some interval far wider than those of all rows do."""
    events = {
        f"alpha@{n}" if n else "alpha": [
            drawn_ranks(0.3 + 0.005 * random, seed=1000 * n + seed)
            for seed, random in enumerate(np.random.default_rng(n).normal(size=3), start=1)
        ]
        for n in range(9)
    }
    runs = [
        make_run(name, search=ranks, seed=seed)
        for name, seeds in events.items()
        for seed, ranks in enumerate(seeds, start=1)
    ]
    grid = grid_of(runs)
    assert grid is not None
    found = collect_events(runs).of("lists", "search")
    values = {name: np.stack([one.gains for one in seeds]) for name, seeds in found.items()}
    pairs = [(name, "alpha") for name in values if name != "alpha"]
    users = np.arange(values["alpha"].shape[1])
    apart = pair_tests(values, found["alpha"][0].metrics, users, pairs, "apart")
    assert apart is not None
    at_10 = apart.metrics.index("HR@10")
    width_apart = (apart.differences.high - apart.differences.low)[:, at_10].max()
    ends = [ends_of(row[1 + at_10]) for row in grid.rows]
    assert max(high - low for low, high in ends) < 0.5 * width_apart


@pytest.mark.parametrize(
    "without",
    [("alpha",), ("alpha@far-worse", "alpha@alike")],
    ids=["no system itself", "no other row"],
)
def test_nothing_to_compare_is_no_grid(make_run, without: tuple[str, ...]) -> None:
    runs = [run for run in runs_of(make_run) if run.record.system.name not in without]
    assert grid_of(runs) is None


def test_the_report_of_a_group_has_them_in_both_views(make_run, runs_root) -> None:
    for name, level in LEVELS.items():
        ranks = drawn_ranks(level)
        far = Ranks(ranks.above * 8, ranks.tied, ranks.returned)
        make_run(name, search=ranks, all_items={"search": far})
    (group,) = collect(runs_root).groups
    stems = [grid.stem for grid in group_report(group).grids]
    for middle in ("search", "search-all-items"):
        assert f"tiny-paper-laptop-{middle}-ablations-alpha-differences" in stems
