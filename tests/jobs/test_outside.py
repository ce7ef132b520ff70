"""A system that ran elsewhere: its files become a run with a row in every table.

The world is generated, its scores are those of a system whose own run stands beside.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import BenchmarkError
from benchmark.files import build_folder, read_json, write_json
from benchmark.jobs.outside import files_in, rank_files
from benchmark.jobs.record import OUTSIDE_PRESET, Run, find_run_folders, read_run
from benchmark.protocol.__main__ import main
from benchmark.protocol.outside import event_ids
from benchmark.protocol.trec import item_words
from benchmark.report.build import build_report
from benchmark.report.group import group_report
from benchmark.report.reading.collect import collect
from benchmark.report.reference import write_references
from benchmark.report.tables.metrics import main_table
from benchmark.serve.loading import load as load_model
from tests.handed_in import BOTH, RECIPE, SETTINGS, World, make_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def handed_in(world: World) -> Path:
    return world.write(world.root / "mine")


@pytest.fixture(scope="module")
def results(world: World, handed_in: Path) -> Path:
    """A results folder with the run, which tests only read."""
    place = world.root / "results"
    given = ("--label", "My system", "--contributor", "A. Author", "--url", "https://example.org")
    assert world.evaluate(handed_in, place, *given, "--hardware", "an abacus") == 0
    return place


def runs_in(results: Path) -> list[Run]:
    return [read_run(folder) for folder in find_run_folders(results / "runs")]


def test_a_folder_becomes_one_run_with_both_tasks_and_views(results: Path, world: World) -> None:
    (run,) = runs_in(results)
    record = run.record
    assert (record.system.name, record.system.display_name) == ("mine", "My system")
    assert (record.system.family, record.preset, record.system.tasks) == (
        "outside",
        OUTSIDE_PRESET,
        BOTH,
    )
    assert record.protocol.settings == SETTINGS.model_dump(mode="json")
    assert record.dataset.fingerprint == world.dataset.fingerprint
    assert record.outside is not None
    assert sorted(record.outside.files) == sorted(files_names(both=True))
    for view in ("lists", "all-items"):
        assert set(run.metrics_of(view)) == set(BOTH)
        assert all(0 < values["HR@10"] < 1 for values in run.metrics_of(view).values())
    for name in BOTH:
        assert 0.0 < record.system.left_out[name] < 1.0  # 30 of 150 items were named


def own_run(results: Path, place: Path, preset: str) -> None:
    """A run of the suite's own on the same lists: what was handed in, as if it ran here."""
    (mine,) = runs_in(results)
    record = read_json(mine.folder / "run.json")
    record["system"] |= {"name": "popularity", "display_name": "Popularity", "family": "references"}
    record |= {"outside": None, "preset": preset, "identity": preset}
    copy_of(mine, record, place / "runs" / preset)


def copy_of(run: Run, record: dict[str, Any], target: Path) -> None:
    """A run folder with another record."""

    def fill(folder: Path) -> None:
        write_json(folder / "run.json", record)
        for name in ("metrics.json", "ranks.parquet"):
            shutil.copy2(run.folder / name, folder / name)

    build_folder(target, fill)


def files_names(both: bool) -> list[str]:
    return [*BOTH, *(f"{name}-all-items" for name in BOTH)] if both else list(BOTH)


def test_it_has_its_row_in_every_group_of_its_data_and_protocol(
    results: Path, tmp_path: Path
) -> None:
    """Beside runs of the suite under two presets, in both views, with interval and marks."""
    copy = Path(shutil.copytree(results, tmp_path / "results"))
    for preset in ("smoke", "laptop"):
        own_run(results, copy, preset)
    groups = {group.key.preset: group for group in collect(copy / "runs").groups}
    assert sorted(groups) == ["laptop", "smoke"]
    for group in groups.values():
        assert "mine" in {run.record.system.name for run in group.runs}
    report = group_report(groups["smoke"])
    for view in ("lists", "all-items"):
        for task in BOTH:
            (row,) = [r for r in report.views[view].main[task].rows if r.system == "mine"]
            assert row.status == "finished" and all(cell.interval for cell in row.cells)
            assert row.cells[0].mark == "best"  # the only one that is no reference
    table = report.views["all-items"].main["search"]
    notes = " ".join(note.text for note in table.footnotes)
    (run,) = (run for run in groups["smoke"].runs if run.record.system.name == "mine")
    share = run.record.system.left_out["search"]
    assert f"leaves out {share:.1%} of the targets: they stand, tied" in notes
    by = "Ranked from scores that A. Author handed in (https://example.org), made on an abacus."
    assert by in notes and "abacus" not in report.own_grids[-1].caption
    (costs,) = (grid for grid in report.own_grids if grid.stem.endswith("-efficiency"))
    assert [row[0].whole for row in costs.rows] == ["Popularity"]  # nothing of mine ran here


def test_alone_it_has_tables_of_its_own(results: Path, tmp_path: Path) -> None:
    report = build_report(results / "runs", tmp_path)
    assert {table.stem for table in report.tables} == {
        f"tiny-paper-outside-{name}" for name in files_names(both=True)
    }


def test_the_same_command_records_nothing_twice(
    world: World, handed_in: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def record(*more: str) -> str:
        assert world.evaluate(handed_in, tmp_path, *more) == 0
        said = capsys.readouterr()
        shown.append(said.out)
        return said.err.partition(":")[0]

    shown: list[str] = []
    assert record() == "recorded"
    (first,) = runs_in(tmp_path)
    assert record() == "was recorded before"
    assert read_run(first.folder).record.finished_at == first.record.finished_at
    assert record("--fresh") == "recorded"
    (again,) = runs_in(tmp_path)
    assert again.folder == first.folder and again.record.finished_at > first.record.finished_at
    assert again.metrics_of_views() == first.metrics_of_views()
    assert len(set(shown)) == 1  # figures are printed either way
    assert record("--seed", "1") == record("--label", "Other") == "recorded"
    assert len(runs_in(tmp_path)) == 3


def test_changed_files_count_in_place_of_older_ones(
    world: World, handed_in: Path, tmp_path: Path
) -> None:
    assert world.evaluate(handed_in, tmp_path / "results", "--name", "mine") == 0
    copy = Path(shutil.copytree(handed_in, tmp_path / "copy"))
    lines = (copy / "search.trec").read_text().splitlines()
    changed = [" ".join([*line.split()[:4], str(len(line)), "x"]) for line in lines]
    (copy / "search.trec").write_text("\n".join(changed))
    assert world.evaluate(copy, tmp_path / "results", "--name", "mine") == 0
    collection = collect(tmp_path / "results" / "runs")
    (run,) = collection.groups[0].runs
    newest = max(runs_in(tmp_path / "results"), key=lambda one: one.record.finished_at)
    assert run.record.identity == newest.record.identity
    assert any("the newest counts" in sentence for sentence in collection.sentences)


def test_a_packed_file_of_one_view_is_enough(world: World, handed_in: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed.trec.gz"
    packed.write_bytes(gzip.compress((handed_in / "search.trec").read_bytes()))
    place = tmp_path / "results"
    assert world.evaluate(packed, place, "--task", "search", "--family", "joint") == 0
    (run,) = runs_in(place)
    assert (run.record.system.name, run.record.system.family) == ("packed", "joint")
    assert run.record.system.tasks == ("search",) and run.all_items == {}
    (whole,) = runs_in(results_of(world, handed_in, tmp_path))
    assert run.metrics["search"] == whole.metrics["search"]


def results_of(world: World, run: Path, folder: Path) -> Path:
    assert world.evaluate(run, folder / "whole") == 0
    return folder / "whole"


def test_a_view_without_a_file_says_so_in_its_table(
    world: World, handed_in: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "part"
    folder.mkdir()
    for name in ("search.trec", "recommendation.trec", "recommendation-all-items.trec"):
        shutil.copy2(handed_in / name, folder / name)
    shutil.copytree(handed_in, tmp_path / "other")
    assert world.evaluate(folder, tmp_path / "results") == 0
    assert world.evaluate(tmp_path / "other", tmp_path / "results") == 0
    (group,) = collect(tmp_path / "results" / "runs").groups
    table = main_table("search", group.runs, view="all-items")
    statuses = {row.system: row.status for row in table.rows}
    assert statuses == {"part": "failed", "other": "finished"}
    told = "part: No scores of it were handed in for all items that the protocol admits."
    assert told in {note.text for note in table.footnotes}


def test_candidates_without_a_score_are_told_under_the_table(
    world: World, handed_in: Path, tmp_path: Path
) -> None:
    task, folder = world.tasks["search"], tmp_path / "gaps"
    folder.mkdir()
    words = item_words(world.dataset.items.external_id)
    targets = world.dataset.log.item[task.test.position]
    lost = {f"{event} {words[t]}" for event, t in zip(event_ids(task), targets, strict=True)}
    lost = set(sorted(lost)[: len(lost) // 2])
    lines = (handed_in / "search.trec").read_text().splitlines()
    kept = [line for line in lines if " ".join(line.split()[:3:2]) not in lost]
    (folder / "search.trec").write_text("\n".join(kept))
    assert world.evaluate(folder, tmp_path / "results") == 0
    table = main_table("search", runs_in(tmp_path / "results"))
    share = len(lost) / len(targets)
    told = f"They leave {share:.1%} of the targets out of their lists, which count as missed."
    assert any(told in note.text for note in table.footnotes)


def test_a_record_is_whole_or_not_there(
    world: World, handed_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("benchmark.jobs.outside.write_ranks", broken)
    with pytest.raises(RuntimeError):
        world.evaluate(handed_in, tmp_path)
    assert not find_run_folders(tmp_path / "runs")
    assert not [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]


# What does not fit is refused with one sentence and exit code 2, and nothing is recorded


def refused(
    world: World, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *more: str
) -> str:
    capsys.readouterr()
    assert world.evaluate(run, tmp_path / "none", *more) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1
    assert not find_run_folders(tmp_path / "none")
    return said.err.removeprefix("error: ").strip()


@pytest.mark.parametrize(
    "other",
    [
        ("--protocol", "released"),
        ("--set", "protocol.negatives=50"),
        ("--set", "protocol.history_cut=strict-time"),
        ("--set", "protocol.search_all_items=without-relevant"),
        ("--set", "protocol.seed=1"),
    ],
    ids=lambda other: other[1],
)
def test_lists_of_another_protocol_are_refused_by_fingerprint(
    other: tuple[str, str],
    world: World,
    handed_in: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in files_names(both=True):
        path = handed_in / f"{name}.trec"
        task, _, view = name.partition("-")
        said = refused(
            world, path, tmp_path, capsys, "--task", task, "--view", view or "lists", *other
        )
        assert said.startswith(f"{path}: line 1: event '{task}-test-000000-")
        assert "is of another data set, protocol or setting than the chosen ones" in said


def test_lists_of_another_data_set_are_refused(
    world: World, handed_in: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "other.yaml"
    recipe.write_text(
        RECIPE.replace("tiny", "other").replace("seed: 3", "seed: 4"), encoding="utf-8"
    )
    place = ["--prepared", str(tmp_path / "prepared"), "--results", str(tmp_path / "none")]
    assert main(["evaluate", str(recipe), *place, "--run", str(handed_in)]) == 2
    assert "is of another data set, protocol or setting" in capsys.readouterr().err


def test_ids_without_a_fingerprint_are_refused(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "search.trec"
    old.write_text("search-test-000000 Q0 x 1 1.0 t\n")
    said = refused(world, old, tmp_path, capsys, "--task", "search")
    assert "line 1: event 'search-test-000000' has no fingerprint at its end" in said


Spoil = Callable[[list[str]], list[str]]


def with_score(text: str) -> Spoil:
    def spoil(lines: list[str]) -> list[str]:
        fields = lines[6].split()
        return [*lines[:6], " ".join([*fields[:4], text, "t"]), *lines[7:]]

    return spoil


SPOILT: dict[str, tuple[Spoil, str]] = {
    "nan": (with_score("nan"), "line 7: the score of event"),
    "infinite": (with_score("inf"), "line 7: the score of event"),
    "no number": (with_score("good"), "line 7: score 'good' must be a number"),
    "double item": (lambda lines: [*lines, lines[4]], "stands twice for event"),
    "unknown event": (
        lambda lines: [lines[0].replace("-000000-", "-999999-"), *lines[1:]],
        "line 1: unknown event",
    ),
    "unknown item": (
        lambda lines: [" ".join([*lines[0].split()[:2], "nothing", "1 1.0 t"]), *lines[1:]],
        "line 1: unknown item 'nothing'",
    ),
    "missing event": (
        lambda lines: [line for line in lines if "-000003-" not in line],
        "there is no line for event",
    ),
    "cut line": (lambda lines: [*lines[:-1], " ".join(lines[-1].split()[:3])], "has 3 fields"),
    "cut file": (lambda lines: lines[: len(lines) // 2], "there is no line for event"),
}


@pytest.mark.parametrize("fault", SPOILT)
@pytest.mark.parametrize("name", ["search", "search-all-items"])
def test_a_fault_of_a_file_is_one_sentence(
    name: str,
    fault: str,
    world: World,
    handed_in: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil, sentence = SPOILT[fault]
    folder = Path(shutil.copytree(handed_in, tmp_path / "spoilt"))
    path = folder / f"{name}.trec"
    lines = spoil(path.read_text(encoding="utf-8").splitlines())
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    said = refused(world, folder, tmp_path, capsys)
    assert said.startswith(f"{path}: ") and sentence in said


def test_a_cut_packed_file_is_one_sentence(
    world: World, handed_in: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "search.trec.gz"
    content = gzip.compress((handed_in / "search.trec").read_bytes())
    path.write_bytes(content[: len(content) // 2])
    assert "cannot be read" in refused(world, path, tmp_path, capsys, "--task", "search")
    path.write_bytes(b"no gzip")
    assert "cannot be read" in refused(world, path, tmp_path, capsys, "--task", "search")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("--name", "sasrec"), "--name 'sasrec': is a system of the suite"),
        (("--name", "a/b"), "--name 'a/b': must be at most 60 of A-Z"),
        (("--name", "x@row"), "--name 'x@row': must be"),
        (("--family", "jont"), "--family: unknown family 'jont' (did you mean 'joint'?)"),
        (("--url", "example.org"), "--url 'example.org': must begin with https://"),
        (("--label", "two\nlines"), "--label 'two\\nlines': must be at most"),
        (("--seed", "-1"), "--seed -1: must be from 0"),
        (("--set", "protocol.negative=5"), "negative: there is no such key"),
        (("--protocol", "papers"), "did you mean 'paper'"),
    ],
)
def test_a_wrong_option_is_one_sentence(
    given: tuple[str, str],
    sentence: str,
    world: World,
    handed_in: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert sentence in refused(world, handed_in, tmp_path, capsys, *given)


def test_a_folder_of_other_names_is_one_sentence(
    world: World, handed_in: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    assert "holds no run; one is called recommendation.trec or" in refused(
        world, folder, tmp_path, capsys
    )
    shutil.copy2(handed_in / "search.trec", folder / "search.trec")
    assert refused(world, folder, tmp_path, capsys, "--view", "all-items").endswith(
        "holds no run of the chosen task and view."
    )
    (folder / "search.trec.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(BenchmarkError, match=r"is there beside search\.trec"):
        files_in(folder)
    (folder / "search.trec.gz").rename(folder / "searches.trec.gz")
    assert "searches.trec.gz: is no name of a run; allowed are" in refused(
        world, folder, tmp_path, capsys
    )
    said = refused(world, tmp_path / "absent", tmp_path, capsys)
    assert said == f"--run {tmp_path / 'absent'}: there is no such file or folder."
    said = refused(world, handed_in / "search.trec", tmp_path, capsys)
    assert said.startswith("--task: is needed where --run is a file")


def test_a_task_that_the_data_set_lacks_is_one_sentence(world: World, handed_in: Path) -> None:
    only = {"search": world.tasks["search"]}
    with pytest.raises(BenchmarkError, match="data set tiny has no recommendation events"):
        rank_files(files_in(handed_in), world.dataset, only, SETTINGS)


def test_a_run_on_other_lists_is_left_aside_and_not_the_others(
    results: Path, tmp_path: Path
) -> None:
    """As after a change of the code that draws lists, when only the outside run is newer."""
    place = tmp_path / "results"
    own_run(results, place, "smoke")
    (mine,) = runs_in(results)
    record = read_json(mine.folder / "run.json")
    record["protocol"]["candidates"]["search"] = "others"

    copy_of(mine, record, place / "runs" / "mine")
    collection = collect(place / "runs")
    (group,) = collection.groups
    assert [run.record.system.name for run in group.runs] == ["popularity"]
    (sentence,) = collection.sentences
    assert "was ranked on other candidate lists than the newest run of tiny" in sentence


def test_the_page_says_who_handed_it_in_and_there_is_nothing_to_load(
    results: Path, tmp_path: Path
) -> None:
    build_report(results / "runs", tmp_path, html=True)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<dd>A. Author, made on an abacus, https://example.org</dd>" in page
    with pytest.raises(BenchmarkError, match="was handed in as scores; there is no system to load"):
        load_model(runs_in(results)[0].folder)


def test_reference_runs_keep_it_as_a_guest(results: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(results, tmp_path / "results"))
    own_run(results, copy, "smoke")
    (folder,), _ = write_references(copy / "runs", tmp_path / "reference")
    (group,) = collect(folder).groups
    assert [run.record.system.name for run in group.runs] == ["mine", "popularity"]
    assert read_run(folder / "runs" / "mine-0").record.preset == OUTSIDE_PRESET


def test_records_of_before_have_no_outside_part(results: Path) -> None:
    """And the suite's own: they are read as they are."""
    (run,) = runs_in(results)
    content = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
    del content["outside"]
    assert type(run.record).model_validate(content).outside is None
