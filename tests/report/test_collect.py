"""Which runs count, which are left aside, and that each of the latter has its sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.files import MANIFEST, write_json, write_manifest
from benchmark.jobs.record import METRICS_FILE, RUN_FILE
from benchmark.report.reading.collect import Collection, collect


def only_group(collection: Collection):
    assert len(collection.groups) == 1
    return collection.groups[0]


def test_one_group_for_comparable_runs(make_run, runs_root: Path) -> None:
    make_run("alpha", recommendation=0.1)
    make_run("beta", search=0.2)
    collection = collect(runs_root)
    assert len(only_group(collection).runs) == 2
    assert only_group(collection).variant == ""
    assert collection.sentences == ()


@pytest.mark.parametrize(
    "other",
    [
        {"protocol": "released"},
        {"preset": "smoke"},
        {"dataset": "other"},
        {"fingerprint": "f1"},
        {"settings": {"ties": "pessimistic"}},
    ],
)
def test_what_differs_is_never_mixed(make_run, runs_root: Path, other: dict) -> None:
    make_run("alpha", recommendation=0.1)
    make_run("beta", recommendation=0.2, **other)
    groups = collect(runs_root).groups
    assert [len(group.runs) for group in groups] == [1, 1]
    assert len({group.key.stem(group.variant) for group in groups}) == 2


def test_equal_names_are_told_apart_by_a_hash(make_run, runs_root: Path) -> None:
    make_run("alpha", recommendation=0.1, fingerprint="f0")
    make_run("alpha", recommendation=0.2, fingerprint="f1")
    make_run("alpha", recommendation=0.3, dataset="else")
    variants = {group.key.dataset: [] for group in collect(runs_root).groups}
    for group in collect(runs_root).groups:
        variants[group.key.dataset].append(group.variant)
    assert variants["else"] == [""]
    assert len(set(variants["tiny"])) == 2
    assert all(len(variant) == 8 for variant in variants["tiny"])


def test_names_that_look_alike_in_a_file_name_are_told_apart(make_run, runs_root: Path) -> None:
    make_run("alpha", recommendation=0.1, dataset="a/b")
    make_run("alpha", recommendation=0.1, dataset="a_b")
    make_run("alpha", recommendation=0.1, dataset="A_B")
    groups = collect(runs_root).groups
    assert len({group.key.stem(group.variant).casefold() for group in groups}) == 3


def test_the_newest_run_of_a_seed_counts(make_run, runs_root: Path) -> None:
    old = make_run("alpha", recommendation=0.3, finished_at="2026-01-01T10:00:00+00:00")
    # A later instant although its text sorts first: 11:30 in UTC.
    new = make_run("alpha", recommendation=0.1, finished_at="2025-12-31T23:30:00-12:00")
    collection = collect(runs_root)
    assert only_group(collection).runs == (new,)
    (sentence,) = collection.sentences
    assert "alpha" in sentence and str(old.folder) in sentence and str(new.folder) in sentence


def test_utc_may_be_written_as_z(make_run, runs_root: Path) -> None:
    make_run("alpha", recommendation=0.3, finished_at="2026-01-01T10:00:00Z")
    assert collect(runs_root).sentences == ()


def test_configurations_are_never_averaged(make_run, runs_root: Path) -> None:
    older = "2026-01-01T00:00:00+00:00"
    make_run("alpha", recommendation=0.3, seed=1, configuration={"dim": 8}, finished_at=older)
    make_run("alpha", recommendation=0.3, seed=2, configuration={"dim": 8}, finished_at=older)
    new = make_run(
        "alpha",
        recommendation=0.1,
        seed=1,
        configuration={"dim": 16},
        finished_at="2026-01-02T00:00:00+00:00",
    )
    collection = collect(runs_root)
    assert only_group(collection).runs == (new,)
    (sentence,) = collection.sentences
    assert "different configurations" in sentence


def test_other_candidate_lists_are_left_aside(make_run, runs_root: Path) -> None:
    old = make_run("alpha", recommendation=0.3, candidates="old")
    new = make_run(
        "beta", recommendation=0.1, candidates="new", finished_at="2026-01-02T00:00:00+00:00"
    )
    collection = collect(runs_root)
    assert only_group(collection).runs == (new,)
    (sentence,) = collection.sentences
    assert "candidate lists" in sentence and str(old.folder) in sentence


def cut_the_record(folder: Path) -> None:
    (folder / RUN_FILE).write_text('{"schema_version": 1')


def remove_the_record(folder: Path) -> None:
    (folder / RUN_FILE).unlink()


def remove_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def empty_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text("[]")


def garble_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text('{"files": {"run.json": 3}}')


def change_a_metric(folder: Path) -> None:
    path = folder / METRICS_FILE
    path.write_text(path.read_text().replace("0.1", "0.9", 1))


def raise_the_schema_version(folder: Path) -> None:
    record = json.loads((folder / RUN_FILE).read_text())
    write_json(folder / RUN_FILE, {**record, "schema_version": 99})
    write_manifest(folder)


def drop_a_field(folder: Path) -> None:
    record = json.loads((folder / RUN_FILE).read_text())
    del record["dataset"]
    write_json(folder / RUN_FILE, record)
    write_manifest(folder)


def misname_the_time(folder: Path) -> None:
    record = json.loads((folder / RUN_FILE).read_text())
    write_json(folder / RUN_FILE, {**record, "finished_at": "yesterday"})
    write_manifest(folder)


def store_metrics_as_a_list(folder: Path) -> None:
    write_json(folder / METRICS_FILE, [1, 2])
    write_manifest(folder)


def rename_to_a_writers_part(folder: Path) -> None:
    folder.rename(folder.with_name(".partial-0123-" + folder.name))


DAMAGES = (
    cut_the_record,
    remove_the_record,
    remove_the_manifest,
    empty_the_manifest,
    garble_the_manifest,
    change_a_metric,
    raise_the_schema_version,
    drop_a_field,
    misname_the_time,
    store_metrics_as_a_list,
    rename_to_a_writers_part,
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_folder_is_named_and_the_rest_is_read(make_run, runs_root, damage) -> None:
    damaged = make_run("alpha", recommendation=0.1)
    whole = make_run("beta", recommendation=0.2)
    damage(damaged.folder)
    collection = collect(runs_root)
    assert only_group(collection).runs == (whole,)
    (sentence,) = collection.sentences
    assert damaged.folder.name in sentence


def test_the_root_may_be_one_run_folder(make_run) -> None:
    run = make_run("alpha", recommendation=0.1)
    assert only_group(collect(run.folder)).runs == (run,)


def test_nothing_is_found_where_there_is_nothing(tmp_path: Path) -> None:
    assert collect(tmp_path / "absent") == Collection((), ())
