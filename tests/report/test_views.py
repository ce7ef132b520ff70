"""Tables of the second view: their cut-offs, what stands under them, and runs without it."""

from __future__ import annotations

import csv
import io
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmark.errors import BenchmarkError
from benchmark.files import write_json, write_manifest
from benchmark.jobs.record import CostPart
from benchmark.protocol.metrics import CUTOFFS, Ranks, every_metric, mean_metrics
from benchmark.protocol.settings import PRESETS
from benchmark.report.__main__ import main
from benchmark.report.build import build_report
from benchmark.report.compare import compare_folders
from benchmark.report.reference import write_references
from benchmark.report.shown import main_tables_as_markdown
from benchmark.report.tables.metrics import main_table
from benchmark.report.tables.overviews import efficiency_grid
from benchmark.report.tables.printed import figures_csv
from benchmark.report.whole import make_report
from tests.report.conftest import among_all, drawn_ranks, write_run

ALL = ("HR@5", "HR@10", "HR@20", "HR@50", "HR@100")
ALL += tuple(name.replace("HR", "NDCG") for name in ALL)


def with_both(make_run, name: str, level: float, **more):
    ranks = drawn_ranks(level)
    return make_run(name, search=ranks, all_items={"search": among_all(ranks)}, **more)


def all_items_table(runs_root: Path):
    return make_report(runs_root).groups[0].views["all-items"].main["search"]


def test_the_table_has_the_views_cutoffs_marks_and_intervals(make_run, runs_root: Path) -> None:
    runs = {n: with_both(make_run, n, level) for n, level in (("low", 0.2), ("high", 0.45))}
    table = all_items_table(runs_root)
    assert table.columns == ALL and table.stem == "tiny-paper-laptop-search-all-items"
    assert "ranked among all items that the protocol admits" in table.caption
    lists = make_report(runs_root).groups[0].views["lists"].main["search"]
    assert "ranked among candidate lists" in lists.caption
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            assert cell.mean == runs[row.system].all_items["search"][column]
            assert cell.interval[0] <= cell.mean <= cell.interval[1]
    high, low = (next(r for r in table.rows if r.system == name) for name in ("high", "low"))
    assert high.cells[4].mark == "best" and low.cells[4].mark == "second"
    assert high.cells[4].verdict == "clear"


def test_what_a_beam_left_out_is_last_and_said(make_run, runs_root: Path) -> None:
    run = with_both(make_run, "beamed", 0.3, ranking_of_all_items="a beam of 100 identifiers")
    table = all_items_table(runs_root)
    notes = [note.text for note in table.footnotes]
    # drawn_ranks leaves out every fiftieth target.
    assert notes[0] == (
        "All items are ranked by a beam of 100 identifiers, which leaves out 2.0% of the targets: "
        "they stand, tied, after all that it returns."
    )
    assert table.rows[0].notes[0] == table.footnotes[0].mark == "1"
    assert "A target is ranked among 1,000.0 items on average, itself included." in notes
    assert "With one relevant item an event, Recall@k is HR@k." in notes
    # Left out at rank 1, they count; of lists they score 0.
    ranks = Ranks(np.zeros(50, np.int32), np.zeros(50, np.int32), np.arange(50) > 0)
    first = make_run("first", search=ranks, all_items={"search": ranks}, dataset="other")
    assert first.metrics["search"]["HR@1"] == pytest.approx(0.98)
    assert first.all_items["search"]["HR@5"] == pytest.approx(1.0)
    lists = make_report(runs_root).groups[0].views["lists"].main["search"]
    assert not any("beam" in note.text or "Recall" in note.text for note in lists.footnotes)
    assert run.record.system.left_out == {"search": pytest.approx(0.02)}


def test_plain_numbers_have_mrr_and_recall_too(make_run, runs_root: Path) -> None:
    runs = [with_both(make_run, "alpha", 0.3 + 0.01 * seed, seed=seed) for seed in (1, 2)]
    for view in ("lists", "all-items"):
        table = main_table("search", runs, view=view)
        (row,) = csv.DictReader(io.StringIO(figures_csv(table)))
        assert row["view"] == view
        for name in every_metric(CUTOFFS[view]):
            means = [run.metrics_of(view)["search"][name] for run in runs]
            assert float(row[name]) == pytest.approx(np.mean(means), abs=1e-6), name
            assert float(row[f"{name} deviation"]) == pytest.approx(np.std(means, ddof=1), abs=1e-6)
        assert not any(name.startswith(("MRR", "Recall")) for name in table.columns)


def test_cutoffs_are_those_of_the_protocol(make_run, runs_root: Path, tmp_path: Path) -> None:
    ranks = drawn_ranks(0.3)
    settings = PRESETS["paper"].model_dump(mode="json")
    settings |= {"cutoffs": [2, 7], "all_items_cutoffs": [3, 30]}
    root = runs_root / "custom"
    run = write_run(root, "alpha", search=ranks, settings=settings, protocol="custom")
    metrics = {
        "lists": {"search": mean_metrics(ranks, names=every_metric((2, 7)))},
        "all-items": {"search": mean_metrics(ranks, names=every_metric((3, 30)))},
    }
    write_json(run.folder / "metrics.json", metrics)
    write_manifest(run.folder)
    views = make_report(root).groups[0].views
    lists = views["lists"].main["search"]
    assert lists.columns == ("HR@2", "HR@7", "NDCG@2", "NDCG@7")
    assert lists.rows[0].cells[3].mean == metrics["lists"]["search"]["NDCG@7"]
    assert lists.rows[0].cells[3].interval is not None
    assert views["all-items"].main["search"].columns == ("HR@3", "HR@30", "NDCG@3", "NDCG@30")
    build_report(root, tmp_path)  # every plot finds a metric to show


def test_runs_without_a_second_view_have_one_only(make_run, runs_root: Path) -> None:
    """Also those of schema 1, whose metrics.json has no views and whose ranks have no column."""
    ranks = drawn_ranks(0.3)
    run = make_run("alpha", search=ranks)
    record = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
    settings = record["protocol"]["settings"]
    for later in ("cutoffs", "all_items_cutoffs", "search_all_items"):
        del settings[later]
    write_json(run.folder / "run.json", {**record, "schema_version": 1})
    write_json(run.folder / "metrics.json", {"search": mean_metrics(ranks)})
    import pyarrow.parquet as pq

    path = run.folder / "ranks.parquet"
    table = pq.read_table(path).drop_columns(["view", "others"])
    pq.write_table(table, path)
    write_manifest(run.folder)
    (group,) = make_report(runs_root).groups
    assert list(group.views) == ["lists"]
    assert not any("alpha" in sentence for sentence in group.sentences)
    (row,) = group.views["lists"].main["search"].rows
    assert row.cells[0].interval is not None
    assert {cell.mean for cell in row.further} == {None}  # it kept no MRR and no Recall
    assert len(main_tables_as_markdown(group)) == 1


def test_a_run_without_the_view_beside_others_has_a_dagger(make_run, runs_root: Path) -> None:
    with_both(make_run, "alpha", 0.3)
    make_run("beta", search=drawn_ranks(0.2))
    table = all_items_table(runs_root)
    assert [row.status for row in table.rows] == ["finished", "failed"]
    assert any("Beta: The run finished without figures for HR@5" in n.text for n in table.footnotes)


def test_readme_gets_the_tables_of_both_views(make_run, runs_root: Path, tmp_path: Path) -> None:
    with_both(make_run, "alpha", 0.3)
    readme = tmp_path / "README.md"
    marks = "<!-- {0}: begin -->\n<!-- {0}: end -->\n"
    readme.write_text(marks.format("tables") + marks.format("status"), encoding="utf-8")
    out = tmp_path / "reference"
    command = ["reference", "--from", str(runs_root), "--out", str(out), "--readme", str(readme)]
    assert main(command) == 0
    text = readme.read_text(encoding="utf-8")
    lists, all_items = (
        (out / "tiny-paper-laptop" / f"search{view}.md").read_text(encoding="utf-8").rstrip()
        for view in ("", "-all-items")
    )
    assert text.index(lists) < text.index(all_items)
    assert "NDCG@100" in all_items and "NDCG@100" not in lists


def test_references_give_the_tables_of_both_views(make_run, runs_root, tmp_path: Path) -> None:
    for level, name in enumerate(("alpha", "beta", "gamma"), start=1):
        with_both(make_run, name, 0.1 * level)
    write_references(runs_root, tmp_path / "reference")
    found = [
        {
            path.name: path.read_bytes()
            for path in build_report(root, tmp_path / name).paths
            if path.parent.name == "tables"
        }
        for name, root in (("before", runs_root), ("after", tmp_path / "reference"))
    ]
    assert found[0] == found[1]
    assert "tiny-paper-laptop-search-all-items-differences.csv" in found[0]


def test_compare_takes_a_view(make_run, tmp_path: Path, capsys) -> None:
    sides = [partial(write_run, tmp_path / name) for name in ("a", "b")]
    first, second = (
        with_both(make, "alpha", level) for make, level in zip(sides, (0.2, 0.4), strict=True)
    )
    (grid,), _ = compare_folders(tmp_path / "a", tmp_path / "b", "all-items")
    assert grid.head[1:] == ALL and grid.stem.endswith("-search-all-items")
    assert "ranked among all items" in grid.caption
    expected = second.all_items["search"]["HR@100"] - first.all_items["search"]["HR@100"]
    assert grid.rows[0][5].value == pytest.approx(expected) and expected > 0
    command = ["compare", str(tmp_path / "a"), str(tmp_path / "b")]
    assert main([*command, "--view", "all-items"]) == 0
    assert "all items" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--view", "other"])
    assert stopped.value.code == 2 and "lists" in capsys.readouterr().err


def test_compare_says_which_view_is_missing(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_run(tmp_path / name, "alpha", search=drawn_ranks(0.3))
    with pytest.raises(BenchmarkError, match="single events among all items"):
        compare_folders(tmp_path / "a", tmp_path / "b", "all-items")


def test_compare_does_not_mix_cutoffs(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "alpha", search=drawn_ranks(0.3))
    settings = PRESETS["paper"].model_dump(mode="json") | {"cutoffs": [1, 5]}
    write_run(tmp_path / "b", "alpha", search=drawn_ranks(0.3), settings=settings)
    with pytest.raises(BenchmarkError, match="other cut-offs"):
        compare_folders(tmp_path / "a", tmp_path / "b")


def test_the_cost_of_either_view_is_shown(make_run, runs_root: Path) -> None:
    cost = CostPart(
        score_seconds={"search": 1.5, "recommendation": 0.25},
        all_items_seconds={"search": 4.0, "recommendation": 2.0},
    )
    for seed, run_cost in (
        (1, cost),
        (2, cost.model_copy(update={"all_items_seconds": {"search": 8.0}})),
    ):
        with_both(make_run, "alpha", 0.3, seed=seed, cost=run_cost)
    with_both(make_run, "beta", 0.3)
    grid = efficiency_grid(make_report(runs_root).groups[0].group)
    rows = {row[0].text: dict(zip(grid.head, row, strict=True)) for row in grid.rows}
    assert rows["Alpha"]["Lists (s)"].value == 1.75
    assert rows["Alpha"]["All items (s)"].value == 7.0  # (4 + 2) and 8
    assert rows["Beta"]["All items (s)"].value is None
