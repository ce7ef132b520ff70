"""How the sources of published files are tried: read, validated and prepared from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmark.data.build import build_dataset
from benchmark.data.dataset import Dataset
from benchmark.data.recipe import Recipe, load_recipe, parse_recipe
from benchmark.data.sources import read_source
from benchmark.data.validate import Validation, validate

RECIPES = Path(__file__).resolve().parents[2] / "datasets"


def recipe_of(
    kind: str, folder: Path, search: str = "none", text: tuple[str, ...] = ("title",), **source: Any
) -> Recipe:
    """A recipe that keeps everything of the folder."""
    content = {
        "name": "tried",
        "source": {"kind": kind, "path": str(folder), "core": 1, **source},
        "search": {"kind": search},
        "text": list(text),
    }
    return parse_recipe(content, "the test")


def built(recipe: Recipe) -> Dataset:
    """The data set of the folder."""
    return build_dataset(recipe, read_source(recipe))


def validated_by(name: str, folder: Path) -> Validation:
    """What validate says of the folder, read by a recipe that is shipped."""
    return validate(folder, load_recipe(name, RECIPES))


def events_of(dataset: Dataset) -> list[tuple[str, str, str, int]]:
    """User, item, query and time of each event, by their external names."""
    log = dataset.log
    columns = (log.user.tolist(), log.item.tolist(), log.query.tolist(), log.timestamp.tolist())
    return [
        (
            dataset.users[user],
            dataset.items.external_id[item],
            dataset.queries.text[query],
            time,
        )
        for user, item, query, time in zip(*columns, strict=True)
    ]
