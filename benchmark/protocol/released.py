"""The negatives of the official code, number for number.

Python's ``random.choice`` over the list of the kept rows' items (so in proportion to popularity,
test rows included) until enough different items are found; BM25 hits first for the search task. One
generator serves all six lists in the official order, so the training lists are drawn too although
the suite's systems sample their own. Source: data/process_raw.ipynb of the official repository,
commit bd1a126, drawn in one process (the original's worker processes make it irreproducible).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from benchmark.data.dataset import RECOMMENDATION, SEARCH, Dataset, EventLog, IntArray
from benchmark.errors import BenchmarkError
from benchmark.protocol.hard_negatives import search_engine
from benchmark.protocol.histories import EventSet
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.splits import Split
from benchmark.retrieval import BM25Engine

TRAINING_NEGATIVES = 4
_SPARE_HITS = 10
_MAXIMUM_DRAWS = 1_000_000  # the original never ends when too few items are eligible


def released_negatives(
    dataset: Dataset,
    splits: dict[int, Split],
    settings: ProtocolSettings,
    engine: BM25Engine | None = None,
) -> dict[tuple[int, str], IntArray]:
    """All lists by (behaviour, split name), each (events, 4 or ``settings.negatives``).

    Raises:
        BenchmarkError: an event has too few eligible items.
    """
    generator = random.Random(settings.seed)
    lists: dict[tuple[int, str], IntArray] = {}
    for behaviour, split in splits.items():
        pool = _pool(dataset.log, split, behaviour)
        for name in ("train", "valid", "test"):
            events: EventSet = getattr(split, name)
            number = TRAINING_NEGATIVES if name == "train" else settings.negatives
            hits: Sequence[Sequence[int]] = [()] * len(events)
            if behaviour == SEARCH:
                engine = engine or search_engine(dataset, settings)
                hits = _hits(dataset, events, _depth(number, settings), engine)
            lists[behaviour, name] = _draw(
                dataset, events, behaviour, hits, pool, number, generator
            )
    return lists


def _depth(number: int, settings: ProtocolSettings) -> int:
    """How many hits are looked at for ``number`` negatives."""
    depth = number + _SPARE_HITS
    return depth if settings.search_depth is None else min(depth, settings.search_depth)


def _pool(log: EventLog, split: Split, behaviour: int) -> list[int]:
    """The items of all kept rows, in the order of the official table."""
    kept = np.concatenate([split.train.position, split.held_out_positions()])
    tie = log.item[kept] if behaviour == RECOMMENDATION else kept
    order = np.lexsort((tie, log.timestamp[kept], log.user[kept]))
    return [int(item) for item in log.item[kept[order]]]


def _hits(
    dataset: Dataset, events: EventSet, k: int, engine: BM25Engine
) -> Sequence[Sequence[int]]:
    """The item ids of each event's best ``k`` BM25 hits, target included."""
    query = dataset.log.query[events.position]
    distinct, inverse = np.unique(query, return_inverse=True)
    found = engine.search([dataset.queries.text[number] for number in distinct], k)
    by_query = [[int(item) for item in row if item > 0] for row in found.documents]
    return [by_query[number] for number in inverse.reshape(-1)]


def _draw(
    dataset: Dataset,
    events: EventSet,
    behaviour: int,
    hits: Sequence[Sequence[int]],
    pool: list[int],
    number: int,
    generator: random.Random,
) -> IntArray:
    """(events, number): each event's hits without its target, then draws from ``pool``."""
    log = dataset.log
    user = log.user[events.position]
    start = log.offsets[user]
    # A recommendation row counts with its pasted counters, a search row with its own place.
    earlier = (
        events.seen_recommendation + events.seen_search
        if behaviour == RECOMMENDATION
        else events.position - start
    )
    targets = log.item[events.position]
    lists = np.zeros((len(events), number), dtype=np.int32)
    for row, event_hits in enumerate(hits):
        target = int(targets[row])
        chosen = [item for item in event_hits if item != target][:number]
        taken = {target, *chosen}
        taken.update(int(i) for i in log.item[start[row] : start[row] + earlier[row]])
        draws = 0
        while len(chosen) < number:
            item = generator.choice(pool)
            draws += 1
            if item not in taken:
                chosen.append(item)
                taken.add(item)
            elif draws > _MAXIMUM_DRAWS:
                raise BenchmarkError(
                    f"data set {dataset.name}: user {dataset.users[user[row]]!r} leaves only "
                    f"{len(chosen)} eligible negatives of the {number} that the protocol asks for."
                )
        lists[row] = chosen
    return lists
