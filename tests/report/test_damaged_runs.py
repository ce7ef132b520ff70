"""Runs that are damaged, odd or on their way out: each has a sentence, and the report goes on."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.errors import BenchmarkError
from benchmark.files import remove_folder, write_manifest
from benchmark.jobs.record import METRICS_FILE, RANKS_FILE, RUN_FILE, find_run_folders
from benchmark.report.build import build_report
from benchmark.report.reading.collect import collect
from benchmark.report.reading.rank_tables import MOST_EVENTS
from benchmark.report.reading.ranks import EventRanks, read_ranks
from benchmark.report.reading.top import TOP_FILE, read_top, write_top
from benchmark.report.whole import make_report
from tests.report.conftest import drawn_ranks, write_run


def ranks_table(path: Path, rows: int = 5, **columns: Any) -> Path:
    of_rows: dict[str, Any] = {
        "task": pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), ["search"]),
        "event": np.arange(rows),
        "above": np.zeros(rows, np.int32),
        "tied": np.zeros(rows, np.int32),
        "returned": np.ones(rows, np.bool_),
    }
    pq.write_table(pa.table({**of_rows, **columns}), path, write_page_checksum=True)
    return path


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("above", np.full(5, -1, np.int32)),
        ("above", np.full(5, 101, np.int32)),
        ("above", np.full(5, 2**31 - 1, np.int32)),
        ("above", np.full(5, 2**62)),
        ("above", np.full(5, np.nan)),
        ("tied", np.full(5, -(2**31), np.int32)),
        ("tied", np.full(5, 2**63 - 1)),
        ("tied", pa.array([1, 2, None, 4, 5])),
        ("event", pa.array(["1"] * 5)),
        ("returned", np.ones(5, np.int8)),
        ("task", pa.array([b"search"] * 5)),
        ("task", pa.array(["s" * 5_000_000] * 5)),
        ("task", pa.array([None] * 5, pa.string())),
    ],
)
def test_a_table_with_values_that_are_no_ranks(column: str, values: Any, tmp_path: Path) -> None:
    path = ranks_table(tmp_path / RANKS_FILE, **{column: values})
    with pytest.raises(BenchmarkError, match="is not a table of ranks") as caught:
        read_ranks(path, most_candidates=100)
    assert len(str(caught.value)) < len(str(path)) + 400


@pytest.mark.parametrize("column", ["task", "event", "above", "tied", "returned"])
def test_a_table_without_one_of_its_columns(column: str, tmp_path: Path) -> None:
    path = ranks_table(tmp_path / RANKS_FILE)
    pq.write_table(pq.read_table(path).rename_columns({column: "other"}), path)
    with pytest.raises(BenchmarkError, match=f"it has no column {column}"):
        read_ranks(path)


def test_a_table_in_another_order_is_put_into_that_of_the_events(tmp_path: Path) -> None:
    order = np.array([3, 0, 4, 1, 2])
    path = ranks_table(tmp_path / RANKS_FILE, event=order, above=10 * order)
    ranks = read_ranks(path, most_candidates=100)["lists"]["search"].ranks
    assert ranks.above.tolist() == [0, 10, 20, 30, 40]


def test_a_table_of_ranks_is_read_as_written(tmp_path: Path) -> None:
    path = ranks_table(tmp_path / RANKS_FILE, above=np.arange(5), tied=np.arange(5)[::-1].copy())
    ranks = read_ranks(path, most_candidates=100)["lists"]["search"].ranks
    assert ranks.above.tolist() == [0, 1, 2, 3, 4] and ranks.tied.tolist() == [4, 3, 2, 1, 0]


def test_a_small_file_with_too_many_rows_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmark.report.reading import rank_tables

    path = ranks_table(tmp_path / RANKS_FILE, 1_500_000, event=np.zeros(1_500_000, np.int64))
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(rank_tables, "MOST_EVENTS", 300_000)
    read: list[int] = []
    whole = rank_tables._refuse_other_values
    monkeypatch.setattr(
        rank_tables,
        "_refuse_other_values",
        lambda batch: (read.append(len(batch)), whole(batch))[1],
    )
    with pytest.raises(BenchmarkError, match="more than 300,000 rows"):
        read_ranks(path)
    assert sum(read) <= 300_000 < MOST_EVENTS


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("search/above", np.full(3, 2**31)),
        ("search/above", np.zeros((3, 1), np.uint8)),
        ("search/tied", np.full(3, -1, np.int8)),
        ("search/tied", np.zeros(2, np.uint8)),
        ("search/tied", np.full(3, np.nan)),
        ("search/histogram", np.full(3, -5)),
    ],
)
def test_a_compact_file_with_values_that_are_no_ranks(
    name: str, values: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / TOP_FILE
    write_top(path, {"lists": {"search": EventRanks(drawn_ranks(0.2, 3))}}, {"lists": 10})
    assert read_top(path)
    with np.load(path) as stored:
        arrays = {**stored, name: values}
    np.savez_compressed(path, **arrays)
    with pytest.raises(BenchmarkError, match="compact form of ranks"):
        read_top(path)


def test_a_compact_file_that_unpacks_to_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / TOP_FILE
    with path.open("wb") as opened:
        np.savez_compressed(opened, **{f"t/{n}": np.zeros(1 << 28, np.uint8) for n in range(5)})
    assert path.stat().st_size < 2_000_000
    with pytest.raises(BenchmarkError, match="it holds more than"):
        read_top(path)


def change(folder: Path, file: str, edit: Callable[[Any], Any]) -> None:
    """Change a JSON file of a run as text would be, and put the manifest right."""
    content = edit(json.loads((folder / file).read_text()))
    (folder / file).write_text(json.dumps(content))
    write_manifest(folder)


ODD_RECORDS: dict[str, Callable[[Path], None]] = {
    "NaN among the settings": lambda folder: change(
        folder,
        RUN_FILE,
        lambda c: {**c, "protocol": {**c["protocol"], "settings": {"x": float("nan")}}},
    ),
    "infinite seconds": lambda folder: change(
        folder, RUN_FILE, lambda c: {**c, "cost": {**c["cost"], "fit_seconds": float("inf")}}
    ),
    "a NaN metric": lambda folder: change(
        folder, METRICS_FILE, lambda c: {**c, "lists": {"recommendation": {"HR@1": float("nan")}}}
    ),
    "no metrics": lambda folder: change(folder, METRICS_FILE, lambda c: {}),
    "metrics of no task": lambda folder: change(
        folder, METRICS_FILE, lambda c: {"lists": {}, "all-items": {}}
    ),
    "a metric that is none": lambda folder: change(
        folder, METRICS_FILE, lambda c: {**c, "lists": {"recommendation": {"HR@0": 1.0}}}
    ),
    "half a character in a name": lambda folder: change(
        folder, RUN_FILE, lambda c: {**c, "preset": "lap\ud800top"}
    ),
    "half a character in a key": lambda folder: change(
        folder,
        RUN_FILE,
        lambda c: {**c, "protocol": {**c["protocol"], "settings": {"\udfff": 1}}},
    ),
    "a number of 5,000 digits": lambda folder: (
        (folder / RUN_FILE).write_text(
            (folder / RUN_FILE).read_text().replace('"seed": 1', '"seed": 1' + "0" * 5000)
        ),
        write_manifest(folder),
    )[0],
    "a number beyond floats": lambda folder: (
        (folder / RUN_FILE).write_text(
            (folder / RUN_FILE).read_text().replace('"fit_seconds": 0.0', '"fit_seconds": 1e999')
        ),
        write_manifest(folder),
    )[0],
    "settings that are a text": lambda folder: change(
        folder,
        RUN_FILE,
        lambda c: {**c, "protocol": {**c["protocol"], "settings": {"ties": ["a"]}}},
    ),
}


@pytest.mark.parametrize("odd", sorted(ODD_RECORDS))
def test_one_odd_record_does_not_lose_the_report(
    odd: str, make_run, runs_root: Path, tmp_path: Path
) -> None:
    damaged = make_run("alpha", recommendation=drawn_ranks(0.1))
    make_run("beta", recommendation=drawn_ranks(0.2))
    make_run("gamma", recommendation=drawn_ranks(0.3))
    ODD_RECORDS[odd](damaged.folder)
    report = build_report(runs_root, tmp_path / "out", html=True)
    assert any(damaged.folder.name in sentence for sentence in report.sentences) or (
        odd == "settings that are a text"  # another protocol, hence another group
    )
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Beta" in text and "Gamma" in text


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["", "é", "\ud800", "NaN", "x" * 3000, "[/x]", "=1", "../..", "\x00", "𝒳"])
)
ODD_VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def places_in(content: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    if isinstance(content, dict):
        found += [place for key in sorted(content) for place in places_in(content[key], (*at, key))]
    return found


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(data=st.data())
def test_any_value_anywhere_in_a_run_does_not_lose_the_report(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("fuzz")
    damaged = write_run(root / "runs", "alpha", recommendation=drawn_ranks(0.1, 40))
    write_run(root / "runs", "beta", recommendation=drawn_ranks(0.2, 40))
    file = data.draw(st.sampled_from([RUN_FILE, RUN_FILE, METRICS_FILE]))
    content = json.loads((damaged.folder / file).read_text())
    place = data.draw(st.sampled_from(places_in(content)))
    inside = content
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = data.draw(ODD_VALUES)
    change(damaged.folder, file, lambda _: content)
    report = build_report(root / "runs", root / "out", html=True)
    text = (root / "out" / "report.html").read_text(encoding="utf-8")
    assert "Beta" in text
    assert all(path.is_file() for path in report.paths)
    shutil.rmtree(root)


def test_reading_bears_folders_that_vanish(make_run, runs_root: Path, tmp_path: Path) -> None:
    """A writer replaces and removes runs as fast as it can while readers read them all."""
    kept = make_run("kept", recommendation=0.2)
    template = write_run(tmp_path / "elsewhere", "changing", recommendation=0.1).folder
    stop, errors, changes = threading.Event(), [], [0]

    def write() -> None:
        try:
            while not stop.is_set():
                target = runs_root / f"d{changes[0] % 5}" / "deep" / template.name
                shutil.copytree(template, target.with_name(".partial-" + template.name))
                target.with_name(".partial-" + template.name).replace(target)
                remove_folder(target)
                shutil.rmtree(target.parents[1])
                changes[0] += 1
        except BaseException as error:
            errors.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        calls = 0
        while calls < 200 or (changes[0] < 50 and writer.is_alive()):
            calls += 1
            collection = collect(runs_root)
            names = [run.folder for group in collection.groups for run in group.runs]
            assert kept.folder in names
            assert not [s for s in collection.sentences if "is still being written" not in s]
            assert kept.folder in find_run_folders(runs_root)
    finally:
        stop.set()
        writer.join()
    assert not errors
    assert changes[0] >= 50


def test_left_over_parts_are_no_older_files(make_run, runs_root: Path, tmp_path: Path) -> None:
    make_run("alpha", recommendation=drawn_ranks(0.1))
    out = tmp_path / "out"
    build_report(runs_root, out)
    (out / "tables" / (".partial-" + "0" * 32 + "-a.tex")).write_text("half")
    (out / "plots" / (".partial-" + "0" * 32 + "-a.pdf")).write_text("half")
    sentences = build_report(runs_root, out).sentences
    assert not [sentence for sentence in sentences if "partial" in sentence]
    (out / "tables" / "older.tex").write_text("whole")
    assert any("older.tex" in sentence for sentence in build_report(runs_root, out).sentences)


def test_nothing_but_damaged_runs_is_a_sentence(make_run, runs_root: Path) -> None:
    run = make_run("alpha", recommendation=0.1)
    ODD_RECORDS["a NaN metric"](run.folder)
    with pytest.raises(BenchmarkError, match="none of its run folders can be read"):
        make_report(runs_root)


def test_names_in_any_script_are_drawn_without_a_word(
    make_run, runs_root: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    for name in ("推薦系統", "검색 시스템", "توصية"):
        make_run(name, display_name=name, recommendation=drawn_ranks(0.2), search=drawn_ranks(0.1))
    build_report(runs_root, tmp_path / "out", html=True)
    assert not [one for one in recwarn if "Glyph" in str(one.message)]
    assert "推薦系統" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
