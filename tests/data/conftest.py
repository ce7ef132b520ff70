"""Small folders in the tidy format, written by hand, and the recipes that read them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from benchmark.data.recipe import Recipe, load_recipe

CATEGORIES = pa.list_(pa.list_(pa.string()))

INTERACTIONS: dict[str, Any] = {
    "user_id": ["a", "a", "b", "b"],
    "item_id": ["X", "Y", "X", "Z"],
    "timestamp": [100, 200, 100, 100],
}
ITEMS: dict[str, Any] = {
    "item_id": ["Z", "Y", "X"],
    "title": ["Zeta", "Ypsilon", "Xi"],
    "description": [None, None, None],
    "categories": pa.array(
        [[["Root", "Leaf"]], [["Root", "Big Leaf"], ["Root"]], [["Root", "Leaf"]]], type=CATEGORIES
    ),
}

WriteFolder = Callable[..., Path]
MakeRecipe = Callable[..., Recipe]


def write_parquet(path: Path, columns: dict[str, Any], **options: Any) -> None:
    pq.write_table(pa.table(columns), path, **options)


@pytest.fixture
def write_folder(tmp_path: Path) -> WriteFolder:
    """Write the folder ``log``; a column given as None is left out, a table as None as well."""

    def write(**tables: dict[str, Any] | None) -> Path:
        folder = tmp_path / "log"
        folder.mkdir(exist_ok=True)
        given: dict[str, Any] = {"interactions": {}, "items": {}, **tables}
        for name, changes in given.items():
            if changes is None:
                continue
            base = {"interactions": INTERACTIONS, "items": ITEMS}.get(name, {})
            columns = {**base, **changes}
            kept = {key: value for key, value in columns.items() if value is not None}
            write_parquet(folder / f"{name}.parquet", kept)
        return folder

    return write


@pytest.fixture
def make_recipe(tmp_path: Path) -> MakeRecipe:
    """A recipe ``shop.yaml`` that reads the folder ``log`` beside it."""

    def make(source: dict[str, Any] | None = None, **keys: Any) -> Recipe:
        content = {
            "name": "shop",
            "source": {"kind": "folder", "path": "log", **(source or {})},
            "text": ["title"],
            **keys,
        }
        path = tmp_path / "shop.yaml"
        path.write_text(yaml.safe_dump(content))
        return load_recipe(path)

    return make
