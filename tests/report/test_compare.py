"""Two sets of runs: paired where they ranked the same lists, and honest where they did not."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from benchmark.errors import BenchmarkError
from benchmark.report.__main__ import main
from benchmark.report.compare import compare_folders
from benchmark.report.grid import Entry, Grid
from tests.report.conftest import MakeRun, drawn_ranks, write_run


@pytest.fixture
def sides(tmp_path: Path) -> tuple[MakeRun, MakeRun]:
    return partial(write_run, tmp_path / "a"), partial(write_run, tmp_path / "b")


def entry(grid: Grid, name: str, column: str) -> Entry:
    return next(row for row in grid.rows if row[0].text == name)[grid.head.index(column)]


def width(found: Entry) -> float:
    low, high = found.spread.strip("[]").split(", ")
    return float(high) - float(low)


def test_the_difference_is_second_minus_first(sides, tmp_path: Path) -> None:
    first = sides[0]("alpha", search=drawn_ranks(0.2))
    second = sides[1]("alpha", search=drawn_ranks(0.4))
    (grid,), sentences = compare_folders(tmp_path / "a", tmp_path / "b")
    expected = second.metrics["search"]["NDCG@5"] - first.metrics["search"]["NDCG@5"]
    assert expected > 0
    assert entry(grid, "Alpha", "NDCG@5").value == pytest.approx(expected)
    assert entry(grid, "Alpha", "NDCG@5").text.startswith("+")
    assert entry(grid, "Alpha", "NDCG@5").raised == "*"
    assert sentences == ()


def test_equal_runs_differ_by_nothing_at_all(sides, tmp_path: Path) -> None:
    for make in sides:
        make("alpha", search=drawn_ranks(0.3))
    (grid,), _ = compare_folders(tmp_path / "a", tmp_path / "b")
    assert entry(grid, "Alpha", "HR@1").spread == "[+0.0000, +0.0000]"
    assert entry(grid, "Alpha", "HR@1").raised == ""
    assert "paired" in grid.caption and "not paired" not in grid.caption


def test_other_candidates_are_not_paired_and_give_wide_intervals(sides, tmp_path: Path) -> None:
    sides[0]("alpha", search=drawn_ranks(0.3))
    sides[1]("alpha", search=drawn_ranks(0.3), protocol="clean", candidates="other")
    (grid,), _ = compare_folders(tmp_path / "a", tmp_path / "b")
    assert "not paired" in grid.caption
    assert "First: protocol paper" in grid.caption and "Second: protocol clean" in grid.caption
    assert width(entry(grid, "Alpha", "HR@10")) > 0.05


def test_each_protocol_meets_its_own(sides, tmp_path: Path) -> None:
    for make in sides:
        for protocol in ("paper", "clean"):
            make("alpha", search=drawn_ranks(0.3), protocol=protocol)
    grids, sentences = compare_folders(tmp_path / "a", tmp_path / "b")
    assert len(grids) == 2 and sentences == ()
    for grid in grids:
        assert entry(grid, "Alpha", "HR@1").spread == "[+0.0000, +0.0000]"


def test_what_is_on_one_side_only_is_named(sides, tmp_path: Path) -> None:
    for make in sides:
        make("alpha", search=drawn_ranks(0.3))
    sides[0]("beta", search=drawn_ranks(0.3))
    sides[1]("alpha", search=drawn_ranks(0.3), dataset="other")
    (grid,), sentences = compare_folders(tmp_path / "a", tmp_path / "b")
    assert "beta" in grid.footnotes[0].text
    assert sentences == ("other: without a counterpart on the other side: paper/laptop.",)


def test_nothing_in_common_is_an_error(sides, tmp_path: Path) -> None:
    sides[0]("alpha", search=drawn_ranks(0.3))
    sides[1]("beta", search=drawn_ranks(0.3))
    with pytest.raises(BenchmarkError, match="in common"):
        compare_folders(tmp_path / "a", tmp_path / "b")
    with pytest.raises(BenchmarkError, match="no runs to compare"):
        compare_folders(tmp_path / "a", tmp_path / "empty")


def test_the_command_prints_and_writes(sides, tmp_path: Path, capsys) -> None:
    for level, make in zip((0.2, 0.4), sides, strict=True):
        make("alpha", search=drawn_ranks(level))
    out = tmp_path / "out"
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "Alpha" in shown and "second minus first" in shown
    assert {path.suffix for path in out.iterdir()} == {".tex", ".md", ".csv"}
