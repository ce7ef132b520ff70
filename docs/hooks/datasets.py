"""The table of data sets on their page: sizes, where something that is kept says them.

Sizes come from run records, from ``results/reproduction/lines.yaml``, and, of invented logs without
options to choose, from making them; where none of these tells, the command that does stands there.
"""

from __future__ import annotations

import json
from functools import cache

from benchmark.data.build import build_dataset
from benchmark.data.dataset import Dataset
from benchmark.data.describe import statistics
from benchmark.data.recipe import load_recipe, recipe_names
from benchmark.data.sources import read_source
from benchmark.yaml_files import read_yaml
from docs.hooks.differences import ROOT

MADE_HERE = ("generated", "planted")
"""Recipes that invent their log in a moment."""

Size = tuple[int | None, ...]
"""Users, items, recommendation events and search events; None where nothing tells."""


@cache
def sizes() -> dict[str, Size]:
    """Data set → its size, for those that anything kept tells of."""
    found: dict[str, Size] = {}
    for name in MADE_HERE:
        of = statistics(_invented(name))
        found[name] = (of.users, of.items, of.recommendation_events, of.search_events)
    for line in read_yaml(ROOT / "results" / "reproduction" / "lines.yaml")["lines"].values():
        if counts := line.get("counts"):
            # Counts of purchases; searches are made of them only where the recipe says so.
            searches = 0 if line["dataset"].endswith("-sequences") else None
            purchases = (counts["users"], counts["items"], counts["events"])
            found[line["dataset"]] = (*purchases, searches)
    for path in sorted((ROOT / "results").glob("re*/**/run.json")):
        of_run = json.loads(path.read_text(encoding="utf-8"))["dataset"]
        keys = ("users", "items", "recommendation_events", "search_events")
        found[of_run["name"]] = tuple(of_run[key] for key in keys)
    return found


def _invented(name: str) -> Dataset:
    recipe = load_recipe(name, ROOT / "datasets")
    return build_dataset(recipe, read_source(recipe))


def sizes_table() -> str:
    """Every recipe with its size and what it is."""
    lines = [
        "| recipe | users | items | recommendation events | search events | what it is |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name in recipe_names(ROOT / "datasets"):
        recipe = load_recipe(name, ROOT / "datasets")
        size = sizes().get(name)
        cells = ["–" if number is None else f"{number:,}" for number in size or [None] * 4]
        lines.append(f"| `{name}` | {' | '.join(cells)} | {recipe.description} |")
    lines += [
        "",
        "Sizes are those of the prepared data. A dash: no kept record tells it; "
        "`python -m benchmark.data describe NAME` does once its files are at hand.",
    ]
    return "\n".join(lines)
