"""From a source's raw log to a data set: the steps that all sources share, in this order.

Repeats counted once, core filter, construction of the searches, order of the events, dense ids,
item text. Every step that could lose something says so in a note.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import (
    RECOMMENDATION,
    SEARCH,
    Dataset,
    EventLog,
    Items,
    Judgements,
    Queries,
    fingerprint_of,
)
from benchmark.data.queries import choose_attribute_queries, choose_category_queries
from benchmark.data.raw import NO_QUERY, NO_SESSION, RawItems, RawLog, counted_once
from benchmark.data.recipe import ChannelSearch, Recipe, TwinSearch
from benchmark.errors import BenchmarkError, counted
from benchmark.files import sha256_of_json
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
    dataset = _with_dense_ids(recipe, log)
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
        user=_new_rows(users, len(log.users))[log.user],
        item=_new_rows(items, len(log.items))[log.item],
        judgements=log.judgements
        and replace(log.judgements, item=_new_rows(items, len(log.items))[judged]),
    )
    if not unused:
        return compact
    return compact.with_notes(f"The catalogue holds no item without events: {unused:,} left out.")


def _used_in_order(codes: NDArray[np.int64], external: Sequence[str]) -> NDArray[np.int64]:
    used = np.unique(codes).tolist()
    return np.array(sorted(used, key=external.__getitem__), dtype=np.int64)


def _new_rows(kept: NDArray[np.int64], before: int) -> NDArray[np.int64]:
    rows = np.full(before, -1, dtype=np.int64)
    rows[kept] = np.arange(len(kept))
    return rows


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


def _session_groups(log: RawLog) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of searches, and for each the number of its session; twice (searches,).

    Two users may use one number for sessions of their own.
    """
    rows = np.flatnonzero(log.is_search)
    order = np.lexsort((log.session[rows], log.user[rows]))
    user, session = log.user[rows][order], log.session[rows][order]
    new = np.ones(len(rows), dtype=np.int64)
    new[1:] = (user[1:] != user[:-1]) | (session[1:] != session[:-1])
    group = np.empty(len(rows), dtype=np.int64)
    group[order] = np.cumsum(new) - 1
    return rows, group


def _session_keys(log: RawLog) -> HashArray:
    """A hash of what each event's session holds, (events,); 0 for no session.

    Of its content and not of its number, which a source may give in order of appearance.
    """
    user_key, item_key = _event_keys(log)
    rows, group = _session_groups(log)
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


def _with_dense_ids(recipe: Recipe, log: RawLog) -> Dataset:
    """Users, items, queries and sessions get their numbers from 1; ``log`` is in log order."""
    keys = text_keys(log.items.external_id)
    rows = (
        np.argsort(row_hash(recipe.seed, "item id", keys), kind="stable")
        if recipe.item_ids == "permuted"
        else np.arange(len(log.items))
    )
    item_id = _new_rows(rows, len(log.items)) + 1
    items = _items_with_text(recipe, log.items.take(rows))
    textless = items.text.count("") - 1
    if textless:
        fields = ", ".join(recipe.text)
        log = log.with_notes(f"{textless:,} items have an empty item text (fields: {fields}).")
    is_search = log.is_search
    query_text, query = _numbered_queries(log)
    return Dataset(
        name=recipe.name,
        items=items,
        queries=Queries(text=("", *query_text)),
        users=("", *log.users),
        log=EventLog.from_columns(
            user=log.user + 1,
            item=item_id[log.item],
            query=query,
            behaviour=np.where(is_search, SEARCH, RECOMMENDATION),
            timestamp=log.timestamp,
            session=_numbered_sessions(log),
            number_of_users=len(log.users),
        ),
        notes=log.notes,
        has_readable_text=recipe.source.readable_text,
        salt=_salt_of(recipe),
        judgements=_numbered_judgements(log, item_id),
        cuts=log.cuts,
    )


def _salt_of(recipe: Recipe) -> str:
    """A hash of what the recipe says, but for where the files lie."""
    said = recipe.model_dump(mode="json")
    said["source"] = {k: v for k, v in said["source"].items() if k not in ("path", "files")}
    return sha256_of_json(said)


def _numbered_queries(log: RawLog) -> tuple[list[str], NDArray[np.int64]]:
    """The queries in use, in the order of their text, and each event's number, 0 for none."""
    ordered, number = _query_numbers(log)
    return [log.query_text[row] for row in ordered], number[log.query]


def _query_numbers(log: RawLog) -> tuple[list[int], NDArray[np.int64]]:
    """The rows of the queries in use, in the order of their text, and the number of each row."""
    used = np.unique(log.query[log.is_search]).tolist()
    ordered = sorted(used, key=log.query_text.__getitem__)
    number = np.zeros(len(log.query_text) + 1, dtype=np.int64)  # the last place is NO_QUERY's
    number[ordered] = np.arange(1, len(ordered) + 1)
    return ordered, number


def _numbered_judgements(log: RawLog, item_id: NDArray[np.int64]) -> Judgements | None:
    """The judgements of queries in use; of a pair that was judged twice the greatest gain."""
    if log.judgements is None:
        return None
    judged = log.judgements
    query, item = _query_numbers(log)[1][judged.query], item_id[judged.item]
    order = np.lexsort((-judged.gain, item, query))
    order = order[query[order] > 0]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (np.diff(query[order]) != 0) | (np.diff(item[order]) != 0)
    rows = order[first]
    columns = (query[rows], item[rows], judged.gain[rows])
    return Judgements(*(column.astype(np.int32) for column in columns)) if len(rows) else None


def _numbered_sessions(log: RawLog) -> NDArray[np.int64]:
    """Sessions numbered in the order in which the log reaches them, 0 for no session."""
    rows, group = _session_groups(log)
    _, first = np.unique(group, return_index=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1)
    numbers = np.zeros(len(log), dtype=np.int64)
    numbers[rows] = rank[group]
    return numbers


def _items_with_text(recipe: Recipe, items: RawItems) -> Items:
    """The catalogue with the padding item in front and the recipe's item text."""
    fields: dict[str, Sequence[str]] = {
        "title": items.title,
        "description": items.description,
        "brand": items.brand,
        "categories": [_flat(paths) for paths in items.categories],
        "decade": items.decade,
    }
    columns = zip(*(fields[name] for name in recipe.text), strict=True)
    return Items(
        external_id=("", *items.external_id),
        title=("", *items.title),
        description=("", *items.description),
        brand=("", *items.brand),
        categories=((), *items.categories),
        text=("", *(" ".join(part for part in parts if part) for parts in columns)),
    )


def _flat(paths: Sequence[Sequence[str]]) -> str:
    """All levels of all hierarchies, each name once."""
    return " ".join(dict.fromkeys(level for path in paths for level in path))
