"""What an author outside gets: all that a system may see, and nothing more."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmark.data.dataset import SEARCH, Dataset
from benchmark.errors import BenchmarkError
from benchmark.files import check_manifest, write_json
from benchmark.protocol import export
from benchmark.protocol.__main__ import main
from benchmark.protocol.exchange import read_candidates
from benchmark.protocol.export import export_tasks
from benchmark.protocol.outside import event_ids
from benchmark.protocol.settings import PRESETS
from benchmark.protocol.task import Task, build_tasks
from benchmark.systems.view import TrainingView
from tests.protocol.logs import shop_dataset

BOTH = ("recommendation", "search")
LONG = shop_dataset(seed=1, users=12, items=400, days=200)


def long_histories() -> Dataset:
    """The shop, where every user has bought and searched far more than 50 times."""
    log = LONG.log
    rows = np.repeat(np.arange(len(log)), 9)
    again = type(log).from_columns(
        user=log.user[rows],
        item=1 + (log.item[rows] + 37 * (np.arange(len(rows)) % 9)) % LONG.number_of_items,
        query=log.query[rows],
        behaviour=log.behaviour[rows],
        timestamp=log.timestamp[rows] * 1000 + np.arange(len(rows)) % 9,
        session=np.where(log.behaviour[rows] == SEARCH, 1 + np.arange(len(rows)), 0),
        number_of_users=LONG.number_of_users,
    )
    return LONG.with_log(again)


DATASET = long_histories()


@pytest.fixture(scope="module", params=["paper", "released", "clean"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def tasks(protocol: str) -> dict[str, Task]:
    return build_tasks(DATASET, settings_of(protocol))


def settings_of(protocol: str) -> Any:
    changes: dict[str, Any] = {"negatives": 20, "search_depth": None}
    if protocol == "clean":  # few of these searches have an item that is alike the target
        changes["search_negatives"] = "bm25-filtered"
    return PRESETS[protocol].model_copy(update=changes)


@pytest.fixture(scope="module")
def folder(protocol: str, tasks: dict[str, Task], tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("export") / "out"
    export_tasks(place, DATASET, tasks, protocol, settings_of(protocol))
    return place


def rows_of(folder: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / f"{name}.parquet").to_pylist()
    return rows


def test_every_file_and_every_column_is_explained(folder: Path) -> None:
    told = (folder / "README.md").read_text(encoding="utf-8")
    for path in set(folder.iterdir()) - {folder / "README.md"}:
        name = re.sub(r"^(recommendation|search)(?=\.)", "<task>", path.name)
        shown = {name, name.replace("<task>", "search")}
        assert any(f"`{one}`" in told for one in shown), path.name
        if path.suffix == ".parquet":
            assert all(f"`{column}`" in told for column in pq.read_schema(path).names), path.name
    for part in re.findall(r"`(?:<task>|[a-z]+)\.[a-z.]*(?:trec|qrels|parquet|jsonl|tsv)`", told):
        names = [part.strip("`").replace("<task>", task) for task in BOTH]
        is_of_a_run = part in ("`<task>.trec`", "`.trec.gz`")
        assert is_of_a_run or any((folder / name).is_file() for name in names), part
    check_manifest(folder)


def test_texts_are_those_of_the_data_set(folder: Path) -> None:
    items = DATASET.items
    assert rows_of(folder, "items") == [
        {"item": name, "title": title, "text": text}
        for name, title, text in list(zip(items.external_id, items.title, items.text, strict=True))[
            1:
        ]
    ]
    lines = (folder / "items.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["contents"] for line in lines] == list(items.text[1:])
    assert [row["query"] for row in rows_of(folder, "queries")] == list(DATASET.queries.text[1:])


def test_the_training_log_is_what_fit_is_shown(
    folder: Path, protocol: str, tasks: dict[str, Task]
) -> None:
    view = TrainingView(DATASET, tasks, settings_of(protocol))
    rows, log = rows_of(folder, "training"), view.log
    names, texts = DATASET.items.external_id, DATASET.queries.text
    assert [row["item"] for row in rows] == [names[item] for item in log.item]
    assert [row["user"] for row in rows] == [DATASET.users[user] for user in log.user]
    assert [row["query"] for row in rows] == [texts[query] for query in log.query]
    assert [row["timestamp"] for row in rows] == log.timestamp.tolist()
    assert [row["session"] for row in rows] == log.session.tolist()
    assert [row["task"] == "search" for row in rows] == (log.behaviour == SEARCH).tolist()
    for name in BOTH:
        learnt = [place for place, row in enumerate(rows) if row["event"].startswith(name)]
        assert learnt == sorted(view.examples(name).position.tolist())
        qrels = (folder / f"{name}.train.qrels").read_text(encoding="utf-8").splitlines()
        by_event = {row["event"]: row["item"] for row in rows if row["event"]}
        assert {line.split()[0]: line.split()[2] for line in qrels} == {
            event: item for event, item in by_event.items() if event.startswith(name)
        }


def test_no_held_out_event_is_in_the_training_log(folder: Path) -> None:
    """Row by row: an event of validation or of the test is known by user, item, task and time."""
    trained = {
        (row["user"], row["item"], row["task"], row["timestamp"])
        for row in rows_of(folder, "training")
    }
    for name in BOTH:
        for prefix in (name, f"{name}.valid"):
            events = rows_of(folder, prefix)
            targets = rows_of(folder, f"{prefix}.targets")
            held_out = {
                (event["user"], target["target"], name, event["timestamp"])
                for event, target in zip(events, targets, strict=True)
            }
            assert len(held_out) == len(events) > 0
            assert not held_out & trained


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize("name", BOTH)
def test_histories_are_whole_and_those_of_requests(
    split: str, name: str, folder: Path, protocol: str, tasks: dict[str, Task]
) -> None:
    task, names = tasks[name], DATASET.items.external_id
    if split == "test":
        requests = task.requests(DATASET, "test")
    else:
        requests = TrainingView(DATASET, tasks, settings_of(protocol)).validation_requests(name)
    longest = int(np.sum(requests.history_sizes(), axis=0).max())
    assert longest > 50
    history = requests.history(longest)
    rows = rows_of(folder, name if split == "test" else f"{name}.valid")
    assert [row["event"] for row in rows] == event_ids(task, split)
    for row, event in enumerate(rows):
        seen = history.mask[row]
        assert event["history_items"] == [names[item] for item in history.items[row][seen]]
        assert event["history_timestamps"] == history.timestamps[row][seen].tolist()
        assert event["history_sessions"] == history.sessions[row][seen].tolist()
        is_search = (history.behaviours[row][seen] == SEARCH).tolist()
        assert [kind == "search" for kind in event["history_tasks"]] == is_search
        texts = [DATASET.queries.text[query] for query in history.queries[row][seen]]
        assert event["history_queries"] == texts
        assert event["candidates"] == [
            names[item] for item in task.candidates(split).items[row] if item
        ]


def test_what_is_not_ranked_among_all_items_is_told_apart(
    folder: Path, protocol: str, tasks: dict[str, Task]
) -> None:
    names = DATASET.items.external_id
    for name, task in tasks.items():
        barred = task.barred(DATASET, settings_of(protocol))
        rows = rows_of(folder, f"{name}.excluded")
        assert [row["event"] for row in rows] == event_ids(task)
        for row, found in enumerate(rows):
            _, items = barred.items_of(np.array([row]))
            assert found["excluded"] == [names[item] for item in items]
    if protocol == "paper":
        assert any(row["excluded"] for row in rows_of(folder, "recommendation.excluded"))


def test_one_task_alone_still_trains_on_nothing_that_the_other_holds_out(
    folder: Path, protocol: str, tasks: dict[str, Task], tmp_path: Path
) -> None:
    export_tasks(tmp_path / "one", DATASET, tasks, protocol, settings_of(protocol), ["search"])
    assert not list((tmp_path / "one").glob("recommendation*"))
    assert rows_of(tmp_path / "one", "training") == rows_of(folder, "training")


def test_topics_are_the_texts_of_the_searches(folder: Path) -> None:
    for prefix in ("search", "search.valid"):
        lines = (folder / f"{prefix}.topics.tsv").read_text(encoding="utf-8").splitlines()
        events = rows_of(folder, prefix)
        assert lines == [f"{event['event']}\t{event['query']}" for event in events]
    train = (folder / "search.train.topics.tsv").read_text(encoding="utf-8").splitlines()
    learnt = {row["event"]: row["query"] for row in rows_of(folder, "training") if row["event"]}
    assert all(learnt[line.split("\t")[0]] == line.split("\t")[1] for line in train) and train


# The version and the fingerprint


@pytest.mark.parametrize("version", [1, 3, "2", None])
def test_an_unknown_version_is_one_sentence(
    version: Any, folder: Path, tasks: dict[str, Task], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    meta = json.loads((copy / "meta.json").read_text(encoding="utf-8"))
    assert (meta["format"], meta["version"]) == ("gensar-benchmark export", 2)
    if version == 1:
        del meta["version"]  # as the first exports were
    else:
        meta["version"] = version
    write_json(copy / "meta.json", meta)
    with pytest.raises(BenchmarkError) as caught:
        read_candidates(copy, DATASET, tasks)
    told = f"version: the export is of format {version!r}, and this suite reads 2; export again."
    assert str(caught.value) == f"{copy / 'meta.json'}: {told}"


def test_event_ids_tell_data_protocols_and_settings_apart() -> None:
    paper = PRESETS["paper"].model_copy(update={"negatives": 20})
    renamed = replace(DATASET.items, text=[f"{text} new" for text in DATASET.items.text])
    worlds = [
        (DATASET, paper),
        (DATASET, paper.model_copy(update={"negatives": 19})),
        (DATASET, paper.model_copy(update={"seed": 1})),
        (DATASET, paper.model_copy(update={"twins": "removed"})),
        (DATASET, paper.model_copy(update={"search_all_items": "without-relevant"})),
        (DATASET, paper.model_copy(update={"history_cut": "strict-time"})),
        (replace(DATASET, items=renamed), paper),
    ]
    found = [event_ids(task)[0] for world in worlds for task in build_tasks(*world).values()]
    assert len(set(found)) == 2 * len(worlds)
    # What changes metrics alone leaves a run as good as it was.
    other_metrics = paper.model_copy(update={"ties": "optimistic", "cutoffs": (3,)})
    assert [event_ids(task)[0] for task in build_tasks(DATASET, other_metrics).values()] == found[
        :2
    ]


def test_kept_lists_have_the_fingerprints_of_new_ones(tmp_path: Path) -> None:
    from benchmark.protocol.kept_tasks import load_tasks

    paper = PRESETS["paper"].model_copy(update={"negatives": 20})
    other = paper.model_copy(update={"search_all_items": "without-relevant"})
    for settings in (paper, other, paper):  # the second and third are read back
        expected = {name: task.fingerprint for name, task in build_tasks(DATASET, settings).items()}
        found = load_tasks(DATASET, settings, tmp_path)
        assert {name: task.fingerprint for name, task in found.items()} == expected


def test_an_export_that_fails_leaves_nothing(
    tasks: dict[str, Task], protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(export, "_write_excluded", broken)
    with pytest.raises(RuntimeError):
        export_tasks(tmp_path / "out", DATASET, tasks, protocol, settings_of(protocol))
    assert not list(tmp_path.iterdir())


def test_the_readme_names_the_options_that_the_export_was_made_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shlex

    monkeypatch.setattr("benchmark.data.load", lambda name, root: DATASET)
    changes = ["protocol.negatives=20", "protocol.cutoffs=1,3", "protocol.search_depth=50"]
    given = [part for change in changes for part in ("--set", change)]
    place = ["--prepared", str(tmp_path / "prepared"), "--out", str(tmp_path / "out")]
    assert main(["export", "any", *place, *given]) == 0
    told = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    command = told.split("```\npython -m benchmark.protocol ")[1].split("```")[0]
    words = shlex.split(command)
    assert words[words.index("--protocol") + 1] == "paper"
    shown = {words[at + 1] for at, word in enumerate(words) if word == "--set"}
    assert shown == set(changes)
