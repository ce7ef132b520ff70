"""The Shopping Queries Data Set (ESCI): hard product queries with graded judgements of people.

Reddy et al., "Shopping Queries Dataset: A Large-Scale ESCI Benchmark for Improving Product Search",
arXiv 2206.06588; https://github.com/amazon-science/esci-data, folder ``shopping_queries_dataset``.
A product is an exact match of a query, a substitute, a complement or irrelevant; gains are those of
the published ranking task (1, 0.1, 0.01 and 0), times a hundred to be whole.

There are neither users nor times. Each query is a user of its own, and the published split is that
of the data set: training queries at second 0, a share of them, chosen by a hash, for validation at
second 1, and test queries at second 2. Of a training query each exact match is a click. A query of
validation or test is one search whose target is one exact match, drawn by a hash; what else was
judged for it stands in the judgements, by which it is ranked. Queries without an exact match are no
events. Every product that was judged in the chosen locale and version is in the catalogue.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmark.data.raw import RawItems, RawJudgements, RawLog
from benchmark.data.recipe import Recipe
from benchmark.data.source_options import EsciSource
from benchmark.data.sources.joint import catalogue
from benchmark.data.sources.settling import files_by, read_by
from benchmark.data.tables.cells import shown
from benchmark.data.tables.columns import Column
from benchmark.data.tables.faults import Faults
from benchmark.data.tables.schema import TableSchema
from benchmark.data.tables.table import Table, read_table, rows_in
from benchmark.errors import counted, quoted, shortened
from benchmark.hashing import row_hash, row_uniform, text_keys

WHERE = "https://github.com/amazon-science/esci-data"
TERMS = (
    "The Shopping Queries Data Set (Reddy et al., arXiv 2206.06588): its repository states the "
    "licence; not redistributed here. There are no users and no times: each query is a user of its "
    "own, and the split is the published one."
)
GAINS = {"exact": 100, "substitute": 10, "complement": 1, "irrelevant": 0}
"""Of the published ranking task, times a hundred."""

TRAINING, VALIDATION, TEST = 0, 1, 2
_SPLITS = {"train": TRAINING, "test": TEST}
_LABELS = {**GAINS, **{name[0]: gain for name, gain in GAINS.items()}}
_PUBLISHED = (".parquet",)

EXAMPLES = TableSchema(
    "shopping_queries_dataset_examples",
    (
        Column("query", "text", filled=True),
        Column("query_id", "id"),
        Column("product_id", "id"),
        Column("product_locale", "text", filled=True),
        Column("esci_label", "text", filled=True),
        Column("small_version", "flag"),
        Column("large_version", "flag"),
        Column("split", "text", filled=True),
    ),
    suffixes=_PUBLISHED,
)
PRODUCTS = TableSchema(
    "shopping_queries_dataset_products",
    (
        Column("product_id", "id"),
        Column("product_locale", "text", filled=True),
        Column("product_title", "text"),
        Column("product_description", "text", required=False),
        Column("product_bullet_point", "text", required=False),
        Column("product_brand", "text", required=False),
    ),
    unique="product_id",
    suffixes=_PUBLISHED,
)


def find(recipe: Recipe, faults: Faults) -> list[Path | None]:
    """The judgements and the products; what is missing is noted."""
    remedy = f"fetch shopping_queries_dataset of {WHERE} and name its folder with --source"
    return [schema.find(recipe.source_folder, faults, remedy) for schema in (EXAMPLES, PRODUCTS)]


def locales_in(folder: Path) -> list[str]:
    """The locales that the judgements in the folder are of, as far as sources know them."""
    schema = TableSchema(EXAMPLES.name, (Column("product_locale", "text"),), suffixes=_PUBLISHED)
    faults = Faults()
    table = read_table(schema, schema.find(folder, faults), faults)
    found = set(table.texts("product_locale")) if table is not None else set()
    return [locale for locale in ("us", "es", "jp") if locale in found] or ["us"]


def load(recipe: Recipe, faults: Faults) -> RawLog | None:
    """The log of the tables; every fault is noted, and with one there is no log."""
    options = cast(EsciSource, recipe.source)
    examples_path, products_path = find(recipe, faults)

    there: set[tuple[str, str]] = set()

    def is_of_version(values: dict[str, Any]) -> NDArray[np.bool_]:
        for version in ("small", "large"):
            flagged = np.flatnonzero(values[f"{version}_version"] == 1).tolist()
            there.update((values["product_locale"][row], version) for row in flagged)
        of_locale = np.array([one == options.locale for one in values["product_locale"]])
        return np.asarray(of_locale & (values[f"{options.version}_version"] == 1))

    schema = replace(EXAMPLES, keep=is_of_version, maximum_rows=options.maximum_rows)
    examples = read_table(schema, examples_path, faults)
    wanted = set(examples.ids("product_id").distinct) if examples is not None else set()

    def is_wanted(values: dict[str, Any]) -> NDArray[np.bool_]:
        pairs = zip(values["product_id"], values["product_locale"], strict=True)
        return np.array([one in wanted and of == options.locale for one, of in pairs], dtype=bool)

    schema = replace(PRODUCTS, keep=is_wanted, maximum_rows=options.maximum_rows)
    products = read_table(schema, products_path, faults)
    if examples is not None and not len(examples) and not faults.of(examples.path):
        others = ", ".join(f"{locale} ({version})" for locale, version in sorted(there)) or "none"
        reason = (
            f"holds no judgements for {_asked(options)}, which decide what is read; "
            f"there are judgements for {shortened(others)}"
        )
        faults.add(examples.path, 0, "", reason)
        return None
    if examples is None or products is None:
        return None
    gain = _coded(examples, "esci_label", _LABELS, faults)
    split = _coded(examples, "split", _SPLITS, faults)
    _note_contradictions(examples, gain, split, faults)
    known = products.ids("product_id").distinct
    item = rows_in(examples, "product_id", known, f"{PRODUCTS.name}, {options.locale}", faults)
    if not faults and not np.any(gain == GAINS["exact"]):
        reason = f"holds no exact match for {_asked(options)}, and only queries with one are events"
        faults.add(examples.path, 0, "esci_label", reason)
    if faults:
        return None
    return _log(recipe, examples, _catalogue(products), item, gain, split)


def _asked(options: EsciSource) -> str:
    return f"source.locale: {options.locale} and source.version: {options.version}"


def _coded(table: Table, name: str, codes: dict[str, int], faults: Faults) -> NDArray[np.int64]:
    """The codes of a column of words in any case, (rows,); others are noted."""
    words = table.texts(name)
    found = np.array([codes.get(word.strip().lower(), -1) for word in words], dtype=np.int64)
    wrong = np.flatnonzero(found < 0)
    kind = f"is none of {', '.join(codes)}"
    faults.add_rows(
        table.path, table.row[wrong], name, kind, lambda number: quoted(words[wrong[number]])
    )
    return found


def _note_contradictions(
    table: Table, gain: NDArray[np.int64], split: NDArray[np.int64], faults: Faults
) -> None:
    """Rows that say of a query, or of a product for it, something else than an earlier row."""
    query, product = table.ids("query_id"), table.ids("product_id")
    text = pd.factorize(np.array(table.texts("query"), dtype=object))[0].astype(np.int64)
    pair = query.code * len(product.distinct) + product.code
    are_ids = (query.code >= 0) & (product.code >= 0)
    for name, keys, values, has_product in (
        ("query", query.code, text, False),
        ("split", query.code, split, False),
        ("esci_label", pair, gain, True),
    ):
        _, first, key = np.unique(keys, return_index=True, return_inverse=True)
        earlier = first[key.reshape(-1)]
        wrong = np.flatnonzero((values != values[earlier]) & are_ids & are_ids[earlier])
        words = table.texts(name)
        for row in wrong.tolist():
            other = int(earlier[row])
            subject = f"query_id {shown(query.distinct[query.code[row]])}"
            if has_product:
                subject += f" and product_id {shown(product.distinct[product.code[row]])}"
            reason = (
                f"{quoted(words[row])} for {subject}, of which row {table.row[other]:,} says "
                f"{quoted(words[other])}; only one is allowed"
            )
            faults.add(table.path, int(table.row[row]), name, reason, "contradicts an earlier row")


def _log(
    recipe: Recipe,
    examples: Table,
    items: RawItems,
    item: NDArray[np.int64],
    gain: NDArray[np.int64],
    split: NDArray[np.int64],
) -> RawLog:
    options = cast(EsciSource, recipe.source)
    query = examples.ids("query_id")
    keys = text_keys(query.distinct)[query.code]
    is_valid = row_uniform(recipe.seed, "validation", keys) < options.validation_share
    part = np.where((split == TRAINING) & is_valid, VALIDATION, split)
    exact = np.flatnonzero(gain == GAINS["exact"])
    # Of a held-out query one of the exact matches: the first by a hash.
    drawn = row_hash(recipe.seed, "target", keys, text_keys(items.external_id)[item])
    order = exact[np.lexsort((drawn[exact], query.code[exact]))]
    first = np.ones(len(order), dtype=bool)
    first[1:] = query.code[order][1:] != query.code[order][:-1]
    rows = np.sort(order[first | (part[order] == TRAINING)])
    text = [""] * len(query.distinct)
    for code, words in zip(query.code.tolist(), examples.texts("query"), strict=True):
        text[code] = " ".join(words.split())
    log = RawLog(
        users=query.distinct,
        items=items,
        user=query.code[rows],
        item=item[rows],
        timestamp=part[rows],
        rating=np.full(len(rows), np.nan, dtype=np.float32),
        position=examples.row[rows],
        query=query.code[rows],
        session=query.code[rows],
        query_text=text,
        notes=(TERMS,),
        judgements=RawJudgements(query.code, item, gain),
        cuts=(VALIDATION, TEST),
    )
    without = len(query.distinct) - len(np.unique(query.code[exact]))
    if not without:
        return log
    were = "was" if without == 1 else "were"
    queries = counted(without, "query", "queries")
    return log.with_notes(f"{queries} without an exact match {were} left out.")


def _catalogue(products: Table) -> RawItems:
    """The products: bullet points and description are one text."""

    def plain(name: str) -> list[str]:
        return [" ".join(text.split()) for text in products.texts(name)]

    parts = zip(plain("product_bullet_point"), plain("product_description"), strict=True)
    return catalogue(
        products.ids("product_id").distinct,
        plain("product_title"),
        [" ".join(part for part in of_item if part) for of_item in parts],
        plain("product_brand"),
    )


files, read = files_by(find), read_by(load)
