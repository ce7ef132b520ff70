"""``python -m benchmark.data validate <folder>``: every fault of a folder of source files.

What the folder holds is told by its files. The rules are those that the loaders apply; a loader
stops at the first fault, here all are listed with file, row and column.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmark.data.sources import amazon, company, kuaisar, qilin
from benchmark.data.sources.lines import lines_of, record_of
from benchmark.data.sources.schema import Column, Problems, TableSchema, read_table, rows_in
from benchmark.errors import BenchmarkError

_TIDY_ITEMS = company.ITEMS
_TIDY_INTERACTIONS = TableSchema(
    "interactions",
    (
        Column("user_id", "id"),
        Column("item_id", "id"),
        Column("timestamp", "seconds"),
    ),
    unique=("user_id", "item_id", "timestamp"),
)
_TIDY_SEARCHES = TableSchema(
    "searches",
    (
        Column("user_id", "id"),
        Column("item_id", "id"),
        Column("query", "text"),
        Column("timestamp", "seconds"),
    ),
    unique=("user_id", "item_id", "query", "timestamp"),
)


@dataclass(frozen=True)
class Validation:
    """What a folder is, what is wrong with it (sentences), and what is worth knowing."""

    kind: str
    faults: tuple[str, ...]
    remarks: tuple[str, ...]


def validate(folder: Path) -> Validation:
    """Check every table of the folder.

    Raises:
        BenchmarkError: it is no folder, or holds no files of a known kind.
    """
    if not folder.is_dir():
        raise BenchmarkError(f"{folder}: is not a folder.")
    for kind, (is_it, check) in _KINDS.items():
        if is_it(folder):
            problems = Problems()
            remarks = check(folder, problems)
            return Validation(kind, tuple(problems.sentences()), tuple(remarks))
    raise BenchmarkError(
        f"{folder}: holds none of the tables that a data set begins with: "
        "recommendations and searches (a company's log), interactions (the tidy format), rec_inter "
        "(KuaiSAR), recommendation_train (Qilin) or reviews_<category>_5.json.gz (Amazon)."
    )


def _check_tidy(folder: Path, problems: Problems) -> list[str]:
    items = read_table(_TIDY_ITEMS, folder, problems)
    tables = [read_table(_TIDY_INTERACTIONS, folder, problems)]
    if _TIDY_SEARCHES.find(folder):
        tables.append(read_table(_TIDY_SEARCHES, folder, problems))
    if items is None:
        return []
    for table in tables:
        if table is not None:
            rows_in(table, "item_id", items.ids("item_id").distinct, "items", problems)
    return []


def _check_amazon(folder: Path, problems: Problems) -> list[str]:
    """The first fault of each file; a fault of a line hides those behind it."""
    for path in sorted(folder.glob("*.json*")):
        if path.is_file():
            _note_first(path, problems, partial(_parse_all, path))
    queries = folder / amazon.QUERY_FILE
    number = 0
    if queries.is_file():

        def count() -> None:
            nonlocal number
            number = sum(1 for _ in lines_of(queries))

        _note_first(queries, problems, count)
    for name in amazon.RELEVANCE_FILES:
        path = folder / name
        if path.is_file():
            _note_first(path, problems, partial(amazon.read_relevance, [path], number))
    return []


def _parse_all(path: Path) -> None:
    for number, line in lines_of(path):
        record_of(path, number, line)


def _note_first(path: Path, problems: Problems, work: Callable[[], object]) -> None:
    try:
        work()
    except BenchmarkError as error:
        problems.add(path, 0, "", str(error).removeprefix(f"{path}: ").rstrip("."))


_Check = Callable[[Path, Problems], list[str]]
_KINDS: dict[str, tuple[Callable[[Path], object], _Check]] = {
    "KuaiSAR": (
        lambda folder: kuaisar.RECOMMENDATIONS.find(folder) or kuaisar.SEARCHES.find(folder),
        kuaisar.check,
    ),
    "Qilin": (qilin.present, qilin.check),
    "a company's log": (company.RECOMMENDATIONS.find, company.check),
    "the tidy format": (_TIDY_INTERACTIONS.find, _check_tidy),
    "Amazon": (lambda folder: list(folder.glob("reviews_*.json*")), _check_amazon),
    "a company's log without recommendations": (company.SEARCHES.find, company.check),
}
