"""Tables say how settings were chosen, and mark rows whose training a cap has ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmark.jobs.record import Run, SettingsPart, find_run_folders, read_run
from benchmark.report.reference import write_references
from benchmark.report.tables.effort import capped_sentence, ended_by_its_cap, settings_footnote
from benchmark.report.tables.metrics import main_table
from benchmark.report.tables.printed import as_grid
from benchmark.systems.configuration import Tuning
from tests.report.conftest import write_run

TUNING = Tuning(
    dataset="tiny",
    protocol="paper",
    seed=1,
    most_trials=12,
    most_minutes=20.0,
    clock="CPU",
    trials=9,
    pruned=3,
    failed=0,
    best_trial=4,
    metric="validation NDCG@5",
    validation=0.2,
    published=0.1,
    code="c",
    minutes=3.21,
)


def with_settings(run: Run, settings: SettingsPart | None) -> Run:
    return run.model_copy(update={"record": run.record.model_copy(update={"settings": settings})})


def said_of(runs: Sequence[Run]) -> str:
    table = main_table("recommendation", runs)
    found = settings_footnote(table.rows, runs)
    notes = [note.text for note in table.footnotes]
    assert (found is None) == (not any(note.startswith("Settings") for note in notes))
    assert found is None or found.text in notes
    return "" if found is None else found.text


def test_each_way_of_choosing_is_named_with_its_systems(tmp_path: Path) -> None:
    ways = {
        "gru4rec": SettingsPart(chosen="published"),
        "sasrec": SettingsPart(chosen="preset"),
        "lrurec": SettingsPart(chosen="tuned", tuning=TUNING),
        "fmlp-rec": SettingsPart(chosen="preset", is_changed=True),
    }
    runs = [
        with_settings(write_run(tmp_path, name, recommendation=0.2), way)
        for name, way in ways.items()
    ]
    runs.append(write_run(tmp_path, "popularity", family="references", recommendation=0.1))
    said = said_of(runs)
    assert "Gru4Rec: published defaults" in said
    assert "Sasrec: preset laptop;" in said or "Sasrec: preset laptop." in said
    assert "Fmlp-Rec: preset laptop, some of them changed by hand" in said
    assert (
        "Lrurec: tuned on validation lists of tiny with 9 trials in 3.2 CPU minutes "
        "(allowed: 12, 20)" in said
    )
    assert "Popularity" not in said


def test_what_all_share_is_said_once(tmp_path: Path) -> None:
    runs = [
        with_settings(write_run(tmp_path, name, recommendation=0.2), SettingsPart(chosen="preset"))
        for name in ("gru4rec", "sasrec")
    ]
    assert said_of(runs) == "Settings of every trained system: preset laptop."


def test_what_most_share_is_said_of_all_others(tmp_path: Path) -> None:
    runs = [
        with_settings(
            write_run(tmp_path, f"s{i}", recommendation=0.2), SettingsPart(chosen="preset")
        )
        for i in range(5)
    ]
    runs.append(
        with_settings(
            write_run(tmp_path, "gru4rec", recommendation=0.2), SettingsPart(chosen="published")
        )
    )
    assert said_of(runs) == "Settings. Gru4Rec: published defaults; all others: preset laptop."


def test_records_of_before_say_nothing(tmp_path: Path) -> None:
    assert said_of([write_run(tmp_path, "gru4rec", recommendation=0.2)]) == ""


def test_minutes_that_are_gone_are_not_invented(tmp_path: Path) -> None:
    tuning = TUNING.model_copy(update={"minutes": None})
    run = with_settings(
        write_run(tmp_path, "gru4rec", recommendation=0.2),
        SettingsPart(chosen="tuned", tuning=tuning),
    )
    assert "9 trials in an unknown number of CPU minutes" in said_of([run])


@pytest.mark.parametrize(
    ("curve", "is_capped"),
    [
        ((0.1, 0.2, 0.3), True),
        ((0.1, 0.3, 0.2), False),
        ((0.1, 0.3, 0.3), False),
        ((0.2,), True),
        ((), False),
    ],
)
def test_the_last_epoch_is_the_best_one(
    tmp_path: Path, curve: tuple[float, ...], is_capped: bool
) -> None:
    run = write_run(tmp_path, recommendation=0.2, curve=curve)
    assert ended_by_its_cap(run) == is_capped
    table = as_grid(main_table("recommendation", [run]))
    notes = [note.text for note in table.footnotes]
    assert any("Its best epoch is its last" in note for note in notes) == is_capped
    assert bool(table.groups[0].rows[0][0].raised) == is_capped


def test_some_seeds_are_told_from_all(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path, recommendation=0.2, seed=seed, curve=curve)
        for seed, curve in enumerate(((0.1, 0.2), (0.2, 0.1), (0.1, 0.3)))
    ]
    assert capped_sentence(runs).startswith("In 2 of 3 runs its best epoch is its last")


def test_a_reference_run_is_marked_as_its_run_is(tmp_path: Path) -> None:
    close = (0.1234561, 0.1234568)  # equal in the digits that a reference run keeps
    run = write_run(tmp_path / "runs", recommendation=0.2, curve=close)
    write_references(tmp_path / "runs", tmp_path / "reference")
    (folder,) = find_run_folders(tmp_path / "reference")
    assert ended_by_its_cap(read_run(folder)) == ended_by_its_cap(run)
