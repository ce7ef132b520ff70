"""Shares of the ceiling, and the table of what tuning took."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from benchmark.files import read_json, write_json, write_manifest
from benchmark.jobs.record import RUN_FILE, Run, SettingsPart, read_run
from benchmark.report.reading.collect import collect
from benchmark.report.reference import write_reference
from benchmark.report.shown import write_shown_of
from benchmark.report.tables.ceiling import ceiling_grid
from benchmark.report.tables.effort_table import effort_grid
from benchmark.report.tables.grid import to_csv
from benchmark.report.whole import make_report
from benchmark.systems.configuration import Tuning
from tests.report.conftest import MakeRun, drawn_ranks


def rows(root: Path, make: Any) -> list[dict[str, str]]:
    (group,) = collect(root).groups
    return list(csv.DictReader(io.StringIO(to_csv(make(group)))))


def test_figures_are_set_against_those_of_the_one_that_knows(
    make_run: MakeRun, runs_root: Path
) -> None:
    ceiling = {"family": "references", "display_name": "Planted rule"}
    make_run("planted-rule", recommendation=0.4, search=0.2, **ceiling)
    for seed, level in ((1, 0.1), (2, 0.2)):
        make_run("unisar", recommendation=level, search=0.2, seed=seed, family="joint")
    make_run("sasrec", recommendation=0.4)
    found = {row["System"]: row for row in rows(runs_root, ceiling_grid)}
    share = {name: row["Recommendation %"] for name, row in found.items()}
    assert share == {"Planted rule": "100", "Unisar": "37.5", "Sasrec": "100"}
    assert found["Unisar"]["Search %"] == "100" and found["Unisar"]["Recommendation HR@1"] == "0.15"
    assert not found["Sasrec"]["Search %"].strip("–")


def test_without_one_that_knows_there_is_no_such_table(make_run: MakeRun, runs_root: Path) -> None:
    make_run("sasrec", recommendation=0.4)
    (group,) = collect(runs_root).groups
    assert ceiling_grid(group) is None and effort_grid(group) is None


def test_the_one_that_knows_is_no_row_that_should_be_beaten(
    make_run: MakeRun, runs_root: Path
) -> None:
    known = {"family": "references", "recommendation": drawn_ranks(0.4)}
    make_run("planted-rule", display_name="Planted rule", **known)
    make_run("sasrec", recommendation=drawn_ranks(0.1))
    (group,) = make_report(runs_root).groups
    assert "unbeaten" not in group.views["lists"].main["recommendation"].caption
    make_run("popularity", display_name="Popularity", **known)
    (group,) = make_report(runs_root).groups
    (above,) = group.views["lists"].main["recommendation"].above
    assert "Popularity" in above and "Planted" not in above


def tuned(run: Run, **changes: Any) -> None:
    """Write into a record that its settings are a study's."""
    given = {
        "dataset": "tiny",
        "protocol": "paper",
        "seed": 1,
        "most_trials": 12,
        "most_minutes": 20.0,
        "clock": "CPU",
        "trials": 12,
        "pruned": 3,
        "failed": 1,
        "best_trial": 7,
        "metric": "validation NDCG@5",
        "validation": 0.25,
        "published": 0.2,
        "code": "c",
        "minutes": 18.25,
        **changes,
    }
    settings = SettingsPart(chosen="tuned", tuning=Tuning(**given))
    record = read_json(run.folder / RUN_FILE)
    record["settings"] = settings.model_dump(mode="json")
    write_json(run.folder / RUN_FILE, record)
    (run.folder / "manifest.json").unlink()
    write_manifest(run.folder)


def test_trials_and_minutes_of_each_system_are_told(make_run: MakeRun, runs_root: Path) -> None:
    tuned(make_run("sasrec", recommendation=0.4))
    make_run("gru4rec", recommendation=0.3)
    (group,) = collect(runs_root).groups
    grid = effort_grid(group)
    assert grid is not None
    assert "at most 12 trials, none begun after 20 CPU minutes, on tiny, the same" in grid.caption
    found = {row["System"]: row for row in rows(runs_root, effort_grid)}
    assert found["Sasrec"]["Minutes"] == "18.25" and found["Sasrec"]["Best"] == "0.25"
    assert found["Gru4Rec"]["Minutes"] == "–"


def test_unequal_budgets_are_not_called_the_same(make_run: MakeRun, runs_root: Path) -> None:
    tuned(make_run("sasrec", recommendation=0.4))
    tuned(make_run("gru4rec", recommendation=0.3), most_trials=3)
    (group,) = collect(runs_root).groups
    grid = effort_grid(group)
    assert grid is not None and "the same" not in grid.caption and "at most 3" in grid.caption


def test_both_stand_beside_reference_runs(
    make_run: MakeRun, runs_root: Path, tmp_path: Path
) -> None:
    make_run("planted-rule", family="references", recommendation=drawn_ranks(0.4))
    tuned(make_run("sasrec", recommendation=drawn_ranks(0.1)))
    out = tmp_path / "reference"
    for group in collect(runs_root).groups:
        for run in group.runs:
            write_reference(read_run(run.folder), out)
    write_shown_of(out, "tiny-paper-laptop")
    names = {path.name for path in (out / "tiny-paper-laptop").glob("*.md")}
    assert {"ceiling.md", "tuning.md", "recommendation.md"} <= names
