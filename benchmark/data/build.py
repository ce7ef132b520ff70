"""From a source's raw log to a data set: the steps that all sources share, in this order.

Repeats counted once, core filter, construction of the searches, order of the events, dense ids,
item text (:mod:`benchmark.data.numbering`). Every step that could lose something says so in a note.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import Dataset, fingerprint_of
from benchmark.data.numbering import new_rows, session_groups, with_dense_ids
from benchmark.data.queries import choose_attribute_queries, choose_category_queries
from benchmark.data.raw import NO_QUERY, NO_SESSION, RawLog, counted_once
from benchmark.data.recipe import ChannelSearch, Recipe, TwinSearch
from benchmark.errors import BenchmarkError, counted
from benchmark.hashing import HashArray, row_hash, row_uniform, text_keys


def build_dataset(recipe: Recipe, raw: RawLog) -> Dataset:
    """Apply the recipe's steps to the log of its source.

    Raises:
        BenchmarkError: no event is left, or the searches that the recipe wants cannot be made.
    """
    log = counted_once(_without_unwanted_searches(recipe, raw))
    del raw  # a long log is in memory twice while its events are put in order, and not three times
    if not len(log):
        raise BenchmarkError(f"{recipe.name}: the source holds no events.")
    log = core_filter(log, recipe.source.core)
    if not len(log):
        raise BenchmarkError(
            f"{recipe.name}: source.core: no event is left after the {recipe.source.core}-core "
            "filter."
        )
    log = drop_unused(log)
    if recipe.search.kind == "channels":
        log = _as_channels(recipe, recipe.search, log)
    elif recipe.search.kind == "twins":
        log = _with_twins(recipe, recipe.search, log)
    log = log.take(_log_order(recipe, log))
    dataset = with_dense_ids(recipe, log)
    return replace(dataset, fingerprint=fingerprint_of(dataset))


def _without_unwanted_searches(recipe: Recipe, raw: RawLog) -> RawLog:
    """The source's own searches are kept only where the recipe asks for them."""
    searches = int(raw.is_search.sum())
    if recipe.search.kind == "own":
        if not searches:
            raise BenchmarkError(
                f"{recipe.name}: search.kind: 'own' needs a source with searches, but this one "
                "holds none; allowed are none, channels, twins."
            )
        return raw
    if not searches:
        return raw
    note = f"{searches:,} searches of the source were left out (search.kind: {recipe.search.kind})."
    return raw.take(~raw.is_search).with_notes(note)


def core_filter(log: RawLog, core: int) -> RawLog:
    """Drop the events of users and items with fewer than ``core`` events until none is left.

    Recommendation and search events count alike.
    """
    kept = np.arange(len(log))
    while len(kept):
        users = np.bincount(log.user[kept], minlength=len(log.users))
        items = np.bincount(log.item[kept], minlength=len(log.items))
        enough = (users[log.user[kept]] >= core) & (items[log.item[kept]] >= core)
        if enough.all():
            break
        kept = kept[enough]
    if len(kept) == len(log):
        return log
    lost_users = len(np.unique(log.user)) - len(np.unique(log.user[kept]))
    lost_items = len(np.unique(log.item)) - len(np.unique(log.item[kept]))
    return log.take(kept).with_notes(
        f"{counted(lost_users, 'user')}, {counted(lost_items, 'item')} and "
        f"{counted(len(log) - len(kept), 'event')} were dropped by the {core}-core filter."
    )


def drop_unused(log: RawLog) -> RawLog:
    """Only users and items with events, both in the order of their external ids."""
    users = _used_in_order(log.user, log.users)
    judged = log.judgements.item if log.judgements is not None else log.item[:0]
    items = _used_in_order(np.concatenate([log.item, judged]), log.items.external_id)
    unused = len(log.items) - len(items)
    compact = replace(
        log,
        users=[log.users[row] for row in users.tolist()],
        items=log.items.take(items),
        user=new_rows(users, len(log.users))[log.user],
        item=new_rows(items, len(log.items))[log.item],
        judgements=log.judgements
        and replace(log.judgements, item=new_rows(items, len(log.items))[judged]),
    )
    if not unused:
        return compact
    return compact.with_notes(f"The catalogue holds no item without events: {unused:,} left out.")


def _used_in_order(codes: NDArray[np.int64], external: Sequence[str]) -> NDArray[np.int64]:
    used = np.unique(codes).tolist()
    return np.array(sorted(used, key=external.__getitem__), dtype=np.int64)


def _event_keys(log: RawLog) -> tuple[HashArray, HashArray]:
    """The hash keys of each event's user and item, twice (events,)."""
    return text_keys(log.users)[log.user], text_keys(log.items.external_id)[log.item]


def _as_channels(recipe: Recipe, options: ChannelSearch, log: RawLog) -> RawLog:
    """A share of the events becomes searches; no (user, item) pair is in both channels."""
    if not any(log.items.attributes):
        raise BenchmarkError(
            f"{recipe.name}: search.kind: 'channels' needs items with categories, but none has any."
        )
    user_key, item_key = _event_keys(log)
    is_search = row_uniform(recipe.seed, "channel", user_key, item_key) < options.share
    chosen = choose_attribute_queries(
        log.items,
        log.item[is_search],
        user_key[is_search],
        item_key[is_search],
        options,
        recipe.seed,
    )
    query = np.full(len(log), NO_QUERY, dtype=np.int64)
    query[is_search] = chosen.query
    searching = query != NO_QUERY
    result = replace(
        log,
        query=query,
        session=np.where(searching, np.arange(len(log)), NO_SESSION),
        query_text=chosen.text,
    )
    without = int(is_search.sum()) - int(searching.sum())
    if not without:
        return result
    return result.with_notes(
        f"{without:,} events stayed recommendation events, since their item has no attribute to "
        "make a query of."
    )


def _with_twins(recipe: Recipe, options: TwinSearch, log: RawLog) -> RawLog:
    """A share of the purchases gets a search session of its own at the same time."""
    # With the time, so that each purchase of an item that is bought again has a draw of its own.
    event_keys = (*_event_keys(log), log.timestamp)
    chosen = choose_category_queries(
        log.items, log.item, row_uniform(recipe.seed, "path", *event_keys)
    )
    if not len(chosen.text):
        raise BenchmarkError(
            f"{recipe.name}: search.kind: 'twins' makes queries of category hierarchies with two "
            "or more levels, but no item has one."
        )
    has_query = chosen.query != NO_QUERY
    searched = row_uniform(recipe.seed, "twin", *event_keys) < options.share
    rows = np.flatnonzero(has_query & searched)
    twins = replace(log.take(rows), query=chosen.query[rows], session=np.arange(len(rows)))
    result = replace(log, query_text=chosen.text).followed_by(twins)
    without = len(np.unique(log.item[~has_query]))
    if not without:
        return result
    return result.with_notes(
        f"{without:,} items have no query, and their {int((~has_query).sum()):,} events no search "
        "session."
    )


def _session_keys(log: RawLog) -> HashArray:
    """A hash of what each event's session holds, (events,); 0 for no session.

    Of its content and not of its number, which a source may give in order of appearance.
    """
    user_key, item_key = _event_keys(log)
    rows, group = session_groups(log)
    query_key = text_keys(log.query_text)[log.query[rows]] if len(rows) else np.zeros(0, np.uint64)
    of_click = row_hash(0, "click", user_key[rows], item_key[rows], query_key, log.timestamp[rows])
    together = np.zeros(int(group.max(initial=-1)) + 1, dtype=np.uint64)
    np.add.at(together, group, of_click)  # a sum, so that the order of the clicks says nothing
    keys = np.zeros(len(log), dtype=np.uint64)
    keys[rows] = together[group]
    return keys


def _log_order(recipe: Recipe, log: RawLog) -> NDArray[np.intp]:
    """The rows (events,) sorted by user, time and the recipe's rule for ties.

    At one instant a recommendation event stands before a search session, so that a twin follows its
    purchase. Channels are one stream that was divided by chance, hence they mix. The clicks of one
    session stay together.
    """
    user_key, item_key = _event_keys(log)
    tie: NDArray[Any]
    rating = np.zeros(len(log), dtype=np.float32)
    if recipe.ties == "rating":
        # As in the official notebook: by stars, then by product; `items` stand in order of id here.
        tie = log.item
        rating = np.where(log.is_search, 0, np.nan_to_num(log.rating)).astype(np.float32)
        session = np.zeros(len(log), dtype=np.uint64)
    elif recipe.ties == "position":
        tie = log.position
        session = np.zeros(len(log), dtype=np.uint64)
    else:
        tie = row_hash(recipe.seed, "tie", user_key, item_key)
        session = row_hash(recipe.seed, "session", _session_keys(log))
    together = log.is_search & (recipe.search.kind == "own")
    after = log.is_search & (recipe.search.kind != "channels")
    return np.lexsort((tie, rating, np.where(together, session, 0), after, log.timestamp, log.user))
