"""The published product-search queries of the Amazon data, and their relevance files.

Query files and their rows: https://github.com/QingyaoAi/Amazon-Product-Search-Datasets. Both
relevance files are put together, shuffled, and of each (user, item) pair the first row stays; it
becomes a search session at the time of the purchase of that item, as in the official notebook.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.data.raw import RawLog
from benchmark.data.tables.faults import Faults, settled
from benchmark.data.tables.lines import lines_of
from benchmark.errors import shortened

_LONGEST_NUMBER = 18  # digits


def read_queries(path: Path | None, faults: Faults) -> list[str]:
    """The query of each line, "" for a blank one."""
    texts: list[str] = []
    for number, line in lines_of(path, faults) if path is not None else ():
        texts += [""] * (number - 1 - len(texts))
        texts.append(line.strip())
    return texts


@dataclass(frozen=True)
class RelevanceRows:
    """The rows of the relevance files, (rows,): reviewer, line of the query from 0, product."""

    reviewers: Sequence[str]
    queries: Sequence[int]
    products: Sequence[str]

    def kept(self, seed: int) -> NDArray[np.int64]:
        """One row a (reviewer, product) pair: the first one after a shuffle, in shuffled order.

        The shuffle is that of numpy's legacy generator, as in the official notebook.
        """
        order = np.arange(len(self.queries))
        np.random.RandomState(seed % 2**32).shuffle(order)
        pairs: dict[tuple[str, str], int] = {}
        for row in order.tolist():
            pairs.setdefault((self.reviewers[row], self.products[row]), row)
        return np.fromiter(pairs.values(), dtype=np.int64, count=len(pairs))


def read_relevance(
    paths: Sequence[Path | None],
    number_of_queries: int,
    faults: Faults | None = None,
    blank: Collection[int] = (),
) -> RelevanceRows:
    """All rows ``<reviewer>_<query line> 0 <product> 1`` of the files, one file after the other.

    Args:
        faults: where rows are noted that have another form or name a query that is not there.
        blank: the query lines, from 0, that hold no query.

    Raises:
        BenchmarkError: there is such a row, and no ``faults`` to note it in.
    """
    if faults is None:
        return settled(lambda own: read_relevance(paths, number_of_queries, own, blank))
    reviewers: list[str] = []
    queries: list[int] = []
    products: list[str] = []
    for path in paths:
        if path is None:
            continue
        for number, line in lines_of(path, faults):
            fields = line.split()
            reviewer, _, query = fields[0].rpartition("_")
            if len(fields) != 4 or not reviewer or not query.isascii() or not query.isdigit():
                form = "<reviewer>_<query line> 0 <product> 1"
                faults.add(path, number, "", f"is not of the form {form}")
                continue
            place = int(query) if len(query) < _LONGEST_NUMBER else number_of_queries
            if place >= number_of_queries or place in blank:
                there = f"there are only {number_of_queries:,} queries"
                reason = there if place >= number_of_queries else "that line is blank"
                named = f"names query line {shortened(query)}, but {reason}"
                faults.add(path, number, "", named, "names a query that is not there")
                continue
            if fields[3] != "0":
                reviewers.append(reviewer)
                queries.append(place)
                products.append(fields[2])
    return RelevanceRows(reviewers, queries, products)


def with_sessions(
    log: RawLog,
    texts: Sequence[str],
    rows: RelevanceRows,
    seed: int,
    called: str = "pairs of the relevance files",
) -> RawLog:
    """Each kept row becomes a session at the time of the user's purchase of the item.

    Args:
        called: what the rows are, in the note on those without a purchase.
    """
    kept = rows.kept(seed).tolist()
    number_of_user = {external: number for number, external in enumerate(log.users)}
    number_of_item = {external: number for number, external in enumerate(log.items.external_id)}
    users = np.array([number_of_user.get(rows.reviewers[row], -1) for row in kept], dtype=np.int64)
    items = np.array([number_of_item.get(rows.products[row], -1) for row in kept], dtype=np.int64)
    query_of_row = np.array([rows.queries[row] for row in kept], dtype=np.int64)
    width = len(log.items)
    known = (users >= 0) & (items >= 0)
    searched = np.where(known, users * width + items, -1)
    order = np.argsort(searched, kind="stable")
    purchase = log.user * width + log.item
    slot = np.searchsorted(searched[order], purchase)
    slot = np.minimum(slot, max(len(order) - 1, 0))
    found = searched[order][slot] == purchase if len(order) else np.zeros(len(purchase), bool)
    purchases = np.flatnonzero(found)
    distinct, query_of_line = np.unique(np.array(texts), return_inverse=True)
    sessions = replace(
        log.take(purchases),
        query=query_of_line.reshape(-1)[query_of_row[order[slot[purchases]]]],
        session=np.arange(len(purchases)),
    )
    without = len(kept) - len(np.unique(purchase[purchases]))
    result = replace(log.followed_by(sessions), query_text=distinct.tolist())
    if not without:
        return result
    return result.with_notes(f"{without:,} {called} have no review.")
