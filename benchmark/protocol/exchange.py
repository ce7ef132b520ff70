"""Candidate lists from other programs, as TREC files or as Parquet, for our own events.

What is read is as :mod:`benchmark.protocol.export` writes it: ``<task>.candidates.trec`` (one line
a candidate: event id, ``Q0``, the item's external id, rank, score, tag) or ``<task>.parquet`` (one
row an event). Blanks and per cent signs of item ids are written in TREC files as in web addresses
(``%20``, ``%25``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmark.data.dataset import Dataset, IntArray, LongArray
from benchmark.errors import BenchmarkError, quoted, shortened
from benchmark.files import read_json
from benchmark.protocol.candidates import Candidates
from benchmark.protocol.export import (
    FORMAT_VERSION,
    META,
    events_fingerprint,
    export_tasks,
    lists_path,
)
from benchmark.protocol.outside import event_ids, read_run, read_run_lines, unknown_event
from benchmark.protocol.task import Task

__all__ = ["event_ids", "export_tasks", "lists_path", "read_candidates", "read_run"]


@dataclass(frozen=True)
class _Entries:
    """Candidates as they stand in a file; ``row`` is the event's number, ``place`` says where.

    ``row`` and ``item`` have shape (entries,), in the order of the lists.
    """

    path: Path
    row: LongArray
    item: LongArray
    place: Callable[[int], str]


def read_candidates(
    folder: Path, dataset: Dataset, tasks: Mapping[str, Task]
) -> dict[str, Candidates]:
    """The lists that another program left in ``folder``, for the tasks that it has files for.

    A task may have ``<task>.candidates.trec``, ``<task>.parquet``, or both if they agree.

    Raises:
        BenchmarkError: there are none, or they do not fit the data set, the events or each other.
    """
    if not folder.is_dir():
        raise BenchmarkError(f"{folder}: is not a folder of candidate lists.")
    _check_meta(folder, dataset, tasks)
    readers = {".candidates.trec": _entries_of_trec, ".parquet": _entries_of_parquet}
    lists: dict[str, Candidates] = {}
    for name, task in tasks.items():
        for suffix, entries_of in readers.items():
            path = lists_path(folder, name, suffix)
            if not path.exists():
                continue
            found = _as_candidates(entries_of(path, dataset, task), dataset, task)
            if name in lists and lists[name].fingerprint != found.fingerprint:
                other = lists_path(folder, name, ".candidates.trec").name
                raise BenchmarkError(
                    f"{path}: holds other lists than {other} beside it; remove one of the two."
                )
            lists[name] = found
    if not lists:
        raise BenchmarkError(
            f"{folder}: holds no lists for {' or '.join(tasks)}: there is neither "
            f"<task>.candidates.trec nor <task>.parquet."
        )
    return lists


def _check_meta(folder: Path, dataset: Dataset, tasks: Mapping[str, Task]) -> None:
    """Where our own ``meta.json`` is still there, the event ids must mean the same events."""
    path = folder / META
    if not path.exists():
        return
    meta = read_json(path)
    try:
        version = meta.get("version", 1)  # the first exports named none
        protocol = meta["protocol"]
        events = {name: entry["events_fingerprint"] for name, entry in meta["tasks"].items()}
    except (AttributeError, KeyError, TypeError):
        raise BenchmarkError(f"{path}: is not the meta.json of an export; remove it.") from None
    if version != FORMAT_VERSION:
        raise BenchmarkError(
            f"{path}: version: the export is of format {quoted(version)}, and this suite reads "
            f"{FORMAT_VERSION}; export again."
        )
    for name, task in tasks.items():
        if name in events and events[name] != events_fingerprint(dataset, task):
            raise BenchmarkError(
                f"{path}: tasks.{name}: the lists belong to other events than the {name} test of "
                f"data set {dataset.name} under the chosen protocol; they were made with data set "
                f"{meta.get('dataset')} and protocol {protocol}."
            )


def _as_candidates(entries: _Entries, dataset: Dataset, task: Task) -> Candidates:
    """Group the entries by event and check that the lists are lists."""
    ids = event_ids(task)
    order = np.argsort(entries.row, kind="stable")
    row, item = entries.row[order], entries.item[order]
    by_item = np.lexsort((order, item, row))
    repeated = (np.diff(row[by_item]) == 0) & (np.diff(item[by_item]) == 0)
    if repeated.any():
        again = by_item[1:][repeated][np.argmin(order[by_item[1:][repeated]])]
        raise BenchmarkError(
            f"{entries.path}: {entries.place(int(order[again]))}: candidate "
            f"{quoted(dataset.items.external_id[item[again]])} stands twice in the list of event "
            f"{ids[row[again]]!r}."
        )
    counts = np.bincount(row, minlength=len(ids))
    if not counts.all():
        missing = ids[int(np.argmin(counts))]
        raise BenchmarkError(f"{entries.path}: there is no list for the event {missing!r}.")
    first_of = np.cumsum(counts) - counts
    longest, own = int(counts.max()), task.test_candidates.lengths
    # A line that was lost must not pass for a list that is shorter by right.
    odd = np.flatnonzero((counts < longest) & ((own == own.max()) | (counts != own)))
    if len(odd):
        first = int(order[first_of[odd[0]]])
        raise BenchmarkError(
            f"{entries.path}: {entries.place(first)}: the list of event {ids[odd[0]]!r} has "
            f"{counts[odd[0]]} candidates, but that of {ids[int(np.argmax(counts))]!r} has "
            f"{longest}; all must be of one length, save those that the protocol makes shorter."
        )
    items: IntArray = np.zeros((len(ids), longest), dtype=np.int32)
    items[row, np.arange(len(row)) - first_of[row]] = item
    targets = dataset.log.item[task.test.position]
    without = ~(items == targets[:, None]).any(axis=1)
    if without.any():
        event = int(np.argmax(without))
        first = int(order[first_of[event]])
        raise BenchmarkError(
            f"{entries.path}: {entries.place(first)}: the list of event {ids[event]!r} lacks its "
            f"target {quoted(dataset.items.external_id[targets[event]])}."
        )
    return Candidates.with_targets(items, targets)


def _entries_of_trec(path: Path, dataset: Dataset, task: Task) -> _Entries:
    run = read_run_lines(path, dataset, task, reads_ranks=True)
    order = np.lexsort((run.rank, run.row))
    lines = run.line[order]
    return _Entries(path, run.row[order], run.item[order], lambda entry: f"line {lines[entry]}")


def _entries_of_parquet(path: Path, dataset: Dataset, task: Task) -> _Entries:
    ids = event_ids(task)
    try:
        table = pq.read_table(path, columns=["event", "candidates"])
        events = table["event"].cast(pa.string()).combine_chunks()
        lists = table["candidates"].cast(pa.large_list(pa.string())).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        reason = shortened(str(error))
        raise BenchmarkError(
            f"{path}: is not readable as Parquet with the columns event (text) and candidates "
            f"(lists of text): {reason}"
        ) from None
    row = _numbers_of(events, ids)
    if (row < 0).any():
        at = int(np.argmin(row))
        event = events[at].as_py()
        wrong = "has no event" if event is None else unknown_event(event, task)
        raise BenchmarkError(f"{path}: row {at}: {wrong}.")
    distinct, first = np.unique(row, return_index=True)
    if len(distinct) < len(row):
        at = int(np.setdiff1d(np.arange(len(row)), first)[0])
        raise BenchmarkError(f"{path}: row {at}: event {quoted(events[at].as_py())} stands twice.")
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    names = lists.flatten()
    item = _numbers_of(names, dataset.items.external_id)
    owner = np.repeat(np.arange(len(row)), lengths)
    if (item <= 0).any():
        at = int(np.argmax(item <= 0))
        raise BenchmarkError(
            f"{path}: row {owner[at]}: candidates: unknown item {quoted(names[at].as_py())}."
        )
    return _Entries(path, row[owner], item, lambda entry: f"row {owner[entry]}")


def _numbers_of(texts: pa.Array, known: Sequence[str]) -> LongArray:
    """The position of each text in ``known``, -1 for unknown ones and nulls."""
    found = pc.index_in(texts, value_set=pa.array(known, pa.string()), skip_nulls=True)
    numbers: LongArray = pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers
