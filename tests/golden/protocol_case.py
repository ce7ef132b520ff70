"""The data set of ``protocol.json``: its raw files in the published formats, read by the recipe."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmark.data.build import build_dataset
from benchmark.data.dataset import Dataset
from benchmark.data.recipe import Recipe, parse_recipe
from benchmark.data.sources import amazon, read_source


def write_published_files(golden: dict[str, Any], folder: Path) -> None:
    """The raw input of the case as the five files that are published for a category."""
    raw = golden["raw"]
    reviews = [
        json.dumps({"reviewerID": user, "asin": asin, "overall": stars, "unixReviewTime": time})
        for user, asin, stars, time in raw["reviews"]
    ]
    # The metadata are Python literals, and a field that is missing has no key.
    metadata = [repr(record) for record in raw["meta"]]
    _write(folder / amazon.review_file("Electronics"), reviews)
    _write(folder / amazon.metadata_file("Electronics"), metadata)
    _write(folder / amazon.QUERY_FILE, raw["query_text"])
    for name in ("train", "test"):
        _write(folder / f"{name}.qrels.gz", raw[f"{name}_qrels"])


def _write(path: Path, lines: Iterable[str]) -> None:
    path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode("utf-8")))


def recipe_of(golden: dict[str, Any], folder: Path) -> Recipe:
    """The recipe of Amazon Electronics over the files in ``folder``."""
    content = {
        "name": "golden",
        "source": {"kind": "amazon", "category": "Electronics", "path": str(folder)},
        "search": {"kind": "own"},
        "ties": "rating",
        "item_ids": "sorted",
        "seed": golden["meta"]["seed"],
    }
    return parse_recipe(content, "golden")


def dataset_of(golden: dict[str, Any], folder: Path) -> Dataset:
    """Users get the official id + 1 (0 is the unknown user); items have the official ids."""
    write_published_files(golden, folder)
    recipe = recipe_of(golden, folder)
    return build_dataset(recipe, read_source(recipe))
