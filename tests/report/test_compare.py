"""Two sets of runs: paired where they ranked the same lists, and honest where they did not."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmark.errors import BenchmarkError
from benchmark.protocol.metrics import Ranks
from benchmark.report.__main__ import main
from benchmark.report.compare import compare_folders, judged_together, parts_of
from benchmark.report.reading.events import TaskEvents, gains_of
from benchmark.report.reading.ranks import rank_histogram
from benchmark.report.tables.grid import Entry, Grid
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
    assert entry(grid, "Alpha", "HR@1").spread == "[.000, .000]"
    assert entry(grid, "Alpha", "HR@1").raised == ""
    assert "paired" in grid.caption and "not paired" not in grid.caption


def test_other_candidates_are_not_paired_and_give_wide_intervals(sides, tmp_path: Path) -> None:
    sides[0]("alpha", search=drawn_ranks(0.3))
    sides[1]("alpha", search=drawn_ranks(0.3), protocol="clean", candidates="other")
    (grid,), _ = compare_folders(tmp_path / "a", tmp_path / "b")
    assert "not paired" in grid.caption
    assert "First: protocol paper" in grid.caption and "Second: protocol clean" in grid.caption
    assert width(entry(grid, "Alpha", "HR@10")) > 0.05


def noisy_ranks(random: np.random.Generator, systems: int, events: int) -> list[Ranks]:
    """Ranks of systems that are all as good, on events that are hard or easy for all."""
    hardness = random.normal(size=events)
    noise = random.normal(size=(systems, events))
    above = np.clip(12 + 12 * (hardness + noise), 0, 99).astype(np.int32)
    return [Ranks(of, np.zeros_like(of), np.ones(events, dtype=bool)) for of in above]


def events_of(ranks: Ranks) -> TaskEvents:
    return TaskEvents(gains_of(ranks, "expected"), rank_histogram(ranks))


@pytest.mark.parametrize("paired", [True, False])
def test_noise_alone_has_a_star_in_few_comparisons(paired: bool) -> None:
    """Ten systems, two tasks, five metrics: a hundred figures, and one family of them all.

    With 60 comparisons and an error of 0.05, more than 10 with a star have a chance below 0.001;
    figures judged one by one have one in nearly every comparison.
    """
    with_star, alone = 0, 0
    for repetition in range(60):
        random = np.random.default_rng(repetition)
        parts = []
        for task in ("recommendation", "search"):
            together = noisy_ranks(random, 20, 120)
            halves = (together[:10], together[10:] if paired else noisy_ranks(random, 10, 120))
            sides = [{f"s{i}": [events_of(of)] for i, of in enumerate(half)} for half in halves]
            parts += parts_of(sides, paired, f"{task} {repetition}")
        judged = judged_together(parts)
        critical = np.quantile(np.max([part.largest.max(axis=1) for part in parts], axis=0), 0.95)
        errors = [critical * of.value / (of.high - of.value) for of in judged]
        with_star += any(of.significant.any() for of in judged)
        alone += any((np.abs(of) > 1.96).any() for of in errors)
    assert with_star <= 10 and alone > 40


def test_each_protocol_meets_its_own(sides, tmp_path: Path) -> None:
    for make in sides:
        for protocol in ("paper", "clean"):
            make("alpha", search=drawn_ranks(0.3), protocol=protocol)
    grids, sentences = compare_folders(tmp_path / "a", tmp_path / "b")
    assert len(grids) == 2 and sentences == ()
    for grid in grids:
        assert entry(grid, "Alpha", "HR@1").spread == "[.000, .000]"


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
