"""Small data sets for the tests of the protocol: written by hand, or random with many ties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import (
    RECOMMENDATION,
    SEARCH,
    Dataset,
    EventLog,
    Items,
    Queries,
    fingerprint_of,
)

Row = tuple[int, str, int, int]
"""User, "r" or "s", item, time."""


def log_of(rows: Sequence[Row]) -> EventLog:
    """A log of rows that are in log order; every search has query 1 and a session of its own."""
    behaviour = np.array([SEARCH if kind == "s" else RECOMMENDATION for _, kind, _, _ in rows])
    user = np.array([row[0] for row in rows])
    return EventLog.from_columns(
        user=user,
        item=np.array([row[2] for row in rows]),
        query=behaviour,
        behaviour=behaviour,
        timestamp=np.array([row[3] for row in rows]),
        session=np.cumsum(behaviour) * behaviour,
        number_of_users=int(user.max()),
    )


def dataset_of(
    log: EventLog, items: int, *, texts: Sequence[str] = (), queries: Sequence[str] = ("word",)
) -> Dataset:
    """A data set around a log; items are "item-1" and so on, with these texts."""
    blank = [""] * (items + 1)
    dataset = Dataset(
        name="test",
        items=Items(
            external_id=["", *(f"item-{number}" for number in range(1, items + 1))],
            title=blank,
            description=blank,
            brand=blank,
            categories=[()] * (items + 1),
            text=["", *texts] if texts else blank,
        ),
        queries=Queries(["", *queries]),
        users=["", *(f"user-{number}" for number in range(1, log.number_of_users + 1))],
        log=log,
    )
    return replace(dataset, fingerprint=fingerprint_of(dataset))


def shop_dataset(seed: int, users: int = 40, items: int = 150, days: int = 6) -> Dataset:
    """Users buy different items on few days; most purchases have a search twin on the same day.

    As on Amazon, the searches of a day follow all its purchases. Item texts are random words, and a
    query is two words of the item's text.
    """
    random = np.random.default_rng(seed)
    words = [f"word{letter}" for letter in "abcdefghijklmnopqrst"]
    texts = [" ".join(random.choice(words, size=random.integers(3, 9))) for _ in range(items)]
    query_of = {}
    rows = []
    for user in range(1, users + 1):
        number = int(random.integers(5, 14))
        bought = random.choice(np.arange(1, items + 1), size=number, replace=False)
        for item in bought:
            day = int(random.integers(days)) * 86_400
            rows.append((user, day, RECOMMENDATION, int(item), 0))
            if random.random() < 0.75:
                text = " ".join(sorted(set(texts[item - 1].split()))[:2])
                query = query_of.setdefault(text, len(query_of) + 1)
                rows.append((user, day, SEARCH, int(item), query))
    rows = [rows[place] for place in random.permutation(len(rows))]
    rows.sort(key=lambda row: row[:3])
    table = np.array(rows)
    log = EventLog.from_columns(
        user=table[:, 0],
        item=table[:, 3],
        query=table[:, 4],
        behaviour=table[:, 2],
        timestamp=table[:, 1],
        session=np.cumsum(table[:, 2]) * table[:, 2],
        number_of_users=users,
    )
    return dataset_of(log, items, texts=texts, queries=list(query_of))


def searches_of(
    user: NDArray[np.integer], item: NDArray[np.integer], query: NDArray[np.integer]
) -> EventLog:
    """Searches with a click each (events,), in log order and one after another in time."""
    return EventLog.from_columns(
        user=user,
        item=item,
        query=query,
        behaviour=np.full(len(user), SEARCH),
        timestamp=np.arange(len(user)),
        session=np.arange(1, len(user) + 1),
        number_of_users=int(user.max()),
    )


def search_dataset(seed: int, users: int = 500, items: int = 900, queries: int = 30) -> Dataset:
    """Searches only: the clicked item is any one that shares a word with the query.

    So targets stand anywhere in BM25's hit list, as purchases on Amazon do.
    """
    random = np.random.default_rng(seed)
    words = np.array([f"word{number}x" for number in range(60)])
    texts = [" ".join(random.choice(words, size=random.integers(5, 15))) for _ in range(items)]
    query_texts = [" ".join(random.choice(words, size=2, replace=False)) for _ in range(queries)]
    matching = [
        [item for item, text in enumerate(texts, start=1) if set(text.split()) & set(query.split())]
        for query in query_texts
    ]
    user = np.repeat(np.arange(1, users + 1), 4)
    query = random.integers(queries, size=len(user))
    item = np.array([random.choice(matching[number]) for number in query])
    log = searches_of(user, item, query + 1)
    return dataset_of(log, items, texts=texts, queries=query_texts)


def alike_items_dataset(
    users: int = 900, queries: int = 12, per_query: int = 60, seed: int = 0
) -> Dataset:
    """Each query has items of its own kind, which it mostly leads to; BM25 finds some of them.

    Half of a query's items have the query's word in their text, a tenth of all clicks go anywhere.
    Popular items are those whose text is short, so that BM25's order says something.
    """
    random = np.random.default_rng(seed)
    items = queries * per_query
    user = np.repeat(np.arange(1, users + 1), 6)
    query = random.integers(queries, size=len(user))
    within = (per_query * random.random(len(user)) ** 1.3).astype(int)
    item = np.where(
        random.random(len(user)) < 0.9,
        query * per_query + within,
        random.integers(items, size=len(user)),
    )
    words = [f"word{chr(97 + number)}" for number in range(queries)]
    texts = [
        " ".join([words[number // per_query]] * (number % 2) + ["other"] * (1 + number % per_query))
        for number in range(items)
    ]
    log = searches_of(user, item + 1, query + 1)
    return dataset_of(log, items, texts=texts, queries=words)
