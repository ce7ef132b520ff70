"""The table of identifier quality."""

from __future__ import annotations

import json
from dataclasses import replace

from benchmark.jobs.record import IdentifierQuality, Run, RunRecord
from benchmark.report.latex import to_latex
from benchmark.report.reading.collect import RunGroup, collect
from benchmark.report.tables.grid import Grid, to_csv, to_markdown
from benchmark.report.tables.identifiers import identifier_grids

FIGURES = {
    "items": 1682.0,
    "distinct": 1600.0,
    "sharing": 0.1,
    "sharing_before": 0.5,
    "codebook_use_1": 1.0,
    "codebook_use_2": 0.25,
    "codebook_use_10": 0.5,
    "mean_length": 3.0,
}


def with_identifiers(run: Run, identifiers: IdentifierQuality) -> Run:
    record = run.record.model_copy(update={"identifiers": identifiers})
    return run.model_copy(update={"record": record})


def group_of(runs_root, *identifiers: IdentifierQuality) -> RunGroup:
    """The runs below the root in their order, with these figures."""
    (group,) = collect(runs_root).groups
    runs = map(with_identifiers, group.runs, identifiers)
    return replace(group, runs=tuple(runs))


def identifiers_grid(group: RunGroup) -> Grid | None:
    """The table of quality, if there is one."""
    return next((g for g in identifier_grids(group) if g.stem.endswith("-identifiers")), None)


def texts(grid: Grid) -> list[list[str]]:
    return [[entry.text for entry in row] for row in grid.rows]


def test_there_is_a_row_for_each_system_and_kind(make_run, runs_root) -> None:
    make_run("alpha", search=0.1)
    make_run("beta", search=0.1)
    both = {"semantic": FIGURES, "collaborative": FIGURES | {"distinct": 1682.0, "sharing": 0.0}}
    grid = identifiers_grid(group_of(runs_root, both, {}))
    assert grid is not None
    use = "100 / 25 / 50"  # level 10 after level 2
    assert texts(grid) == [
        ["Alpha", "collaborative", "1,682", "1,682", "0.0", "50.0", use, "3.0"],
        ["Alpha", "semantic", "1,682", "1,600", "10.0", "50.0", use, "3.0"],
    ]
    assert grid.stem == "tiny-paper-laptop-identifiers"


def test_figures_are_means_over_the_seeds(make_run, runs_root) -> None:
    make_run("alpha", search=0.1, seed=1)
    make_run("alpha", search=0.1, seed=2)
    grid = identifiers_grid(
        group_of(runs_root, {"text": FIGURES}, {"text": FIGURES | {"sharing": 0.3}})
    )
    assert grid is not None
    assert [row[4] for row in texts(grid)] == ["20.0"]


def test_what_a_system_does_not_say_is_a_dash(make_run, runs_root) -> None:
    make_run("alpha", search=0.1)
    grid = identifiers_grid(group_of(runs_root, {"titles": {"items": 5.0, "own figure": 1.0}}))
    assert grid is not None
    assert texts(grid) == [["Alpha", "titles", "5", *["–"] * 5]]


def test_without_identifiers_there_is_no_table(make_run, runs_root) -> None:
    make_run("alpha", search=0.1)
    assert identifiers_grid(group_of(runs_root, {})) is None


def test_the_table_prints_in_every_form(make_run, runs_root) -> None:
    make_run("alpha", search=0.1, display_name="A_1 & B")
    grid = identifiers_grid(group_of(runs_root, {"se_mantic": FIGURES}))
    assert grid is not None
    assert r"A\_1 \& B & se\_mantic & 1,682 & 1,600 & 10.0 & 50.0 & 100 / 25 / 50" in to_latex(grid)
    assert r"| A\_1 &amp; B | se\_mantic | 1,682 | 1,600 | 10.0 | 50.0 |" in to_markdown(grid)
    assert "A_1 & B,se_mantic,1682,1600,10,50,100 / 25 / 50,3" in to_csv(grid)


CARD = {
    "entropy_1": 0.5,
    "entropy_2": 0.25,
    "variance_explained_1": 0.125,
    "variance_explained_2": 0.75,
    "alignment_1": 2.0,
    "fan_out_1": 4.0,
    "tail_items": 0.3,
    "tail_backed": 0.9,
}


def test_the_card_says_what_prefixes_stand_for(make_run, runs_root) -> None:
    make_run("alpha", search=0.1, seed=1)
    make_run("alpha", search=0.1, seed=2)
    other = CARD | {"alignment_1": 4.0, "alignment_2": 5.0}
    quality, card = identifier_grids(group_of(runs_root, {"text": CARD}, {"text": other}))
    assert quality.stem == "tiny-paper-laptop-identifiers"
    assert card.stem == "tiny-paper-laptop-identifier-card"
    expected = ["Alpha", "text", "50 / 25", "12 / 75", "3.0", "4.0", "30.0", "90.0"]
    assert texts(card) == [expected]
    assert len(card.head) == len(expected)


def test_there_is_no_card_where_runs_say_nothing_of_prefixes(make_run, runs_root) -> None:
    make_run("alpha", search=0.1)
    (quality,) = identifier_grids(group_of(runs_root, {"text": FIGURES}))
    assert quality.stem.endswith("-identifiers")


def test_a_record_from_before_there_were_figures_is_read(make_run) -> None:
    record = make_run("alpha", search=0.1).record
    old = json.loads(record.model_dump_json())
    del old["identifiers"]
    assert RunRecord.model_validate(old).identifiers == {}
