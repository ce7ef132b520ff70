"""The table of differences: every tested pair once, in the table's order, with the right sign."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from benchmark.report.reading.collect import REFERENCE_FAMILY
from benchmark.report.reading.collected_events import collect_events
from benchmark.report.statistics.inference import statistics_of
from benchmark.report.tables.differences import differences_grid
from benchmark.report.tables.grid import Grid, to_csv
from benchmark.report.tables.metrics import main_table
from benchmark.report.tables.rows import Table
from tests.report.conftest import drawn_ranks


@pytest.fixture
def both(make_run) -> tuple[Table, Grid]:
    runs = [
        make_run("zeta", search=drawn_ranks(0.5)),
        make_run("alpha", search=drawn_ranks(0.1), family="joint"),
        make_run("middle", search=drawn_ranks(0.3)),
        make_run("trivial", search=drawn_ranks(0.2), family=REFERENCE_FAMILY),
    ]
    of_task = statistics_of(runs, collect_events(runs))["search"]
    table = main_table("search", runs, statistics=of_task)
    grid = differences_grid(table, of_task)
    assert grid is not None
    return table, grid


def test_every_pair_stands_once_in_the_tables_order(both: tuple[Table, Grid]) -> None:
    _, grid = both
    shown = {group.title: [row[0].text for row in group.rows] for group in grid.groups}
    assert shown == {
        "Middle minus": ["Zeta", "Alpha", "Trivial"],
        "Zeta minus": ["Alpha", "Trivial"],
        "Alpha minus": ["Trivial"],
    }


def test_it_is_the_first_mean_minus_the_second(both: tuple[Table, Grid]) -> None:
    table, grid = both
    means = {row.display_name: [cell.mean for cell in row.cells] for row in table.rows}
    for group in grid.groups:
        first = means[group.title.removesuffix(" minus")]
        for name, *entries in group.rows:
            expected = np.subtract(first, means[name.text])
            assert [entry.value for entry in entries] == pytest.approx(expected, abs=1e-9)
            for entry in entries:
                low, high = entry.ends
                assert low < entry.value < high
                assert (entry.raised == "*") == (low > 0 or high < 0) == (entry.p_value <= 0.05)
    assert any(entry.raised for row in grid.rows for entry in row)


def test_the_caption_names_both_families_and_the_csv_has_every_figure(
    both: tuple[Table, Grid],
) -> None:
    _, grid = both
    assert "all 3 pairs of trained systems" in grid.caption
    assert "the 3 pairs of a trained system and a ranker without learning" in grid.caption
    rows = list(csv.DictReader(io.StringIO(to_csv(grid))))
    assert len(rows) == 6 and rows[0]["group"] == "Middle minus"
    assert {"HR@1", "HR@1 low", "HR@1 high", "HR@1 p"} <= set(rows[0])
    entry = grid.rows[0][1]
    assert float(rows[0]["HR@1 low"]) == pytest.approx(entry.ends[0])
    assert float(rows[0]["HR@1 p"]) == pytest.approx(entry.p_value)


def test_one_trained_system_has_no_table_of_differences(make_run) -> None:
    runs = [make_run("alpha", search=drawn_ranks(0.3))]
    of_task = statistics_of(runs, collect_events(runs))["search"]
    assert differences_grid(main_table("search", runs, statistics=of_task), of_task) is None


def test_a_system_with_one_seed_beside_others_has_a_sentence(make_run) -> None:
    runs = [make_run("alpha", search=drawn_ranks(0.3, seed=s), seed=s) for s in (1, 2, 3)]
    runs.append(make_run("beta", search=drawn_ranks(0.3)))
    of_task = statistics_of(runs, collect_events(runs))["search"]
    notes = [note.text for note in main_table("search", runs, statistics=of_task).footnotes]
    assert notes == [
        "From seed 1 only; others have 3. Its marks concern this trained instance only."
    ]
