"""RecIF-Bench: what users of the Kuaishou app watched, clicked and searched, with captions.

"An Open Foundation Model and Benchmark to Accelerate Generative Recommendation" (OpenOneRec), arXiv
2512.24762; https://huggingface.co/datasets/OpenOneRec/OpenOneRec-RecIF, Apache-2.0. Two of its
tables are read: ``onerec_bench_release``, one row a user with lists in order of time, and
``pid2caption``, a Chinese caption a video or ad. Its instruction tasks and semantic ids are not:
the suite has tasks and identifiers of its own.

The source reads one domain: videos (shown ones, of which ``action`` says which are events), clicked
ads, or clicked goods, whose ids are of another space and have no caption. A user's events are those
of the history and then the targets. There are no times: the n-th event stands at second n, so users
cannot be told apart by date. With ``search.kind: own`` each keyword of ``inter_keyword_to_items``
is a search whose clicks are its items. Where those stood among the videos is not published; they
are put behind all of them, so a search may see what was watched later, and no recommendation sees a
search.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.data.raw import RawItems, RawLog
from benchmark.data.recipe import Recipe
from benchmark.data.source_options import RecifSource
from benchmark.data.sources.joint import Clicks, Searches, catalogue, joint_log
from benchmark.data.sources.settling import files_by, read_by
from benchmark.data.tables.columns import Column
from benchmark.data.tables.faults import Faults
from benchmark.data.tables.listed import mended
from benchmark.data.tables.schema import TableSchema
from benchmark.data.tables.table import Ids, Table, read_table, together
from benchmark.errors import quoted

WHERE = "https://huggingface.co/datasets/OpenOneRec/OpenOneRec-RecIF"
TERMS = (
    "RecIF-Bench (OpenOneRec, arXiv 2512.24762) has the licence Apache-2.0. Captions are Chinese: "
    "protocol.bm25_analyser=cjk makes BM25 read them. There are no times, only the order."
)
_MAIN = "onerec_bench_release"
_PUBLISHED = (".parquet",)
KEYWORDS = TableSchema(
    _MAIN,
    (Column("uid", "id"), Column("inter_keyword_to_items", "text")),
    suffixes=_PUBLISHED,
)
CAPTIONS = TableSchema(
    "pid2caption",
    (Column("pid", "id"), Column("dense_caption", "text")),
    unique="pid",
    may_be_empty=True,
    suffixes=_PUBLISHED,
)


def sequence_of(part: str, domain: str, action: str) -> TableSchema:
    """The lists of a domain, ``part`` being ``hist`` or ``target``: one row an item of a user."""
    item = f"{part}_{domain}_pid"
    has_actions = domain == "video" and action != "shown"
    flag = f"{part}_video_{action}"
    columns = (Column("uid", "id"), Column(item, "id"))
    return TableSchema(
        _MAIN,
        (*columns, Column(flag, "flag")) if has_actions else columns,
        aligned=(item, flag) if has_actions else (item,),
        keep=(lambda values: np.asarray(values[flag] == 1)) if has_actions else None,
        may_be_empty=True,
        suffixes=_PUBLISHED,
    )


def find(recipe: Recipe, faults: Faults) -> list[Path | None]:
    """The users' table and, but for goods, the captions; what is missing is noted."""
    remedy = f"fetch RecIF-Bench from {WHERE} and name its folder with --source"
    has_captions = cast(RecifSource, recipe.source).domain != "goods"
    schemas = (KEYWORDS, CAPTIONS) if has_captions else (KEYWORDS,)
    return [schema.find(recipe.source_folder, faults, remedy) for schema in schemas]


def load(recipe: Recipe, faults: Faults) -> RawLog | None:
    """The log of the tables; every fault is noted, and with one there is no log."""
    options = cast(RecifSource, recipe.source)
    main, *captions = find(recipe, faults)
    most = options.maximum_rows
    parts = [
        read_table(sequence_of(part, options.domain, options.action).of_at_most(most), main, faults)
        for part in ("hist", "target")
    ]
    asked = None
    if recipe.search.kind == "own":
        if options.domain == "goods":
            faults.add_sentence(
                f"{recipe.name}: search.kind: 'own' are searches for videos and ads, which "
                "source.domain: goods does not have; allowed is none."
            )
        else:
            asked = _keywords(read_table(KEYWORDS.of_at_most(most), main, faults), faults)
    if faults or main is None:
        return None
    if not any(map(len, filter(None, parts))) and not asked:
        action = f" and source.action: {options.action}" if options.domain == "video" else ""
        faults.add(main, 0, "", f"holds no event for source.domain: {options.domain}{action}")
        return None
    item = f"_{options.domain}_pid"
    tables = [
        (table, name + item) for table, name in zip(parts, ("hist", "target"), strict=True) if table
    ]
    users, user_codes = together([table.ids("uid") for table, _ in tables])
    items, item_codes = together([table.ids(name) for table, name in tables])
    nothing = [np.zeros(0, dtype=np.int64)]
    user, code = np.concatenate(user_codes or nothing), np.concatenate(item_codes or nothing)
    place = pd.Series(user).groupby(user).cumcount().to_numpy(dtype=np.int64)
    clicks = Clicks(Ids(user, users), code, place)
    searches, items = _searches(asked, clicks, items)
    return joint_log(_catalogue(items, captions, most, faults), clicks, searches).with_notes(TERMS)


Asked = tuple[str, str, list[str], int]
"""A user, a keyword, its items, and its number among the user's."""


def _keywords(table: Table | None, faults: Faults) -> list[Asked]:
    """Every keyword with its items; cells that are no such mapping are noted."""
    found: list[Asked] = []
    if table is None:
        return found
    users = table.ids("uid")
    cells = zip(
        table.row.tolist(), users.code.tolist(), table.texts("inter_keyword_to_items"), strict=True
    )
    for row, user, text in cells:
        if not text.strip():
            continue
        try:
            mapping = json.loads(text)
        except (ValueError, RecursionError):
            mapping = None
        if mapping is None and text.strip() == "null":
            continue
        if not isinstance(mapping, dict) or not all(map(_are_ids, mapping.values())):
            reason = "is no JSON mapping of keywords to lists of ids"
            faults.add(table.path, row, "inter_keyword_to_items", reason)
            continue
        halved = next((keyword for keyword in mapping if mended(keyword) != keyword), None)
        if halved is not None:
            reason = f"holds half a character in the keyword {quoted(mended(halved))}"
            kind = "holds half a character in a keyword"
            faults.add(table.path, row, "inter_keyword_to_items", reason, kind)
            continue
        for number, (keyword, items) in enumerate(mapping.items()):
            found.append((users.distinct[user], " ".join(keyword.split()), items, number))
    return [(user, keyword, [str(item) for item in items], n) for user, keyword, items, n in found]


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int for one in value)


def _searches(
    asked: Sequence[Asked] | None, clicks: Clicks, items: list[str]
) -> tuple[Searches, list[str]]:
    """The searches behind each user's clicks, and the items of both."""
    rows = [(u, keyword, item, n) for u, keyword, of_it, n in asked or () for item in of_it]
    number = {external: row for row, external in enumerate(items)}
    item = np.array([number.setdefault(row[2], len(number)) for row in rows], dtype=np.int64)
    code, distinct = pd.factorize(np.array([row[0] for row in rows], dtype=object))
    events = np.bincount(clicks.user.code, minlength=len(clicks.user.distinct)).tolist()
    before = dict(zip(clicks.user.distinct, events, strict=True))
    place = np.array([before.get(row[0], 0) + row[3] for row in rows], dtype=np.int64)
    searches = Searches(
        user=Ids(code.astype(np.int64), list(distinct)),
        item=item,
        timestamp=place,
        query=[row[1] for row in rows],
        session=np.array([row[3] for row in rows], dtype=np.int64),
        clicked=np.ones(len(rows), dtype=bool),
    )
    return searches, list(number)


def _catalogue(
    items: Sequence[str], paths: Sequence[Path | None], most: int, faults: Faults
) -> RawItems:
    """The items with their captions, "" for those that have none."""
    wanted = set(items)

    def is_wanted(values: dict[str, Any]) -> NDArray[np.bool_]:
        return np.array([one in wanted for one in values["pid"]], dtype=bool)

    of_item: dict[str, str] = {}
    for path in paths:
        table = read_table(replace(CAPTIONS, keep=is_wanted, maximum_rows=most), path, faults)
        if table is not None:
            ids = table.ids("pid")
            named = [ids.distinct[code] for code in ids.code.tolist()]
            of_item = dict(zip(named, table.texts("dense_caption"), strict=True))
    return catalogue(items, [of_item.get(item, "") for item in items])


files, read = files_by(find), read_by(load)
