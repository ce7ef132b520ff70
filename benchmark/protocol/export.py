"""The export: all that an author outside needs to train a system and to rank our test events.

A folder with texts, the training log, the validation and test lists with full histories, and the
answers apart from these; :data:`README` says what each file and column is, and stands in every
export. Histories come from the very requests that the suite's systems are asked by, training rows
from what ``fit`` is shown. ``meta.json`` names data, protocol and settings, and the version of the
format, which every reader checks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmark.data.dataset import BEHAVIOURS, SEARCH, Dataset, fingerprint_of
from benchmark.errors import BenchmarkError
from benchmark.files import atomic_path, build_folder, sha256_of_json, write_json, write_text
from benchmark.protocol.export_readme import readme_of
from benchmark.protocol.outside import event_ids, numbered_events
from benchmark.protocol.requests import Requests
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task
from benchmark.protocol.training import rows_for_training, validation_rows
from benchmark.protocol.trec import item_words, write_qrels

FORMAT = "gensar-benchmark export"
FORMAT_VERSION = 2
META = "meta.json"
_TAG = "candidates"
_EVENTS_AT_ONCE = 4096
_TASK_NAMES = {number: name for name, number in BEHAVIOURS.items()}


def lists_path(folder: Path, task: str, suffix: str) -> Path:
    """The file of a task's test lists; ``suffix`` is ".candidates.trec" or ".parquet"."""
    return folder / f"{task}{suffix}"


def export_tasks(
    folder: Path,
    dataset: Dataset,
    tasks: Mapping[str, Task],
    protocol: str,
    settings: ProtocolSettings,
    names: Sequence[str] | None = None,
) -> None:
    """Write an export as a new or empty folder, whole or not at all.

    Args:
        folder: where.
        dataset: the data.
        tasks: all of the data set's, whatever is written: what one holds out is in no training log.
        protocol: the name of the protocol.
        settings: of it.
        names: the tasks whose lists are written; all if absent.

    Raises:
        BenchmarkError: the folder holds something already, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BenchmarkError(f"{folder}: is there already and not empty; give another --out.")
    chosen = {name: tasks[name] for name in names or tasks}
    source = _Source.of(dataset, tasks, settings)

    def fill(place: Path) -> None:
        _write_texts(place, source)
        _write_training(place, source, chosen)
        for task in chosen.values():
            for split in ("valid", "test"):
                _write_lists_as_trec(place, source, task, split)
                _write_lists_as_parquet(place, source, task, split)
            _write_excluded(place, source, task)
        meta = _meta(dataset, chosen, protocol, settings)
        write_json(place / META, meta)
        write_text(place / "README.md", readme_of(meta))

    build_folder(folder, fill)


def _meta(
    dataset: Dataset, tasks: Mapping[str, Task], protocol: str, settings: ProtocolSettings
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "dataset": dataset.name,
        "dataset_fingerprint": dataset.fingerprint,
        "protocol": protocol,
        "settings": settings.model_dump(mode="json"),
        "settings_fingerprint": settings.fingerprint,
        "tasks": {
            name: {
                "events": len(task.test),
                "valid_events": len(task.valid),
                "candidates": int(task.test_candidates.items.shape[1]),
                "fingerprint": task.fingerprint,
                "events_fingerprint": events_fingerprint(dataset, task),
                "lists_fingerprint": task.test_candidates.fingerprint,
            }
            for name, task in tasks.items()
        },
    }


def events_fingerprint(dataset: Dataset, task: Task) -> str:
    """Of which test events the event ids stand for."""
    rows = hashlib.sha256(np.ascontiguousarray(task.test.position, dtype=np.int64).tobytes())
    return sha256_of_json([dataset.fingerprint or fingerprint_of(dataset), rows.hexdigest()])


@dataclass(frozen=True)
class _Source:
    """What all files are written from.

    ``allowed`` (log rows,) are those that a validation history may hold, ``trained`` (log rows,)
    those of the training log.
    """

    dataset: Dataset
    tasks: Mapping[str, Task]
    settings: ProtocolSettings
    items: pa.Array
    words: list[str]
    queries: pa.Array
    allowed: NDArray[np.bool_]
    trained: NDArray[np.bool_]

    @classmethod
    def of(cls, dataset: Dataset, tasks: Mapping[str, Task], settings: ProtocolSettings) -> _Source:
        return cls(
            dataset=dataset,
            tasks=tasks,
            settings=settings,
            items=pa.array(dataset.items.external_id, pa.string()),
            words=item_words(dataset.items.external_id),
            queries=pa.array(dataset.queries.text, pa.string()),
            allowed=validation_rows(dataset.log, tasks, settings),
            trained=rows_for_training(dataset.log, tasks, settings),
        )

    def users_of(self, rows: NDArray[np.integer]) -> pa.Array:
        """The external ids of the users of log rows."""
        names = pa.array(self.dataset.users, pa.string())
        return names.take(pa.array(self.dataset.log.user[rows]))

    def requests(self, task: Task, split: str) -> Requests:
        """What the suite's systems are asked for ``split``."""
        return task.requests(self.dataset, split, self.allowed if split == "valid" else None)


def _prefix(task: Task, split: str) -> str:
    """How a split's files begin: those of the test have no word for it."""
    return task.name if split == "test" else f"{task.name}.{split}"


def _write_texts(folder: Path, source: _Source) -> None:
    items = source.dataset.items
    columns = {"item": items.external_id, "title": items.title, "text": items.text}
    _write(
        folder / "items.parquet",
        pa.table({name: pa.array(texts, pa.string())[1:] for name, texts in columns.items()}),
    )
    _write(folder / "queries.parquet", pa.table({"query": source.queries[1:]}))
    _write_lines(
        folder / "items.jsonl",
        (
            json.dumps({"id": word, "contents": text}, ensure_ascii=False)
            for word, text in zip(source.words[1:], items.text[1:], strict=True)
        ),
    )


def _write_training(folder: Path, source: _Source, chosen: Mapping[str, Task]) -> None:
    """The training log; rows that the suite's systems learn from have an event's id."""
    log = source.dataset.log
    rows = np.flatnonzero(source.trained)
    ids = np.full(len(log), "", dtype=object)
    for task in source.tasks.values():
        examples = task.train.position
        events = numbered_events(task, "train", len(examples))
        ids[examples] = events
        if task.name not in chosen:
            continue
        write_qrels(folder / f"{task.name}.train.qrels", events, log.item[examples], source.words)
        if task.behaviour == SEARCH:
            texts = source.queries.take(pa.array(log.query[examples])).to_pylist()
            _write_topics(folder / f"{task.name}.train.topics.tsv", events, texts)
    names = pa.array([_TASK_NAMES[number] for number in sorted(_TASK_NAMES)])
    table = pa.table(
        {
            "user": source.users_of(rows),
            "task": names.take(pa.array(log.behaviour[rows].astype(np.int64))),
            "item": source.items.take(pa.array(log.item[rows])),
            "query": source.queries.take(pa.array(log.query[rows])),
            "timestamp": log.timestamp[rows],
            "session": log.session[rows],
            "event": pa.array(ids[rows], pa.string()),
        }
    )
    _write(folder / "training.parquet", table)


def _write_lists_as_trec(folder: Path, source: _Source, task: Task, split: str) -> None:
    lists, events, words = task.candidates(split), event_ids(task, split), source.words
    prefix = _prefix(task, split)
    _write_lines(
        folder / f"{prefix}.candidates.trec",
        (
            f"{event} Q0 {words[item]} {place + 1} {-place} {_TAG}"
            for event, items in zip(events, lists.items, strict=True)
            for place, item in enumerate(items)
            if item
        ),
    )
    position = getattr(task, split).position
    write_qrels(folder / f"{prefix}.qrels", events, source.dataset.log.item[position], words)
    if task.behaviour == SEARCH:
        texts = source.requests(task, split).query_texts
        _write_topics(folder / f"{prefix}.topics.tsv", events, texts)


def _write_topics(path: Path, events: Sequence[str], texts: Sequence[str]) -> None:
    """A line an event: its id, a tab, the query's text on one line."""
    _write_lines(
        path, (f"{e}\t{' '.join(text.split())}" for e, text in zip(events, texts, strict=True))
    )


def _write_lists_as_parquet(folder: Path, source: _Source, task: Task, split: str) -> None:
    requests, lists = source.requests(task, split), task.candidates(split)
    events, position = event_ids(task, split), getattr(task, split).position
    prefix = _prefix(task, split)
    path = folder / f"{prefix}.parquet"
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, _LISTS) as written:
        for rows, batch in requests.batches(_EVENTS_AT_ONCE):
            items = lists.items[rows]
            columns = {
                "event": pa.array(events[rows], pa.string()),
                "user": source.users_of(position[rows]),
                "query": source.queries.take(pa.array(batch.query)),
                "timestamp": pa.array(batch.timestamp, pa.int64()),
                **_histories(source, batch),
                "candidates": _lists(
                    np.count_nonzero(items, axis=1), source.items.take(pa.array(items[items > 0]))
                ),
            }
            written.write_table(pa.table(columns, schema=_LISTS))
    targets = pa.table(
        {
            "event": pa.array(events, pa.string()),
            "target": source.items.take(pa.array(source.dataset.log.item[position])),
            "target_column": lists.target_column,
        }
    )
    _write(folder / f"{prefix}.targets.parquet", targets)


_TEXTS, _NUMBERS = pa.large_list(pa.string()), pa.large_list(pa.int64())
_LISTS = pa.schema(
    [
        ("event", pa.string()),
        ("user", pa.string()),
        ("query", pa.string()),
        ("timestamp", pa.int64()),
        ("history_items", _TEXTS),
        ("history_tasks", _TEXTS),
        ("history_queries", _TEXTS),
        ("history_timestamps", _NUMBERS),
        ("history_sessions", _NUMBERS),
        ("candidates", _TEXTS),
    ]
)


def _histories(source: _Source, batch: Requests) -> dict[str, pa.Array]:
    """All that each event may see, oldest first: columns of lists."""
    longest = max(1, int(np.sum(batch.history_sizes(), axis=0).max(initial=0)))
    history = batch.history(longest)
    mask, counts = history.mask, history.count
    names = pa.array([_TASK_NAMES[number] for number in sorted(_TASK_NAMES)])
    tasks = names.take(pa.array(history.behaviours[mask].astype(np.int64)))
    return {
        "history_items": _lists(counts, source.items.take(pa.array(history.items[mask]))),
        "history_tasks": _lists(counts, tasks),
        "history_queries": _lists(counts, source.queries.take(pa.array(history.queries[mask]))),
        "history_timestamps": _lists(counts, pa.array(history.timestamps[mask], pa.int64())),
        "history_sessions": _lists(counts, pa.array(history.sessions[mask], pa.int64())),
    }


def _write_excluded(folder: Path, source: _Source, task: Task) -> None:
    """Which items each test event is not ranked against among all items."""
    barred = task.barred(source.dataset, source.settings)
    rows = np.arange(len(task.test))
    _, items = barred.items_of(rows)
    table = pa.table(
        {
            "event": pa.array(event_ids(task), pa.string()),
            "excluded": _lists(barred.counts(rows), source.items.take(pa.array(items))),
        }
    )
    _write(folder / f"{task.name}.excluded.parquet", table)


def _lists(counts: NDArray[np.integer], values: pa.Array) -> pa.Array:
    """A column of lists, (events,), that share one flat array of values."""
    ends = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    return pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), values)


def _write(path: Path, table: pa.Table) -> None:
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def _write_lines(path: Path, lines: Iterator[str]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as out:
        out.writelines(f"{line}\n" for line in lines)
