"""JDsearch: real queries with whole histories of the shop JD.com, in anonymous words.

Liu et al., "JDsearch: A Personalized Product Search Dataset with Real Queries and Full
Interactions", SIGIR 2023; https://github.com/rucliujn/JDsearch, data under CC BY-NC-SA 4.0 (the
repository itself is Apache-2.0). The owner's disk gives ``release_data.txt`` and
``product_data.txt``, fields between tabs, lists between "_", words between the character 24.

A line of ``release_data.txt`` is one user: the interactions in order, each with the query that led
to it or with -1, and last a query with the products that were shown. An interaction without a query
is a recommendation event; those that follow one another with one query are a search. The last query
is the user's last search, its events the shown products that were clicked or more; which others
were shown is not used, since the protocol makes its own lists. Times are published as the seconds
since the interaction before, so each user's clock begins at 0: users cannot be told apart by date,
and a split by time means nothing here. Products without a line in ``product_data.txt`` stay, with
an empty text.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmark.data.raw import NO_QUERY, NO_SESSION, RawItems, RawLog
from benchmark.data.recipe import Recipe
from benchmark.data.source_options import JdsearchSource
from benchmark.data.sources.joint import catalogue
from benchmark.data.sources.settling import files_by, read_by
from benchmark.data.tables import cells
from benchmark.data.tables.columns import Column
from benchmark.data.tables.faults import Faults
from benchmark.data.tables.lines import lines_of
from benchmark.data.tables.schema import TableSchema
from benchmark.data.tables.separated import Separated, other_header
from benchmark.data.tables.table import Table, read_table
from benchmark.errors import quoted

WHERE = "https://github.com/rucliujn/JDsearch"
TERMS = (
    "JDsearch (Liu et al., SIGIR 2023) has the licence CC BY-NC-SA 4.0: for non-commercial use, "
    "not redistributed here. Its words are anonymous numbers, so there is no text to read. Each "
    "user's clock begins at 0."
)
WORDS = "\x18"
"""What stands between the words of a text."""

LEVELS = (1, 2, 3, 4)
_LISTED = "_"
_NONE = "-1"
_DIGITS = re.compile(r"[0-9]+")
_OF_LABEL = {0.0: "", 1.0: "CLICK", 2.0: "CART", 3.0: "ORD"}
_KINDS = ("CLICK", "CART", "FLW", "ORD")
FIELDS = (
    "query",
    "candidate_wid_list",
    "candidate_label_list",
    "history_qry_list",
    "history_wid_list",
    "history_type_list",
    "history_time_list",
)
USERS = TableSchema("release_data", (), suffixes=(".txt", ".txt.gz"))
PRODUCTS = TableSchema(
    "product_data",
    (
        Column("wid", "id"),
        Column("name", "text"),
        Column("brand_name", "text"),
        *(Column(f"cate_name_{level}", "text") for level in LEVELS),
    ),
    unique="wid",
    separated=Separated(
        "\t",
        (
            *("wid", "name", "brand_id", "brand_name"),
            *(f"cate_{what}_{level}" for level in LEVELS for what in ("id", "name")),
            "shop_id",
        ),
    ),
    may_be_empty=True,
    suffixes=(".txt", ".txt.gz"),
)


def find(recipe: Recipe, faults: Faults) -> list[Path | None]:
    """The users and the products; what is missing is noted."""
    remedy = f"fetch JDsearch as {WHERE} says, unpack it and name its folder with --source"
    return [schema.find(recipe.source_folder, faults, remedy) for schema in (USERS, PRODUCTS)]


def load(recipe: Recipe, faults: Faults) -> RawLog | None:
    """The log of the files; every fault is noted, and with one there is no log."""
    options = cast(JdsearchSource, recipe.source)
    users_path, products_path = find(recipe, faults)
    events = _Events(frozenset(options.interactions))
    users = 0
    for number, line in lines_of(users_path, faults) if users_path is not None else ():
        values = line.split("\t")
        if number == 1 and tuple(values) == FIELDS:
            continue
        if number == 1 and (reason := other_header(values, FIELDS)):
            faults.add(users_path or Path(), number, "", reason)
            break
        if number > options.maximum_rows:
            allowed = f"source.maximum_rows ({options.maximum_rows:,})"
            faults.add(users_path or Path(), 0, "", f"has more rows than {allowed} allows")
            break
        try:
            events.add_user(users, _user_of(values))
        except _NoUser as fault:
            faults.add(users_path or Path(), number, fault.column, fault.reason, fault.kind)
        users += 1
    wanted = events.item_number

    def is_wanted(values: dict[str, Any]) -> NDArray[np.bool_]:
        return np.array([one in wanted for one in values["wid"]], dtype=bool)

    schema = replace(PRODUCTS, keep=is_wanted, maximum_rows=options.maximum_rows)
    products = read_table(schema, products_path, faults)
    if users_path is not None and not users and not faults.of(users_path):
        faults.add(users_path, 0, "", "holds no rows")
    if users and not wanted and users_path is not None and not faults:
        kept = ", ".join(options.interactions)
        reason = f"no interaction is one of source.interactions: {kept}; all others were left out"
        faults.add(users_path, 0, "", reason)
    if products is not None and not len(products) and wanted and not faults:
        reason = (
            f"holds none of the {len(wanted):,} products of {USERS.name}; give the "
            f"{PRODUCTS.name} of the same log, or an empty file where there is none"
        )
        faults.add(products.path, 0, "wid", reason)
    if faults:
        return None
    items, without = _catalogue(products, list(wanted))
    log = events.log([str(user + 1) for user in range(users)], items)
    if without:
        log = log.with_notes(f"{without:,} products have no line in {PRODUCTS.name}.")
    return log.with_notes(TERMS)


# A user's line


class _NoUser(ValueError):
    """A line is no user; ``kind`` is what alike faults have in common."""

    def __init__(self, column: str, reason: str, kind: str = "") -> None:
        super().__init__(reason)
        self.column, self.reason, self.kind = column, reason, kind or reason


@dataclass(frozen=True)
class _User:
    """What a line says: ``time`` (interactions + 1,) is that of each and then of the last query."""

    query: Sequence[str]
    product: Sequence[str]
    kind: Sequence[str]
    time: Sequence[int]
    last_query: str
    last: Sequence[tuple[str, str]]
    """The products of the last query that were clicked or more, each with what was done."""


def _listed(text: str) -> list[str]:
    return text.split(_LISTED) if text else []


def _ids(name: str, texts: list[str]) -> list[str]:
    """The ids of a list by the rules of formats without types.

    Raises:
        _NoUser: one is none; -1, which stands for what is missing, is none either.
    """
    if all(map(_DIGITS.fullmatch, texts)):  # as published: there the rules change nothing
        return texts

    def note(mask: NDArray[np.bool_], kind: str, shown: Callable[[int], str] | None = None) -> None:
        wrong = np.flatnonzero(mask)
        if len(wrong):
            value = "" if shown is None else f"{shown(int(wrong[0]))} "
            raise _NoUser(name, f"{value}{kind}", kind)

    found: list[str] = cells.ids(pa.array(texts, pa.large_string()), note, True).tolist()
    if _NONE in found:
        raise _NoUser(name, f"{_NONE} is no id")
    return found


def _user_of(values: Sequence[str]) -> _User:
    """The user of a line's fields.

    Raises:
        _NoUser: a field is missing, too long, too short, or holds a value that cannot be used.
    """
    if len(values) != len(FIELDS):
        reason = f"has {len(values)} fields instead of {len(FIELDS)}"
        raise _NoUser("", reason, "another number of fields")
    last_query, shown, labels, queries, products, kinds, times = (
        values[0],
        *map(_listed, values[1:]),
    )
    for name, found, wanted in (
        ("candidate_label_list", labels, len(shown)),
        ("history_qry_list", queries, len(products)),
        ("history_type_list", kinds, len(products)),
        ("history_time_list", times, len(products) + 1),
    ):
        if len(found) != wanted:
            reason = f"holds {len(found):,} values instead of {wanted:,}"
            raise _NoUser(name, reason, "another number of values")
    shown, products = _ids("candidate_wid_list", shown), _ids("history_wid_list", products)
    unknown = next((kind for kind in kinds if kind not in _KINDS), None)
    if unknown is not None:
        allowed = ", ".join(_KINDS)
        raise _NoUser(
            "history_type_list", f"{quoted(unknown)} is none of {allowed}", "unknown type"
        )
    gaps = _numbers("history_time_list", times, int, "a whole number of seconds from 0")
    done = _numbers("candidate_label_list", labels, _done, "0, 1, 2 or 3")
    return _User(
        query=queries,
        product=products,
        kind=kinds,
        time=np.cumsum(gaps).tolist(),
        last_query=last_query,
        last=[(product, kind) for product, kind in zip(shown, done, strict=True) if kind],
    )


def _done(label: str) -> str:
    return _OF_LABEL[float(label)]


def _numbers(name: str, texts: Sequence[str], read: Callable[[str], Any], what: str) -> list[Any]:
    found = []
    for text in texts:
        try:
            value = read(text)
        except (ValueError, KeyError):
            raise _NoUser(name, f"{quoted(text)} is not {what}", f"is not {what}") from None
        if isinstance(value, int) and not 0 <= value < 2**32:
            raise _NoUser(name, f"{quoted(text)} is not {what}", f"is not {what}")
        found.append(value)
    return found


# All users


def words_of(text: str) -> str:
    r"""The anonymous words of a text, as words that BM25 and word vocabularies see.

    >>> words_of("12\x1832")
    'w12 w32'
    """
    return " ".join(f"w{word}" for word in text.split(WORDS) if word not in ("", _NONE))


def _longs() -> array[int]:
    return array("q")


@dataclass
class _Events:
    """The events so far, column by column."""

    kinds: frozenset[str]
    user: array[int] = field(default_factory=_longs)
    item: array[int] = field(default_factory=_longs)
    time: array[int] = field(default_factory=_longs)
    query: array[int] = field(default_factory=_longs)
    session: array[int] = field(default_factory=_longs)
    item_number: dict[str, int] = field(default_factory=dict)
    query_number: dict[str, int] = field(default_factory=dict)
    sessions: int = 0

    def add_user(self, user: int, found: _User) -> None:
        """Put the user's interactions behind those of the users before."""
        before = _NONE
        for query, product, kind, time in zip(
            found.query, found.product, found.kind, found.time[:-1], strict=True
        ):
            self.sessions += query not in (_NONE, before)
            before = query
            if kind in self.kinds:
                self._add(user, product, "" if query == _NONE else query, time)
        self.sessions += 1
        for product, kind in found.last:
            if kind in self.kinds and found.last_query:
                self._add(user, product, found.last_query, found.time[-1])

    def _add(self, user: int, product: str, query: str, time: int) -> None:
        text = words_of(query)
        self.user.append(user)
        self.item.append(self.item_number.setdefault(product, len(self.item_number)))
        self.time.append(time)
        number = self.query_number.setdefault(text, len(self.query_number)) if text else NO_QUERY
        self.query.append(number)
        self.session.append(self.sessions if text else NO_SESSION)

    def log(self, users: Sequence[str], items: RawItems) -> RawLog:
        """The raw log; the users' order is that of their numbers."""
        user, item, time, query, session = (
            np.array(column, dtype=np.int64)
            for column in (self.user, self.item, self.time, self.query, self.session)
        )
        return RawLog(
            users=users,
            items=items,
            user=user,
            item=item,
            timestamp=time,
            rating=np.full(len(user), np.nan, dtype=np.float32),
            position=np.arange(len(user)),
            query=query,
            session=session,
            query_text=list(self.query_number),
        )


def _catalogue(products: Table | None, wanted: Sequence[str]) -> tuple[RawItems, int]:
    """The items in the order of ``wanted``, and how many of them have no line of their own."""
    row_of = {}
    if products is not None:
        ids = products.ids("wid")
        row_of = {ids.distinct[code]: row for row, code in enumerate(ids.code.tolist())}
    rows = [row_of.get(product, -1) for product in wanted]

    def column(name: str) -> list[str]:
        texts = products.texts(name) if products is not None else []
        return [words_of(texts[row]) if row >= 0 else "" for row in rows]

    levels = zip(*(column(f"cate_name_{level}") for level in LEVELS), strict=True)
    paths = [tuple(name for name in of_item if name) for of_item in levels]
    items = catalogue(
        wanted,
        column("name"),
        brand=column("brand_name"),
        categories=[(path,) if path else () for path in paths],
    )
    return items, rows.count(-1)


files, read = files_by(find), read_by(load)
