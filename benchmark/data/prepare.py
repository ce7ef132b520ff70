"""Prepared data sets: built once, stored by content, checked at every load.

The folder's name ends with a hash of the recipe, of the source's files and of this package's own
code, so a change of any of them gives another folder and never a stale one. A folder is complete or
absent (:func:`benchmark.files.build_folder`); two processes that want the same one build it once.
The folder of a source's files that was given beside a recipe is remembered, so that later commands
need not be told again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.data.dataset import Dataset, EventLog, Items, Judgements, Queries
from benchmark.data.recipe import RECIPE_FOLDER, Recipe, load_recipe
from benchmark.errors import BenchmarkError
from benchmark.faults import MachineFault
from benchmark.files import (
    atomic_path,
    build_folder,
    check_manifest,
    finished_in,
    is_complete,
    read_json,
    remove_folder,
    sha256_of_file,
    sha256_of_json,
    write_json,
)
from benchmark.leftovers import lock_by_content, sweep_abandoned, sweep_locks, sweep_partial
from benchmark.loaded import sources_as_loaded
from benchmark.locks import locked

if TYPE_CHECKING:
    import pyarrow as pa

PREPARED_ROOT = RECIPE_FOLDER / "prepared"
BLOCKS_SUFFIX = ".blocks"
"""Ends the name of a folder with the blocks of candidate lists that are not finished."""

_FORMAT = 1  # of the stored folder
_META = "meta.json"
_SOURCES = "sources.json"
_LOG_COLUMNS = ("user", "item", "query", "behaviour", "timestamp", "session")
_JUDGEMENTS = "judgements.parquet"
_JUDGEMENT_COLUMNS = ("query", "item", "gain")
_ITEM_COLUMNS = ("external_id", "title", "description", "brand", "categories", "text")

logger = logging.getLogger(__name__)


def load(
    name_or_path: str | Path,
    *,
    root: Path = PREPARED_ROOT,
    folder: Path = RECIPE_FOLDER,
    source: Path | None = None,
) -> Dataset:
    """The data set of a recipe, given by name (of a file in ``folder``) or by path.

    Args:
        source: the folder of the source's files, if it is not the recipe's; it is remembered.

    Raises:
        BenchmarkError: the recipe or its source cannot be used.
    """
    recipe = load_recipe(name_or_path, folder)
    dataset = prepare(with_source_folder(recipe, root, source), root=root)
    if source is not None:
        _remember(recipe, root, source)
    return dataset


def stored_with(fingerprint: str, root: Path = PREPARED_ROOT) -> Dataset | None:
    """The sound prepared data set of this content below ``root``; None if there is none."""
    for path in finished_in(root, f"*/{_META}"):
        with suppress(BenchmarkError):
            meta = read_json(path)
            if isinstance(meta, dict) and meta.get("fingerprint") == fingerprint:
                found = _stored(path.parent)
                if found is not None:
                    return found
    return None


def with_source_folder(recipe: Recipe, root: Path, source: Path | None = None) -> Recipe:
    """The recipe with the folder of its files: ``source``, else the remembered one, else its own.

    A recipe that names none has a folder below ``root``, where missing files are downloaded to.

    Raises:
        BenchmarkError: ``source`` is no folder, or the recipe's source has no use for one.
    """
    if not recipe.reads_a_folder:
        if source is None:
            return recipe
        raise BenchmarkError(f"{recipe.name}: a source of kind {recipe.source.kind} has no folder.")
    if source is not None and not source.is_dir():
        raise BenchmarkError(f"{source}: the folder of --source is missing.")
    given = source or _remembered(root).get(_place(recipe))
    if given is not None:
        return recipe.model_copy(update={"given_folder": Path(given)})
    if getattr(recipe.source, "path", ""):
        return recipe
    downloads = root / "downloads" / recipe.name
    return recipe.model_copy(update={"given_folder": downloads, "is_downloaded": True})


def _place(recipe: Recipe) -> str:
    return str((recipe.folder / f"{recipe.name}.yaml").resolve())


def _remembered(root: Path) -> dict[str, str]:
    """The folders given so far, by the place of the recipe's file."""
    path = root / _SOURCES
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise BenchmarkError(f"{path}: is not a table of folders; remove it.")
    return content


def _remember(recipe: Recipe, root: Path, source: Path) -> None:
    with locked(root / f"{_SOURCES}.lock"):
        write_json(root / _SOURCES, {**_remembered(root), _place(recipe): str(source.resolve())})


def prepare(recipe: Recipe, *, root: Path = PREPARED_ROOT) -> Dataset:
    """The recipe's data set out of ``root``, where it is put first if it is not there yet.

    Raises:
        BenchmarkError: the source cannot be used, or ``root`` cannot be written.
    """
    from benchmark.data.sources import source_files

    files = source_files(recipe)
    sources = {_name_of(recipe, path): sha256_of_file(path) for path in files}
    key = sha256_of_json(
        {
            "format": _FORMAT,
            "recipe": recipe.content_hash(),
            "sources": sources,
            "code": _hash_of_code(),
        }
    )
    target = root / f"{recipe.name}-{key[:16]}"
    found = _stored(target, key)
    if found is not None:
        return found
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MachineFault(f"{root}: cannot be written ({error.strerror or error}).") from error

    def say() -> None:
        logger.info("%s: another process is preparing it; waiting.", target)

    with locked(root / f"{target.name}.lock", waiting=say):
        found = _stored(target, key)
        return found if found is not None else _built(recipe, target, sources, key)


def sweep(root: Path) -> None:
    """Remove what killed processes left among the prepared data and the candidate lists."""
    sweep_partial(root, lock_by_content(root))
    sweep_abandoned(root, BLOCKS_SUFFIX)
    sweep_locks(root)


def _name_of(recipe: Recipe, path: Path) -> str:
    """A source's file by its place below the source's folder: two parts may have one name."""
    if recipe.reads_a_folder and path.is_relative_to(recipe.source_folder):
        return path.relative_to(recipe.source_folder).as_posix()
    return path.name


@cache
def _hash_of_code() -> str:
    """SHA-256 of the sources of this package, since they determine what a recipe gives.

    Raises:
        BenchmarkError: one was changed after this process had loaded it.
    """
    return sha256_of_json(sources_as_loaded("benchmark.data"))


def _built(recipe: Recipe, target: Path, sources: dict[str, str], key: str) -> Dataset:
    """Build and store; called under the lock, with no sound data set in ``target``."""
    from benchmark.data.build import build_dataset
    from benchmark.data.sources import read_source

    sweep(target.parent)
    logger.info("%s: preparing.", target)
    dataset = build_dataset(recipe, read_source(recipe))
    remove_folder(target)
    build_folder(target, lambda folder: _write(folder, dataset, recipe, sources, key))
    return dataset


def _write(
    folder: Path, dataset: Dataset, recipe: Recipe, sources: dict[str, str], key: str
) -> None:
    import pyarrow as pa

    log, items = dataset.log, dataset.items
    _write_table(
        folder / "log.parquet", pa.table({name: getattr(log, name) for name in _LOG_COLUMNS})
    )
    columns: dict[str, Any] = {
        name: pa.array(list(getattr(items, name)), type=pa.string())
        for name in _ITEM_COLUMNS
        if name != "categories"
    }
    columns["categories"] = pa.array(items.categories, type=pa.list_(pa.list_(pa.string())))
    _write_table(folder / "items.parquet", pa.table(columns))
    _write_table(folder / "queries.parquet", _texts_table(dataset.queries.text))
    _write_table(folder / "users.parquet", _texts_table(dataset.users))
    if dataset.judgements is not None:
        judged = {name: getattr(dataset.judgements, name) for name in _JUDGEMENT_COLUMNS}
        _write_table(folder / _JUDGEMENTS, pa.table(judged))
    write_json(
        folder / _META,
        {
            "format": _FORMAT,
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "notes": list(dataset.notes),
            "has_readable_text": dataset.has_readable_text,
            "salt": dataset.salt,
            "cuts": dataset.cuts,
            "recipe": recipe.model_dump(mode="json"),
            "sources": sources,
            "key": key,
        },
    )


def _texts_table(texts: Sequence[str]) -> pa.Table:
    import pyarrow as pa

    return pa.table({"text": pa.array(list(texts), type=pa.string())})


def _write_table(path: Path, table: pa.Table) -> None:
    import pyarrow.parquet as pq

    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, write_page_checksum=True)


def _stored(target: Path, key: str | None = None) -> Dataset | None:
    """The data set in ``target``; None where there is none, or none that can be trusted.

    Args:
        key: that of what was asked for; a folder that holds anything else is not taken.
    """
    if not is_complete(target):
        return None
    import pyarrow as pa

    try:
        check_manifest(target)
        if key is not None and read_json(target / _META)["key"] != key:
            raise BenchmarkError("it holds another data set than its name says")
        return _read(target)
    except (
        BenchmarkError,
        pa.ArrowException,
        OSError,
        LookupError,
        TypeError,
        ValueError,
    ) as fault:
        logger.warning("%s: is damaged and is prepared anew (%s)", target, fault)
        return None


def _read(folder: Path) -> Dataset:
    meta = read_json(folder / _META)
    log = _read_table(folder / "log.parquet")
    items = _read_table(folder / "items.parquet")
    texts = {name: tuple(items.column(name).to_pylist()) for name in _ITEM_COLUMNS}
    texts["categories"] = tuple(
        tuple(tuple(path) for path in paths) for paths in texts["categories"]
    )
    users = _read_table(folder / "users.parquet").column("text").to_pylist()
    columns: dict[str, np.ndarray] = {name: log.column(name).to_numpy() for name in _LOG_COLUMNS}
    return Dataset(
        name=meta["name"],
        items=Items(**texts),
        queries=Queries(
            text=tuple(_read_table(folder / "queries.parquet").column("text").to_pylist())
        ),
        users=tuple(users),
        log=EventLog.from_columns(**columns, number_of_users=len(users) - 1),
        fingerprint=meta["fingerprint"],
        notes=tuple(meta["notes"]),
        has_readable_text=meta["has_readable_text"],
        salt=meta["salt"],
        judgements=_read_judgements(folder / _JUDGEMENTS),
        cuts=tuple(meta["cuts"]) if meta.get("cuts") else None,
    )


def _read_judgements(path: Path) -> Judgements | None:
    if not path.is_file():
        return None
    table = _read_table(path)
    return Judgements(*(table.column(name).to_numpy() for name in _JUDGEMENT_COLUMNS))


def _read_table(path: Path) -> pa.Table:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True) as opened:
        return opened.read()
