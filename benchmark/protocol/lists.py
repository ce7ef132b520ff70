"""The negatives of a task's held-out events, by the law of a protocol's settings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import SEARCH, Dataset, IntArray, Judgements, LongArray
from benchmark.errors import BenchmarkError, counted
from benchmark.hashing import row_hash
from benchmark.protocol.blocks import Arrays, Blocks, ranges
from benchmark.protocol.exclusions import Exclusions
from benchmark.protocol.hard_negatives import (
    SearchEvents,
    bm25_negatives,
    count_fill_ups,
    search_engine,
)
from benchmark.protocol.histories import EventSet
from benchmark.protocol.matched import matched_lists
from benchmark.protocol.negatives import HashedLaw, hashed_negatives
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.splits import Split, rows_but_the_test, training_rows
from benchmark.protocol.urn import event_keys
from benchmark.retrieval import BM25Engine

HELD_OUT = ("valid", "test")

_EVENTS_OF_A_BLOCK = 1 << 16


@dataclass(frozen=True)
class Lists:
    """The held-out events of a task that get lists, with their negatives (events, any number).

    ``fill_ups`` is the number of test negatives of searches that are no BM25 hits.
    """

    valid: EventSet
    test: EventSet
    valid_negatives: IntArray
    test_negatives: IntArray
    fill_ups: int = 0
    notes: tuple[str, ...] = ()


def lists_of(
    dataset: Dataset,
    behaviour: int,
    splits: dict[int, Split],
    settings: ProtocolSettings,
    engine: BM25Engine | None,
    blocks: Blocks,
) -> Lists:
    """The lists of the settings' law; finished ones are kept in ``blocks``."""
    # What stands in no list of validation would be what the user touches in the test.
    allowed = _but_the_test(dataset, splits, settings)
    if behaviour == SEARCH and dataset.judgements is not None:
        return _judged(dataset, splits[SEARCH], dataset.judgements)
    if behaviour == SEARCH:
        engine = engine or search_engine(dataset, settings)
        if settings.search_negatives == "bm25-matched":
            return _matched(dataset, splits, settings, engine, allowed, blocks)
        return _best(dataset, splits[SEARCH], settings, engine, allowed, blocks)
    split = splits[behaviour]
    drawn = []
    for part, rows in zip(HELD_OUT, (allowed, None), strict=True):
        events: EventSet = getattr(split, part)
        drawn.append(recommendation_negatives(dataset, split, events, settings, rows, blocks, part))
        _check_some(dataset, events, drawn[-1])
    return Lists(split.valid, split.test, drawn[0], drawn[1])


def _asked(
    dataset: Dataset, split: Split, settings: ProtocolSettings, allowed: NDArray[np.bool_]
) -> SearchEvents:
    """The searches of validation, then those of the test."""
    return SearchEvents.of(dataset, split.valid.position, settings, allowed).followed_by(
        SearchEvents.of(dataset, split.test.position, settings)
    )


def _best(
    dataset: Dataset,
    split: Split,
    settings: ProtocolSettings,
    engine: BM25Engine,
    allowed: NDArray[np.bool_],
    blocks: Blocks,
) -> Lists:
    asked = _asked(dataset, split, settings, allowed)
    negatives, found = bm25_negatives(dataset, asked, settings, engine, blocks)
    _check_some(dataset, split.valid.followed_by(split.test), negatives)
    # Only what was filled up can be no hit.
    tested = np.arange(len(asked)) >= len(split.valid)
    filled = np.flatnonzero(tested & (found < negatives.shape[1]))
    return Lists(
        split.valid,
        split.test,
        negatives[~tested],
        negatives[tested],
        count_fill_ups(dataset, engine, asked.query[filled], negatives[filled]),
    )


def _but_the_test(
    dataset: Dataset, splits: dict[int, Split], settings: ProtocolSettings
) -> NDArray[np.bool_]:
    """The log rows that validation lists may depend on, (events,)."""
    tested = np.concatenate([split.test.position for split in splits.values()])
    hidden = np.concatenate([split.test.hidden for split in splits.values()])
    return rows_but_the_test(dataset.log, tested, hidden, settings)


def _matched(
    dataset: Dataset,
    splits: dict[int, Split],
    settings: ProtocolSettings,
    engine: BM25Engine,
    allowed: NDArray[np.bool_],
    blocks: Blocks,
) -> Lists:
    split = splits[SEARCH]
    both = split.valid.followed_by(split.test)
    pairs = trained_pairs_of(dataset, splits, settings)
    asked = _asked(dataset, split, settings, allowed)
    is_valid = np.arange(len(both)) < len(split.valid)
    found = matched_lists(dataset, both, asked, is_valid, settings, pairs, engine, blocks)
    valid, test = (np.flatnonzero(found.is_ranked & part) for part in (is_valid, ~is_valid))
    for part, rows in zip(HELD_OUT, (valid, test), strict=True):
        if not len(rows):
            raise BenchmarkError(
                f"data set {dataset.name}: no {part} search has items alike its target, so the "
                "protocol setting search_negatives=bm25-matched makes no lists; allowed are "
                "bm25-top and bm25-filtered."
            )
    return Lists(
        both.select(valid),
        both.select(test),
        found.negatives[valid],
        found.negatives[test],
        int(found.fill_ups[test].sum()),
        found.notes,
    )


def _judged(dataset: Dataset, split: Split, judgements: Judgements) -> Lists:
    """Lists of what was judged for the query, whatever the settings say of negatives.

    Ranked are searches for a query of which two items or more were judged, the target with the
    greatest gain.
    """
    kept: list[EventSet] = []
    negatives: list[IntArray] = []
    lost = 0
    for part in HELD_OUT:
        events: EventSet = getattr(split, part)
        target = dataset.log.item[events.position]
        event, rows = judgements.of_queries(dataset.log.query[events.position])
        is_target = judgements.item[rows] == target[event]
        best, own = np.full((2, len(events)), -1)
        np.maximum.at(best, event, judgements.gain[rows])
        own[event[is_target]] = judgements.gain[rows][is_target]
        number = np.bincount(event, minlength=len(events))
        is_ranked = (own == best) & (own > 0) & (number > 1)
        if not is_ranked.any():
            raise BenchmarkError(
                f"data set {dataset.name}: no {part} search has its target among two or more items "
                "that were judged for its query."
            )
        lost += int(np.count_nonzero(~is_ranked))
        others = ~is_target & is_ranked[event]
        event, item = event[others], judgements.item[rows[others]]
        place = np.arange(len(event)) - np.searchsorted(event, event)
        found = np.zeros((len(events), int(number.max()) - 1), dtype=np.int32)
        found[event, place] = item
        kept.append(events.select(is_ranked))
        negatives.append(found[is_ranked])
    gains = ", ".join(map(str, np.unique(judgements.gain)[::-1].tolist()))
    notes = [
        "Searches have graded relevance: lists hold the items that were judged for the query, NDCG "
        f"takes their gains ({gains}), and HR, MRR and Recall take the best of them as relevant."
    ]
    if lost:
        notes.append(f"Without such judgements, hence not ranked: {counted(lost, 'search')}.")
    return Lists(kept[0], kept[1], negatives[0], negatives[1], notes=tuple(notes))


def trained_pairs_of(
    dataset: Dataset, splits: dict[int, Split], settings: ProtocolSettings
) -> Exclusions:
    """The (query, item) pairs of the searches that training may look at, by query."""
    log = dataset.log
    held_out = np.concatenate([split.held_out_positions() for split in splits.values()])
    seen = training_rows(log, held_out, settings) & (log.behaviour == SEARCH)
    return Exclusions.of_pairs(log.query[seen], log.item[seen], dataset.number_of_items)


def recommendation_negatives(
    dataset: Dataset,
    split: Split,
    events: EventSet,
    settings: ProtocolSettings,
    allowed: NDArray[np.bool_] | None = None,
    blocks: Blocks | None = None,
    part: str = "",
) -> IntArray:
    """Sampled negatives (events, negatives) by the settings' law, then 0 where all were taken.

    Args:
        allowed: (log rows,), those that say what was touched, and how often; all if absent.
        blocks: where finished ones are kept; nowhere if absent.
        part: what to call these events there.
    """
    log = dataset.log
    exclusions, rows = touched_by_users(dataset, events, settings, allowed)
    if settings.recommendation_negatives == "popularity":
        kept = np.concatenate([split.train.position, split.held_out_positions()])
        if allowed is not None:
            kept = kept[allowed[kept]]
        keys = row_hash(0, "time", event_keys(dataset, kept, 0), log.timestamp[kept])
        law = HashedLaw.of_events(settings.seed, dataset.item_keys, keys, log.item[kept])
    else:
        law = HashedLaw.uniform(settings.seed, dataset.item_keys)
    keys = event_keys(dataset, events.position, settings.seed)
    targets, number = log.item[events.position], settings.negatives

    def block(of: slice) -> Arrays:
        drawn, _ = hashed_negatives(law, keys[of], rows[of], targets[of], exclusions, number)
        return {"negatives": drawn}

    negatives = np.zeros((len(events), number), dtype=np.int32)
    parts = ranges(len(events), _EVENTS_OF_A_BLOCK)
    for of, arrays in (blocks or Blocks()).of(f"recommendation-{part}", parts, block):
        negatives[of] = arrays["negatives"]
    return negatives


def touched_by_users(
    dataset: Dataset,
    events: EventSet,
    settings: ProtocolSettings,
    allowed: NDArray[np.bool_] | None = None,
) -> tuple[Exclusions, LongArray]:
    """What cannot be a negative of each recommendation event, and each event's row there.

    Args:
        allowed: (log rows,), those that say what was touched; all of them if absent.
    """
    log, size = dataset.log, dataset.number_of_items
    user = log.user[events.position]
    if settings.recommendation_exclude == "all-interactions":
        known = log if allowed is None else log.keep(allowed)
        return Exclusions.of_log(known, size), user.astype(np.int64)
    earlier = events.position - log.offsets[user]
    return Exclusions.of_prefixes(log, user, earlier, size), np.arange(len(events))


def _check_some(dataset: Dataset, events: EventSet, negatives: IntArray) -> None:
    without = np.flatnonzero(~negatives.any(axis=1))
    if len(without):
        user = dataset.users[dataset.log.user[events.position[without[0]]]]
        raise BenchmarkError(
            f"data set {dataset.name}: user {user!r} touched every item, so that none is left to "
            "rank a target against; the catalogue must be larger."
        )
