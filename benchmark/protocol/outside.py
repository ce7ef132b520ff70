"""Runs of other systems: TREC lines, and what they say of our test events in either view.

A run is ranked by its scores. In the view of the lists only the candidates of an event count; among
all items every line does whose item the protocol admits. Items that a run does not name stand,
tied, after all that it names.

The id of an event, such as ``search-test-000017-9c1e5a07``, ends with the first digits of the
fingerprint of all that the test asks (:attr:`benchmark.protocol.task.Task.fingerprint`), so a run
says of itself which data, protocol and lists it was made for, and is refused by any other.
"""

from __future__ import annotations

import gzip
import io
import math
import re
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset, LongArray
from benchmark.errors import BenchmarkError, quoted, shortened
from benchmark.protocol.all_items import eligible_items
from benchmark.protocol.exclusions import Exclusions
from benchmark.protocol.graded import JudgedItems, JudgedRanks
from benchmark.protocol.metrics import Ranks
from benchmark.protocol.task import Task

_DIGITS = 8  # of a fingerprint, in an event's id
_EVENT = re.compile(r"([a-z]+)-(train|valid|test)-(\d{6,12})(?:-([0-9a-f]{8}))?")


def event_ids(task: Task, split: str = "test") -> list[str]:
    """The id of each event of ``split`` ("valid" or "test"), (events,)."""
    return numbered_events(task, split, len(getattr(task, split)))


def numbered_events(task: Task, split: str, number: int) -> list[str]:
    """The ids of the first ``number`` events of ``split`` ("train", "valid" or "test")."""
    digits = task.fingerprint[:_DIGITS]
    return [f"{task.name}-{split}-{row:06d}-{digits}" for row in range(number)]


def unknown_event(event: str, task: Task) -> str:
    """What is wrong with an event that is none of the task's test, in a part of a sentence."""
    match = _EVENT.fullmatch(event)
    first, last = (f"{task.name}-test-{row:06d}" for row in (0, len(task.test) - 1))
    digits = task.fingerprint[:_DIGITS]
    own = f"those of the {task.name} test are {first}-{digits} to {last}-{digits}"
    if match is None or match[1] != task.name or match[2] != "test":
        return f"unknown event {quoted(event)}; {own}"
    if match[4] is None:
        return (
            f"event {quoted(event)} has no fingerprint at its end, as in exports before format 2, "
            f"so nobody knows which lists it is of; {own}"
        )
    if match[4] != digits:
        return (
            f"event {quoted(event)} is of another data set, protocol or setting than the chosen "
            f"ones, whose fingerprint is {digits} and not {match[4]}; name those that it was "
            "exported with, or export anew"
        )
    return f"unknown event {quoted(event)}; {own}"


@dataclass(frozen=True)
class RunLines:
    """The lines of a TREC run; every array has shape (lines,), in the order of the file."""

    row: LongArray  # of the event
    item: LongArray
    rank: LongArray
    score: NDArray[np.float64]
    line: LongArray  # its number in the file, from 1


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The number and the six fields of each line that is not blank; ``.gz`` is unpacked."""
    try:
        with _opened(path) as opened:
            for number, line in enumerate(opened, start=1):
                fields = line.split()
                if not fields:
                    continue
                if len(fields) != 6:
                    raise BenchmarkError(
                        f"{path}: line {number}: has {len(fields)} fields, not the six of a TREC "
                        "run (event, Q0, item, rank, score, tag)."
                    )
                yield number, fields
    except FileNotFoundError:
        raise BenchmarkError(f"{path}: the file is missing.") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise BenchmarkError(f"{path}: cannot be read ({shortened(str(error))}).") from None


def _opened(path: Path) -> io.TextIOBase:
    """The file as text, with or without a byte order mark."""
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path), encoding="utf-8-sig")
    return path.open(encoding="utf-8-sig")


def read_run_lines(
    path: Path, dataset: Dataset, task: Task, *, reads_ranks: bool = False
) -> RunLines:
    """All lines of a TREC run; every event and item must be known, every number a number.

    The field of ranks is read where it gives the order of a list. A run is ranked by its scores, so
    whatever stands there is passed over, as by trec_eval.
    """
    row_of = {event: row for row, event in enumerate(event_ids(task))}
    item_of = {name: item for item, name in enumerate(dataset.items.external_id) if item}
    rows, items, ranks, lines = array("q"), array("q"), array("q"), array("q")
    scores = array("d")
    for number, (event, _, word, rank, score, _) in _lines(path):
        row = row_of.get(event)
        if row is None:
            raise BenchmarkError(f"{path}: line {number}: {unknown_event(event, task)}.")
        name = unquote(word) if "%" in word else word
        item = item_of.get(name)
        if item is None:
            raise BenchmarkError(f"{path}: line {number}: unknown item {quoted(name)}.")
        try:
            ranks.append(_rank_of(rank) if reads_ranks else 0)
            scores.append(float(score))
        except ValueError:
            of_rank = f"rank {quoted(rank)} must be a whole number and " if reads_ranks else ""
            raise BenchmarkError(
                f"{path}: line {number}: {of_rank}score {quoted(score)} must be a number."
            ) from None
        rows.append(row)
        items.append(item)
        lines.append(number)
    return RunLines(
        row=np.frombuffer(rows, dtype=np.int64),
        item=np.frombuffer(items, dtype=np.int64),
        rank=np.frombuffer(ranks, dtype=np.int64),
        score=np.frombuffer(scores, dtype=np.float64),
        line=np.frombuffer(lines, dtype=np.int64),
    )


def _rank_of(text: str) -> int:
    """A whole number, which may be written as ``1.0``."""
    number = float(text)
    if not number.is_integer() or abs(number) >= 2**53:
        raise ValueError(text)
    return int(number)


@dataclass(frozen=True)
class OutsideScores:
    """What a TREC run says of our lists.

    ``scores`` is (events, candidates), -inf where the run names no score. ``unscored`` counts these
    candidates, ``outside`` the lines of the run whose item is in no list of their event.
    """

    scores: NDArray[np.float64]
    unscored: int
    outside: int


def read_run(path: Path, dataset: Dataset, task: Task) -> OutsideScores:
    """The scores that another system's TREC run gives to the candidates of the test events.

    Raises:
        BenchmarkError: the run is malformed, lacks an event, or names an unknown event or item,
            one twice, or a score that is not finite (-inf, for pruned, is allowed).
    """
    run, key, order = _checked_run(path, dataset, task)
    candidates = task.test_candidates.items
    width = dataset.number_of_items + 1
    asked = np.arange(len(candidates))[:, None] * width + candidates
    number = int(task.test_candidates.lengths.sum())
    if not len(key):
        return OutsideScores(np.full(asked.shape, -math.inf), number, 0)
    place = np.minimum(np.searchsorted(key[order], asked), len(key) - 1)
    named = key[order][place] == asked
    scores = np.where(named, run.score[order][place], -math.inf)
    scored = int(np.count_nonzero(named))
    return OutsideScores(scores, number - scored, len(key) - scored)


@dataclass(frozen=True)
class OutsideRanks:
    """What a TREC run says of our test events among all items.

    ``unnamed`` counts the admitted items that it does not name, over all events, ``barred`` its
    lines whose item the protocol does not admit for their event.
    """

    ranks: Ranks
    unnamed: int
    barred: int


def read_run_among_all(
    path: Path, dataset: Dataset, task: Task, barred: Exclusions
) -> OutsideRanks:
    """Where another system's TREC run ranks the targets among all items that are admitted.

    Args:
        path: the run; it may name any number of items of an event.
        dataset: the data.
        task: whose test events are ranked.
        barred: what is not admitted; rows are the test events.

    Raises:
        BenchmarkError: as for :func:`read_run`.
    """
    run, _, _ = _checked_run(path, dataset, task)
    targets = dataset.log.item[task.test.position]
    is_barred = barred.contains(run.row, run.item)
    counts = ~is_barred & (run.score > -math.inf)
    row, item, score = run.row[counts], run.item[counts], run.score[counts]
    of_target = np.full(len(targets), -math.inf)
    is_target = item == targets[row]
    of_target[row[is_target]] = score[is_target]
    events = len(targets)
    above = np.bincount(row[score > of_target[row]], minlength=events)
    equal = np.bincount(row[(score == of_target[row]) & ~is_target], minlength=events)
    returned = of_target > -math.inf
    others = eligible_items(barred, events)
    judged = _judged(task.judged(dataset), barred, RunLines(row, item, row, score, row), others)
    tied = np.where(returned, equal, others - above)
    named = int(np.count_nonzero(counts))
    return OutsideRanks(
        Ranks(above.astype(np.int32), tied.astype(np.int32), returned, judged),
        unnamed=int(others.sum()) + events - named,
        barred=int(np.count_nonzero(is_barred)),
    )


def _judged(
    judged: JudgedItems | None, barred: Exclusions, run: RunLines, others: LongArray
) -> JudgedRanks | None:
    """Where the judged items stand by the lines that count; what has none stands, tied, last."""
    if judged is None:
        return None
    judged = judged.without(barred)
    order = np.argsort(run.row, kind="stable")
    ends = np.searchsorted(run.row[order], np.arange(len(others) + 1))
    above, tied = np.zeros((2, len(judged.event)), dtype=np.int64)
    returned = np.zeros(len(judged.event), dtype=bool)
    for place, (event, item) in enumerate(
        zip(judged.event.tolist(), judged.item.tolist(), strict=True)
    ):
        lines = order[ends[event] : ends[event + 1]]
        own = run.score[lines][run.item[lines] == item]
        if len(own):
            above[place] = np.count_nonzero(run.score[lines] > own[0])
            tied[place] = np.count_nonzero(run.score[lines] == own[0]) - 1
            returned[place] = True
        else:
            above[place], tied[place] = len(lines), others[event] - len(lines)
    return JudgedRanks(judged.event, judged.gain, above, tied, returned)


def _checked_run(path: Path, dataset: Dataset, task: Task) -> tuple[RunLines, LongArray, LongArray]:
    """A run whose lines may be ranked, their (event, item) as one number, and the order of these.

    An event without a line would count as one of which nothing was found. Whoever finds nothing
    says so with a score of -inf: a line that was lost must not pass for that.

    Raises:
        BenchmarkError: see :func:`read_run`.
    """
    run = read_run_lines(path, dataset, task)
    ids = event_ids(task)
    bad = np.isnan(run.score) | (run.score == math.inf)
    if bad.any():
        at = int(np.argmax(bad))
        raise BenchmarkError(
            f"{path}: line {run.line[at]}: the score of event {ids[run.row[at]]!r} is "
            f"{run.score[at]}, which is not finite."
        )
    width = dataset.number_of_items + 1
    key = run.row * width + run.item
    order = np.argsort(key, kind="stable")
    repeated = np.flatnonzero(np.diff(key[order]) == 0)
    if len(repeated):
        at = int(order[repeated + 1].min())
        name = quoted(dataset.items.external_id[run.item[at]])
        raise BenchmarkError(
            f"{path}: line {run.line[at]}: item {name} stands twice for event {ids[run.row[at]]!r}."
        )
    absent = np.flatnonzero(np.bincount(run.row, minlength=len(ids)) == 0)
    if len(absent):
        others = f" and for {len(absent) - 1:,} others" if len(absent) > 1 else ""
        raise BenchmarkError(
            f"{path}: there is no line for event {ids[absent[0]]!r}{others}; a run has a line for "
            "each test event, if only one whose score is -inf."
        )
    return run, key, order
