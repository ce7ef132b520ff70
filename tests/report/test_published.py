"""Others' figures: what is possible, what is not, and the files of this repository."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmark.protocol.metrics import METRIC_NAMES, gains
from benchmark.report import build_report
from benchmark.report.tables.metrics import main_table
from benchmark.report.tables.published import (
    IMPOSSIBLE,
    contradictions,
    published_grids,
    read_published,
)
from tests.report.test_statistics import random_ranks

PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published"
HEAD = "system,task,data,candidates,HR@5,HR@10,NDCG@5,NDCG@10,source,url,note\n"


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("digits", [16, 4, 2])
def test_what_ranks_give_is_always_possible(seed: int, digits: int) -> None:
    ranks = random_ranks(seed, events=30)
    names = [f"{name}@{k}" for name in ("HR", "NDCG") for k in (1, 3, 5, 10, 20)]
    figures = {name: round(float(gains(ranks, name).mean()), digits) for name in names}
    assert contradictions(figures, rounding=0.5 * 10.0**-digits) == ()


@pytest.mark.parametrize(
    "figures",
    [
        # From 5 to 10: 0.1 more hits at ranks 6 to 10 gain 0.1/log2(11) = 0.0289 to 0.0356.
        {"HR@5": 0.4, "HR@10": 0.5, "NDCG@5": 0.3, "NDCG@10": 0.3280},
        {"HR@5": 0.4, "HR@10": 0.5, "NDCG@5": 0.3, "NDCG@10": 0.3370},
        {"HR@5": 0.4, "HR@10": 0.39},
        {"NDCG@5": 0.4, "NDCG@10": 0.39},
        {"HR@1": 0.2, "NDCG@1": 0.21},
        {"HR@10": 0.3, "NDCG@10": 0.31},
        # All hits at rank 10 would give 0.3/log2(11) = 0.0867.
        {"HR@10": 0.3, "NDCG@10": 0.08},
        # One at rank 1, the others at 5: 0.1 + 0.2/log2(6) = 0.1774.
        {"HR@1": 0.1, "HR@5": 0.3, "NDCG@5": 0.17},
        {"HR@5": 1.2},
    ],
)
def test_what_no_ranks_give_is_found(figures: dict[str, float]) -> None:
    assert contradictions(figures, rounding=5e-5)


def test_the_bounds_themselves_are_possible() -> None:
    for rank in (6, 10):
        gain = 0.1 / np.log2(rank + 1)
        figures = {"HR@5": 0.4, "HR@10": 0.5, "NDCG@5": 0.3, "NDCG@10": 0.3 + gain}
        assert contradictions(figures) == ()


def test_rounding_is_allowed_for() -> None:
    # Exactly 0.15/log2(6) - 0.4e-4 apart: impossible as exact numbers, possible as rounded ones.
    figures = {"HR@5": 0.15, "NDCG@5": round(0.15 / np.log2(6), 4) - 1e-4}
    assert contradictions(figures) and not contradictions(figures, rounding=1e-4)


def test_our_own_tables_are_possible(suite) -> None:
    for task in ("recommendation", "search"):
        for row in main_table(task, suite).rows:
            figures = {
                name: cell.mean
                for name, cell in zip(METRIC_NAMES, row.cells, strict=True)
                if cell.mean is not None
            }
            assert contradictions(figures) == ()


def test_every_row_of_the_repository_has_a_source() -> None:
    rows, sentences = read_published(PUBLISHED)
    assert sentences == () and len(rows) > 40
    for row in rows:
        assert row.source and row.url.startswith("https://")
        assert row.task in ("recommendation", "search")
        # A reader can look the figures up: a paper, or files of a named commit of a repository.
        assert "unchecked" not in row.source
        if "github.com" in row.url:
            assert re.search(r"/(blob|tree)/[0-9a-f]{7,40}(/|$)", row.url), row.url


def test_impossible_rows_are_marked_and_others_are_not() -> None:
    rows, _ = read_published(PUBLISHED)
    shown = [row for grid in published_grids(rows) for row in grid.rows]
    marked = {row[0].text for row in shown if IMPOSSIBLE in row[0].raised}
    assert "CoPPS" in marked and "FMLP-Rec" not in marked
    assert all(entry.mark == "" for row in shown for entry in row)


@pytest.mark.parametrize(
    "content, complaint",
    [
        ("system,task\na,b\n", "no column"),
        (HEAD + "A,search,D,100,0.4,40 %,0.3,0.3,paper,https://x,\n", "'40 %' is no share"),
        (HEAD + "A,search,D,100,0.4,0.5,0.3,0.3,,https://x,\n", "needs figures, source and url"),
        (HEAD + "A,search,D,100,,,,,paper,https://x,\n", "needs figures, source and url"),
        ("\x00", "no column"),
    ],
)
def test_a_bad_file_has_a_sentence(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "bad.csv").write_text(content, encoding="utf-8")
    rows, (sentence,) = read_published(tmp_path)
    assert rows == () and "bad.csv" in sentence and complaint in sentence


def test_they_stand_in_a_table_of_their_own(make_run, runs_root: Path, tmp_path: Path) -> None:
    make_run("alpha", search=0.01)
    (tmp_path / "published").mkdir()
    line = "Great,search,tiny,100,0.4,0.5,0.3,0.33,paper,https://x,\n"
    (tmp_path / "published" / "some.csv").write_text(HEAD + line, encoding="utf-8")
    report = build_report(runs_root, tmp_path / "out", published=tmp_path / "published")
    tables = tmp_path / "out" / "tables"
    assert "Great" in (tables / "published-some.md").read_text(encoding="utf-8")
    assert "Great" not in (tables / "tiny-paper-laptop-search.md").read_text(encoding="utf-8")
    assert "**0.0100**" in (tables / "tiny-paper-laptop-search.md").read_text(encoding="utf-8")
    assert all(row.system != "Great" for table in report.tables for row in table.rows)
