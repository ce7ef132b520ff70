"""Candidate lists and runs to and from other programs."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmark.data.dataset import Dataset
from benchmark.errors import BenchmarkError
from benchmark.protocol.__main__ import main
from benchmark.protocol.exchange import export_tasks, read_candidates
from benchmark.protocol.metrics import mean_metrics, ranks_of_targets
from benchmark.protocol.outside import event_ids, read_run, read_run_among_all
from benchmark.protocol.settings import PRESETS, configure_protocol
from benchmark.protocol.task import Task, build_tasks
from tests.protocol.logs import shop_dataset

PAPER = PRESETS["paper"]
TREC, PARQUET = "search.candidates.trec", "search.parquet"


def awkward_dataset() -> Dataset:
    """Item ids with a blank, a per cent sign, a letter outside ASCII and what looks encoded."""
    dataset = shop_dataset(seed=1)
    names = list(dataset.items.external_id)
    names[1:6] = ["item one", "100%", "größe", "a%20b", 'quo"te']
    return replace(dataset, items=replace(dataset.items, external_id=names))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return awkward_dataset()


@pytest.fixture(scope="module")
def tasks(dataset: Dataset) -> dict[str, Task]:
    return build_tasks(dataset, PAPER)


@pytest.fixture(scope="module")
def exported(
    dataset: Dataset, tasks: dict[str, Task], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("lists") / "out"
    export_tasks(folder, dataset, tasks, "paper", PAPER)
    return folder


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(exported, tmp_path / "lists"))


def whole_ids(text: str, task: Task) -> str:
    """``text`` with the digits of the task's fingerprint after each event's number."""
    return re.sub(r"(-test-\d{6})(?![-\d])", rf"\1-{task.fingerprint[:8]}", text)


@pytest.mark.parametrize("kind", [".candidates.trec", ".parquet"])
def test_lists_come_back_with_the_same_fingerprint(
    kind: str, folder: Path, dataset: Dataset, tasks: dict[str, Task]
) -> None:
    for path in folder.iterdir():
        if not path.name.endswith(kind):
            path.unlink()
    found = read_candidates(folder, dataset, tasks)
    assert list(found) == ["recommendation", "search"]
    for name, lists in found.items():
        assert lists.fingerprint == tasks[name].test_candidates.fingerprint
        assert lists.items.dtype == np.int32


def test_both_formats_and_meta_together_are_read_too(
    folder: Path, dataset: Dataset, tasks: dict[str, Task]
) -> None:
    found = read_candidates(folder, dataset, tasks)
    assert found["search"].fingerprint == tasks["search"].test_candidates.fingerprint
    (folder / TREC).unlink()
    for path in folder.glob("recommendation*"):
        path.unlink()
    assert list(read_candidates(folder, dataset, tasks)) == ["search"]


def test_trec_lines(exported: Path, dataset: Dataset, tasks: dict[str, Task]) -> None:
    task = tasks["search"]
    lines = (exported / TREC).read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(task.test) * 100
    assert lines[0].split()[:2] == [whole_ids("search-test-000000", task), "Q0"]
    assert lines[0].split()[3:] == ["1", "0", "candidates"]
    assert lines[199].split()[3:] == ["100", "-99", "candidates"]
    last = whole_ids(f"search-test-{len(task.test) - 1:06d}", task)
    assert lines[-1].startswith(f"{last} Q0 ")
    written = {line.split()[2] for line in lines}
    assert {"item%20one", "100%25", "größe", "a%2520b", 'quo"te'} <= written
    qrels = (exported / "search.qrels").read_text(encoding="utf-8").splitlines()
    assert [line.split()[0] for line in qrels] == event_ids(task)


def test_parquet_rows_hold_what_a_system_may_see_and_no_target(
    exported: Path, dataset: Dataset, tasks: dict[str, Task]
) -> None:
    task = tasks["search"]
    rows = pq.read_table(exported / PARQUET).to_pylist()
    targets = pq.read_table(exported / "search.targets.parquet").to_pylist()
    requests = task.requests(dataset, "test")
    history = requests.history(int(np.sum(requests.history_sizes(), axis=0).max()))
    name = dataset.items.external_id
    for row, (event, target) in enumerate(zip(rows, targets, strict=True)):
        assert event["event"] == target["event"] == event_ids(task)[row]
        assert event["user"] == dataset.users[requests.user[row]]
        assert event["query"] == requests.query_texts[row]
        assert event["timestamp"] == requests.timestamp[row]
        seen = history.mask[row]
        assert event["history_items"] == [name[item] for item in history.items[row][seen]]
        texts = [dataset.queries.text[query] for query in history.queries[row][seen]]
        assert event["history_queries"] == texts
        assert event["history_timestamps"] == history.timestamps[row][seen].tolist()
        assert event["candidates"] == [name[item] for item in requests.candidates[row]]
        assert target["target"] == name[dataset.log.item[task.test.position[row]]]
        assert event["candidates"][target["target_column"]] == target["target"]


def test_users_unknown_to_training_are_exported_under_their_names(
    exported: Path, dataset: Dataset, tasks: dict[str, Task], tmp_path: Path
) -> None:
    nobody = np.zeros(dataset.number_of_users + 1, dtype=bool)
    unknown = {name: replace(task, known_users=nobody) for name, task in tasks.items()}
    export_tasks(tmp_path / "out", dataset, unknown, "paper", PAPER)
    users = pq.read_table(tmp_path / "out" / PARQUET)["user"].to_pylist()
    assert users == pq.read_table(exported / PARQUET)["user"].to_pylist()
    assert all(users)


def test_meta_names_data_protocol_and_fingerprints(
    exported: Path, dataset: Dataset, tasks: dict[str, Task]
) -> None:
    meta = json.loads((exported / "meta.json").read_text())
    assert (meta["dataset"], meta["protocol"]) == ("test", "paper")
    assert meta["dataset_fingerprint"] == dataset.fingerprint
    assert meta["settings"] == PAPER.model_dump(mode="json")
    for name, task in tasks.items():
        assert meta["tasks"][name]["events"] == len(task.test)
        assert meta["tasks"][name]["candidates"] == 100
        assert meta["tasks"][name]["lists_fingerprint"] == task.test_candidates.fingerprint


@pytest.mark.parametrize("kind", [".candidates.trec", ".parquet"])
def test_shorter_lists_come_back(kind: str, dataset: Dataset, tmp_path: Path) -> None:
    settings = PAPER.model_copy(update={"negatives": dataset.number_of_items - 5})
    tasks = build_tasks(dataset, settings)
    lists = tasks["recommendation"].test_candidates
    assert lists.lengths.min() < lists.lengths.max()
    export_tasks(tmp_path / "out", dataset, tasks, "custom", settings)
    for suffix in {".candidates.trec", ".parquet"} - {kind}:
        for name in tasks:
            (tmp_path / "out" / f"{name}{suffix}").unlink()
    found = read_candidates(tmp_path / "out", dataset, tasks)
    assert {name: one.fingerprint for name, one in found.items()} == {
        name: task.test_candidates.fingerprint for name, task in tasks.items()
    }


def test_an_occupied_folder_is_not_written_into(
    folder: Path, dataset: Dataset, tasks: dict[str, Task]
) -> None:
    with pytest.raises(BenchmarkError, match="is there already and not empty"):
        export_tasks(folder, dataset, tasks, "paper", PAPER)


def test_trec_lines_may_stand_in_any_order(
    folder: Path, dataset: Dataset, tasks: dict[str, Task]
) -> None:
    (folder / PARQUET).unlink()
    lines = (folder / TREC).read_text(encoding="utf-8").splitlines()
    shuffled = np.random.default_rng(0).permutation(lines).tolist()
    (folder / TREC).write_text("\n\n".join(shuffled), encoding="utf-8")  # blank lines between
    found = read_candidates(folder, dataset, {"search": tasks["search"]})["search"]
    assert found.fingerprint == tasks["search"].test_candidates.fingerprint


def test_lists_may_have_another_length(
    folder: Path, dataset: Dataset, tasks: dict[str, Task]
) -> None:
    (folder / TREC).unlink()
    rows = pq.read_table(folder / PARQUET, columns=["event", "candidates"]).to_pylist()
    lists = tasks["search"].test_candidates
    for row, column in zip(rows, lists.target_column, strict=True):
        row["candidates"] = [row["candidates"][(column + shift) % 100] for shift in range(-5, 5)]
    pq.write_table(pa.Table.from_pylist(rows), folder / PARQUET)
    found = read_candidates(folder, dataset, {"search": tasks["search"]})["search"]
    assert found.items.shape == (len(lists), 10)
    assert set(found.target_column.tolist()) == {5}


Edit = Callable[[list[str]], list[str]]


def with_field(number: int, field: int, value: str) -> Edit:
    def edit(lines: list[str]) -> list[str]:
        fields = lines[number].split()
        fields[field] = value
        return [*lines[:number], " ".join(fields), *lines[number + 1 :]]

    return edit


TREC_SPOILT: dict[str, tuple[Edit, str]] = {
    "unknown item": (with_field(5, 2, "nothing"), "line 6: unknown item 'nothing'"),
    "padding item": (with_field(5, 2, "%"), "line 6: unknown item '%'"),
    "unknown event": (
        with_field(7, 0, "search-test-999999"),
        "line 8: unknown event 'search-test-999999'",
    ),
    "event of the other task": (
        with_field(7, 0, "recommendation-test-000000"),
        "line 8: unknown event 'recommendation-test-000000'",
    ),
    "five fields": (
        lambda lines: [lines[0].rsplit(" ", 1)[0], *lines[1:]],
        "line 1: has 5 fields",
    ),
    "no rank": (with_field(3, 3, "first"), "line 4: rank 'first' must be a whole number"),
    "no score": (with_field(3, 4, "high"), "line 4: rank '4' must be a whole number and score"),
    "half a rank": (with_field(3, 3, "1.5"), "line 4: rank '1.5' must be a whole number"),
    "rank nan": (with_field(3, 3, "nan"), "line 4: rank 'nan' must be a whole number"),
    "huge rank": (with_field(3, 3, "9" * 30), "line 4: rank '999"),
    "duplicate": (lambda lines: [*lines, lines[250]], "stands twice in the list of event"),
    "missing event": (lambda lines: lines[100:], "no list for the event 'search-test-000000'"),
    "unequal": (
        lambda lines: lines[:-1],
        "has 99 candidates, but that of 'search-test-000000' has 100; all must be of one length",
    ),
    "empty": (lambda lines: [], "no list for the event 'search-test-000000'"),
}


@pytest.mark.parametrize("fault", TREC_SPOILT)
def test_faults_of_trec_lists_give_one_sentence(
    fault: str, folder: Path, dataset: Dataset, tasks: dict[str, Task]
) -> None:
    edit, sentence = TREC_SPOILT[fault]
    path = folder / TREC
    lines = edit(path.read_text(encoding="utf-8").splitlines())
    path.write_text(
        whole_ids("".join(f"{line}\n" for line in lines), tasks["search"]), encoding="utf-8"
    )
    with pytest.raises(BenchmarkError) as caught:
        read_candidates(folder, dataset, tasks)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert whole_ids(sentence, tasks["search"]) in text
    assert text.count("\n") == 0
    if fault in ("duplicate", "unequal"):
        assert ": line " in text


def test_a_missing_target_gives_one_sentence(
    folder: Path, dataset: Dataset, tasks: dict[str, Task]
) -> None:
    path = folder / TREC
    lines = path.read_text(encoding="utf-8").splitlines()
    line = 100 + int(tasks["search"].test_candidates.target_column[1])
    listed = {one.split()[2] for one in lines[100:200]}
    other = next(name for name in dataset.items.external_id[6:] if name not in listed)
    path.write_text("\n".join(with_field(line, 2, other)(lines)), encoding="utf-8")
    with pytest.raises(BenchmarkError, match=r"line 101: the list of event 'search-test-000001-"):
        read_candidates(folder, dataset, tasks)


def test_files_that_cannot_be_read_give_one_sentence(
    folder: Path, dataset: Dataset, tasks: dict[str, Task]
) -> None:
    (folder / TREC).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BenchmarkError, match=r"search\.candidates\.trec: cannot be read"):
        read_candidates(folder, dataset, tasks)
    (folder / TREC).unlink()
    (folder / PARQUET).write_bytes(b"no parquet")
    with pytest.raises(BenchmarkError, match=r"search\.parquet: is not readable as Parquet"):
        read_candidates(folder, dataset, tasks)


def spoil_row(change: Callable[[dict[str, Any]], None], row: int) -> Callable[[list[Any]], None]:
    return lambda rows: change(rows[row])


PARQUET_SPOILT: dict[str, tuple[Callable[[list[Any]], None], str]] = {
    "unknown item": (
        spoil_row(lambda row: row["candidates"].__setitem__(3, "nothing"), 2),
        "row 2: candidates: unknown item 'nothing'",
    ),
    "no item": (
        spoil_row(lambda row: row["candidates"].__setitem__(3, None), 2),
        "row 2: candidates: unknown item None",
    ),
    "unknown event": (
        spoil_row(lambda row: row.update(event="search-test-999999"), 4),
        "row 4: unknown event 'search-test-999999'",
    ),
    "event twice": (
        spoil_row(lambda row: row.update(event="search-test-000001"), 4),
        "row 4: event 'search-test-000001' stands twice",
    ),
    "missing event": (lambda rows: rows.pop(3), "no list for the event 'search-test-000003'"),
    "duplicate": (
        spoil_row(lambda row: row["candidates"].__setitem__(3, row["candidates"][9]), 2),
        "row 2: candidate ",
    ),
    "unequal": (
        spoil_row(lambda row: row["candidates"].pop(), 2),
        "row 2: the list of event 'search-test-000002' has 99 candidates",
    ),
    "no list": (
        spoil_row(lambda row: row.update(candidates=None), 2),
        "no list for the event 'search-test-000002'",
    ),
}


@pytest.mark.parametrize("fault", PARQUET_SPOILT)
def test_faults_of_parquet_lists_give_one_sentence(
    fault: str, folder: Path, dataset: Dataset, tasks: dict[str, Task]
) -> None:
    edit, sentence = PARQUET_SPOILT[fault]
    (folder / TREC).unlink()
    path = folder / PARQUET
    rows = pq.read_table(path, columns=["event", "candidates"]).to_pylist()
    edit(rows)
    for row in rows:
        row["event"] = whole_ids(row["event"], tasks["search"])
    pq.write_table(pa.Table.from_pylist(rows), path)
    with pytest.raises(BenchmarkError) as caught:
        read_candidates(folder, dataset, {"search": tasks["search"]})
    assert str(caught.value).startswith(f"{path}: ")
    assert whole_ids(sentence, tasks["search"]) in str(caught.value)


def test_parquet_rows_may_stand_in_any_order(
    folder: Path, dataset: Dataset, tasks: dict[str, Task]
) -> None:
    (folder / TREC).unlink()
    table = pq.read_table(folder / PARQUET, columns=["candidates", "event"])
    pq.write_table(table.take(list(range(table.num_rows))[::-1]), folder / PARQUET)
    found = read_candidates(folder, dataset, {"search": tasks["search"]})["search"]
    assert found.fingerprint == tasks["search"].test_candidates.fingerprint


@pytest.mark.parametrize("columns", [{"event": ["x"]}, {"event": [1.5], "candidates": [3]}])
def test_parquet_without_the_columns_gives_one_sentence(
    columns: dict[str, Any], folder: Path, dataset: Dataset, tasks: dict[str, Task]
) -> None:
    (folder / TREC).unlink()
    pq.write_table(pa.table(columns), folder / PARQUET)
    with pytest.raises(BenchmarkError, match="with the columns event"):
        read_candidates(folder, dataset, {"search": tasks["search"]})


def test_two_formats_that_disagree_give_one_sentence(
    folder: Path, dataset: Dataset, tasks: dict[str, Task]
) -> None:
    lines = (folder / TREC).read_text(encoding="utf-8").splitlines()
    swapped = with_field(0, 3, "2")(with_field(1, 3, "1")(lines))
    (folder / TREC).write_text("\n".join(swapped), encoding="utf-8")
    with pytest.raises(BenchmarkError, match=r"other lists than search\.candidates\.trec"):
        read_candidates(folder, dataset, tasks)


def test_lists_of_other_events_are_refused(
    folder: Path, dataset: Dataset, tasks: dict[str, Task]
) -> None:
    released = build_tasks(dataset, PRESETS["released"])
    with pytest.raises(BenchmarkError, match=r"other events than the recommendation test.*paper"):
        read_candidates(folder, dataset, released)
    (folder / "meta.json").write_text("[]")
    with pytest.raises(BenchmarkError, match=r"is not the meta\.json of an export"):
        read_candidates(folder, dataset, tasks)


def test_a_folder_without_lists_gives_one_sentence(
    tmp_path: Path, dataset: Dataset, tasks: dict[str, Task]
) -> None:
    with pytest.raises(BenchmarkError, match="holds no lists for recommendation or search"):
        read_candidates(tmp_path, dataset, tasks)
    with pytest.raises(BenchmarkError, match="is not a folder"):
        read_candidates(tmp_path / "absent", dataset, tasks)


# Runs of other systems


def run_lines(dataset: Dataset, task: Task, scores: np.ndarray[Any, Any]) -> list[str]:
    """The scores (events, candidates) as TREC lines; items without blanks only."""
    names = [name.replace("%", "%25").replace(" ", "%20") for name in dataset.items.external_id]
    return [
        f"{event} Q0 {names[item]} {column} {score!r} mine"
        for event, items, row in zip(
            event_ids(task), task.test_candidates.items, scores.tolist(), strict=True
        )
        for column, (item, score) in enumerate(zip(items, row, strict=True))
    ]


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_a_run_is_ranked_by_its_scores(
    tmp_path: Path, dataset: Dataset, tasks: dict[str, Task]
) -> None:
    task = tasks["search"]
    random = np.random.default_rng(0)
    scores = random.integers(0, 9, size=task.test_candidates.items.shape).astype(float)
    lines = random.permutation(run_lines(dataset, task, scores)).tolist()
    found = read_run(write(tmp_path / "run", lines), dataset, task)
    assert found.scores.tolist() == scores.tolist()
    assert (found.unscored, found.outside) == (0, 0)


def test_candidates_that_a_run_lacks_are_pruned(
    tmp_path: Path, dataset: Dataset, tasks: dict[str, Task]
) -> None:
    task = tasks["search"]
    lists = task.test_candidates
    scores = np.tile(np.arange(100.0, 0, -1), (len(lists), 1))
    lines = run_lines(dataset, task, scores)
    target = lists.target_column[0]
    del lines[target]
    first, second = event_ids(task)[:2]
    lines = [line for line in lines if not line.startswith(f"{second} ")]
    unlisted = next(
        name
        for item, name in enumerate(dataset.items.external_id)
        if item > 5 and item not in lists.items[:2]
    )
    lines += [f"{first} Q0 {unlisted} 1 1000 mine", f"{second} Q0 {unlisted} 1 -inf mine"]
    found = read_run(write(tmp_path / "run", lines), dataset, task)
    assert (found.unscored, found.outside) == (101, 2)
    assert found.scores[0, target] == -math.inf
    assert (found.scores[1] == -math.inf).all()
    ranks = ranks_of_targets(found.scores, lists.target_column)
    assert ranks.returned[:3].tolist() == [False, False, True]


RUN_SPOILT = {
    "unknown event": ("x Q0 item-9 1 1.0 t", "line 2: unknown event 'x'"),
    "unknown item": ("search-test-000000 Q0 y 1 1.0 t", "line 2: unknown item 'y'"),
    "nan": ("search-test-000000 Q0 item-9 1 nan t", "line 2: the score of event"),
    "inf": ("search-test-000000 Q0 item-9 1 inf t", "line 2: the score of event"),
    "twice": ("search-test-000000 Q0 item-8 1 1.0 t", "line 2: item 'item-8' stands twice"),
    "fields": ("search-test-000000 item-9 1.0", "line 2: has 3 fields"),
    "score": ("search-test-000000 Q0 item-9 1 high t", "line 2: score 'high' must be a number"),
}


@pytest.mark.parametrize("fault", RUN_SPOILT)
def test_faults_of_runs_give_one_sentence(
    fault: str, tmp_path: Path, dataset: Dataset, tasks: dict[str, Task]
) -> None:
    line, sentence = RUN_SPOILT[fault]
    lines = ["search-test-000000 Q0 item-8 1 -inf t", line]
    path = write(tmp_path / "run", [whole_ids(one, tasks["search"]) for one in lines])
    with pytest.raises(BenchmarkError) as caught:
        read_run(path, dataset, tasks["search"])
    assert f"{path}: {sentence}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ranks", ["{}", "{}.0", "-", "first"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_field_of_ranks_and_a_byte_order_mark_are_passed_over(
    ranks: str, mark: str, tmp_path: Path, dataset: Dataset, tasks: dict[str, Task]
) -> None:
    task = tasks["search"]
    scores = np.tile(np.arange(100.0, 0, -1), (len(task.test_candidates), 1))
    lines = run_lines(dataset, task, scores)
    for number, line in enumerate(lines):
        fields = line.split(" ")
        lines[number] = " ".join([*fields[:3], ranks.format(number % 7), *fields[4:]])
    lines[0] = mark + lines[0]
    found = read_run(write(tmp_path / "run", lines), dataset, task)
    assert found.scores.tolist() == scores.tolist()


def test_lists_may_have_a_byte_order_mark_and_ranks_as_decimals(
    folder: Path, dataset: Dataset, tasks: dict[str, Task]
) -> None:
    path = folder / TREC
    expected = read_candidates(folder, dataset, tasks)["search"].fingerprint
    lines = [line.split(" ") for line in path.read_text(encoding="utf-8").splitlines()]
    text = "".join(" ".join([*f[:3], f"{f[3]}.0", *f[4:]]) + "\n" for f in reversed(lines))
    path.write_text("\ufeff" + text, encoding="utf-8")
    assert read_candidates(folder, dataset, tasks)["search"].fingerprint == expected


def test_messages_quote_a_part_of_a_long_word(
    tmp_path: Path, dataset: Dataset, tasks: dict[str, Task]
) -> None:
    first = event_ids(tasks["search"])[0]
    for word in (f"{'x' * 10**6} Q0 item-9", f"{first} Q0 {'y' * 10**6}"):
        path = write(tmp_path / "run", [f"{word} 1 1.0 t"])
        with pytest.raises(BenchmarkError) as caught:
            read_run(path, dataset, tasks["search"])
        assert len(str(caught.value)) < len(str(path)) + 400


def test_a_run_without_a_line_for_an_event_is_refused(
    tmp_path: Path, dataset: Dataset, tasks: dict[str, Task]
) -> None:
    task = tasks["search"]
    barred = task.barred(dataset, PAPER)
    first, *others = event_ids(task)
    lines = [f"{event} Q0 item-8 1 1.0 t" for event in others]
    sentence = f"there is no line for event {first!r}; a run has a line for each test event"
    path = write(tmp_path / "run", lines)
    with pytest.raises(BenchmarkError, match=re.escape(f"{path}: {sentence}")):
        read_run(path, dataset, task)
    with pytest.raises(BenchmarkError, match=re.escape(f"{path}: {sentence}")):
        read_run_among_all(path, dataset, task, barred)
    with pytest.raises(BenchmarkError, match=f"for event {first!r} and for {len(others)} others"):
        read_run(write(tmp_path / "run", []), dataset, task)
    found = read_run(write(path, [*lines, f"{first} Q0 item-8 1 -inf t"]), dataset, task)
    assert (found.scores[0] == -math.inf).all()
    with pytest.raises(BenchmarkError, match="the file is missing"):
        read_run(tmp_path / "absent", dataset, tasks["search"])


# The command


@pytest.fixture
def command(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    """``main`` on the test's data set, whatever name is given."""
    monkeypatch.setattr("benchmark.data.load", lambda name, root: dataset)

    def run(verb: str, *arguments: str) -> int:
        return main([verb, "any", *places(verb, tmp_path), *arguments])

    return run


def places(verb: str, folder: Path) -> list[str]:
    """The options that keep what a command writes below ``folder``."""
    results = ["--results", str(folder / "results")] if verb == "evaluate" else []
    return ["--prepared", str(folder / "prepared"), *results]


def test_export_then_import_then_evaluate(
    command: Callable[..., int],
    tmp_path: Path,
    dataset: Dataset,
    tasks: dict[str, Task],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    prints = [tasks[name].test_candidates.fingerprint for name in ("recommendation", "search")]
    assert command("export", "--out", str(out)) == 0
    shown = capsys.readouterr().out
    assert all(one in shown for one in prints)
    assert command("import", "--from", str(out)) == 0
    shown = capsys.readouterr().out
    assert all(one in shown for one in prints)
    assert shown.count("those of protocol paper") == 2

    scores = np.random.default_rng(0).random(tasks["search"].test_candidates.items.shape)
    run = write(tmp_path / "run.trec", run_lines(dataset, tasks["search"], scores))
    assert command("evaluate", "--run", str(run), "--task", "search") == 0
    shown = capsys.readouterr().out
    columns = tasks["search"].test_candidates.target_column
    for metric, value in mean_metrics(ranks_of_targets(scores, columns)).items():
        assert f"{metric:8}{value:.6f}" in shown


def test_one_task_of_another_protocol(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    given = ("--protocol", "clean", "--task", "search")
    assert command("export", "--out", str(out), *given) == 0
    assert not list(out.glob("recommendation*"))
    assert command("import", "--from", str(out), *given) == 0
    capsys.readouterr()
    # Under paper other searches are tested, since clean leaves out whose target it cannot hide.
    assert command("import", "--from", str(out), "--task", "search") == 2
    assert "belong to other events than the search test" in capsys.readouterr().err


def test_a_changed_protocol_makes_the_same_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = shop_dataset(seed=1, days=60)
    monkeypatch.setattr("benchmark.data.load", lambda name, root: dataset)

    def command(verb: str, *arguments: str) -> int:
        return main([verb, "any", *places(verb, tmp_path), *arguments])

    changes = {"negatives": 20, "split": "global-time"}
    given = [part for key in changes for part in ("--set", f"protocol.{key}={changes[key]}")]
    _, settings = configure_protocol("paper", changes)
    task = build_tasks(dataset, settings)["search"]
    out = tmp_path / "out"
    assert command("export", "--out", str(out), *given) == 0
    assert task.test_candidates.fingerprint in capsys.readouterr().out
    assert json.loads((out / "meta.json").read_text())["protocol"] == "custom:paper"
    assert command("import", "--from", str(out), *given) == 0
    assert "those of protocol custom:paper" in capsys.readouterr().out

    scores = np.random.default_rng(0).random(task.test_candidates.items.shape)
    run = write(tmp_path / "run.trec", run_lines(dataset, task, scores))
    assert command("evaluate", "--run", str(run), "--task", "search", *given) == 0
    shown = capsys.readouterr().out
    ranks = ranks_of_targets(scores, task.test_candidates.target_column)
    for metric, value in mean_metrics(ranks).items():
        assert f"{metric:8}{value:.6f}" in shown
    assert "  0 candidates are not in the run" in shown


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            "protocol.negative=5",
            "negative: there is no such key (did you mean 'negatives'?). Its keys are: split, ",
        ),
        ("sasrec.width=5", "--set sasrec.…: only protocol.KEY=VALUE has a meaning here."),
        ("negatives=5", "--set negatives=5: must look like"),
        ("protocol.search_depth=9", "search_negatives=bm25-matched does not follow search_depth=9"),
    ],
)
def test_a_wrong_change_gives_one_sentence(
    command: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: str,
    sentence: str,
) -> None:
    given = ("--protocol", "clean", "--set", change)
    assert command("export", "--out", str(tmp_path / "out"), *given) == 2
    assert sentence in capsys.readouterr().err


def test_bad_input_ends_with_2_and_one_sentence(
    command: Callable[..., int],
    tmp_path: Path,
    tasks: dict[str, Task],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert command("export", "--out", str(out)) == 0
    first = event_ids(tasks["search"])[0]
    (out / TREC).write_text(f"{first} Q0 nothing 1 0 t\n")
    capsys.readouterr()
    assert command("import", "--from", str(out)) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert "line 1: unknown item 'nothing'" in shown
    assert command("export", "--out", str(out)) == 2
    assert command("export", "--protocol", "papers", "--out", str(out)) == 2
    assert "did you mean 'paper'" in capsys.readouterr().err
    assert command("evaluate", "--run", str(tmp_path / "absent"), "--task", "search") == 2


def test_a_task_that_the_data_set_lacks_gives_one_sentence(
    tmp_path: Path,
    dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    no_search = dataset.with_log(dataset.log.keep(dataset.log.behaviour == 0))
    monkeypatch.setattr("benchmark.data.load", lambda name, root: no_search)
    given = ["--task", "search", "--out", str(tmp_path / "out")]
    assert main(["export", "any", "--prepared", str(tmp_path), *given]) == 2
    assert "data set test: has no search events" in capsys.readouterr().err
