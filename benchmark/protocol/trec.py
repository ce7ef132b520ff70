"""TREC run and qrels files with the items' own ids and the ids of the test events."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import IntArray
from benchmark.files import atomic_path
from benchmark.protocol.graded import JudgedItems

_NOT_IN_TREC = re.compile(r"[\s%]")


def item_words(external_ids: Sequence[str]) -> list[str]:
    """External ids as words: blanks and per cent signs as in web addresses (``%20``, ``%25``)."""
    return [
        _NOT_IN_TREC.sub(lambda sign: "".join(f"%{b:02X}" for b in sign[0].encode()), text)
        for text in external_ids
    ]


def write_qrels(
    path: Path,
    events: Sequence[str],
    targets: IntArray,
    words: Sequence[str],
    judged: JudgedItems | None = None,
) -> None:
    """Write one line an event: its target, (events,) item ids, is relevant.

    Where relevance is graded there is a line for each item with a gain instead, and its gain.
    """
    if judged is None:
        lines = [(event, item, 1) for event, item in zip(events, targets.tolist(), strict=True)]
    else:
        columns = (judged.event.tolist(), judged.item.tolist(), judged.gain.tolist())
        lines = [(events[row], item, gain) for row, item, gain in zip(*columns, strict=True)]
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as out:
        out.writelines(f"{event} 0 {words[item]} {gain}\n" for event, item, gain in lines)


def write_run(
    path: Path,
    events: Sequence[str],
    candidates: IntArray,
    scores: NDArray[np.float32],
    words: Sequence[str],
    tag: str,
) -> None:
    """Write the candidates of each event in the order of their scores.

    Equal scores are written equal, whole to the last bit. Candidates that a beam has pruned (-inf)
    have no line; an event of which all are pruned has one, with the score -inf, since evaluators
    leave out an event without any line. What fills up a shorter list has no line either.

    Args:
        path: the file.
        events: (events,) ids.
        candidates: (events, candidates) item ids, 0 where a list is shorter.
        scores: the same shape; higher is better.
        words: the word of each item id.
        tag: what the run is called.
    """
    scores = np.where(candidates > 0, scores, np.float32(-np.inf))
    order = np.argsort(-scores, axis=1, kind="stable")
    items = np.take_along_axis(candidates, order, axis=1)
    # A float32 written as the double that it equals is read back as the same number.
    values = np.take_along_axis(scores, order, axis=1).astype(np.float64)
    kept = np.maximum(np.count_nonzero(values != -np.inf, axis=1), 1)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as out:
        for event, number, own_items, own_values in zip(events, kept, items, values, strict=True):
            pairs = zip(own_items[:number].tolist(), own_values[:number].tolist(), strict=True)
            out.writelines(
                f"{event} Q0 {words[item]} {place} {value!r} {tag}\n"
                for place, (item, value) in enumerate(pairs, start=1)
            )
