"""The data set of ``protocol.json``: its stage 1 tables as a log in the official order."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmark.data.dataset import (
    RECOMMENDATION,
    SEARCH,
    Dataset,
    EventLog,
    Items,
    Queries,
    fingerprint_of,
)


def dataset_of(golden: dict[str, Any]) -> Dataset:
    """Users get id + 1 (0 is the unknown user), items and queries keep their ids."""
    stage = golden["stage1"]
    users = len(stage["users"])
    purchases = [
        (user + 1, time, score, 0, item, RECOMMENDATION, 0, 0)
        for user, item, score, time in stage["rec_inter"]
    ]
    searches = [
        (user + 1, time, 10_000.0, session, item, SEARCH, query, session)
        for user, item, session, time, query in stage["src_inter"]
    ]
    rows = np.array(
        sorted(purchases + searches, key=lambda row: (row[0], row[1], row[2], row[3], row[4])),
        dtype=np.float64,
    ).astype(np.int64)
    log = EventLog.from_columns(
        user=rows[:, 0],
        item=rows[:, 4],
        query=rows[:, 6],
        behaviour=rows[:, 5],
        timestamp=rows[:, 1],
        session=rows[:, 7],
        number_of_users=users,
    )
    info = stage["item_info"]
    text = [f"{title} {description}" for _, _, title, description, *_ in info]
    text[0] = ""
    items = Items(
        external_id=[row[1] for row in info],
        title=[row[2] for row in info],
        description=[row[3] for row in info],
        brand=[row[4] for row in info],
        categories=[(tuple(row[5].split(",")),) for row in info],
        text=text,
    )
    queries = Queries(["", *[row[0] for row in stage["query_vocab"][1:]]])
    names = ["", *[row[0] for row in stage["users"]]]
    dataset = Dataset("golden", items, queries, names, log)
    return Dataset("golden", items, queries, names, log, fingerprint_of(dataset))
