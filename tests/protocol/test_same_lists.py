"""The lists of today are those of every release before: fingerprints that no change may move.

A faster way to the same lists moves none of them. Who means to change the lists changes these
fingerprints with them, and says so where results are compared.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmark.data.dataset import Dataset
from benchmark.data.prepare import load
from benchmark.data.sources.generated import make_dataset
from benchmark.protocol import query_order
from benchmark.protocol.settings import PRESETS, ProtocolSettings
from benchmark.protocol.task import build_tasks
from benchmark.retrieval import bm25
from benchmark.retrieval.compiled import can_compile
from tests.protocol.logs import alike_items_dataset, search_dataset, shop_dataset

LAWS: dict[str, tuple[str, dict[str, Any]]] = {
    "paper": ("paper", {}),
    "released": ("released", {}),
    "clean": ("clean", {}),
    "filtered": ("paper", {"search_negatives": "bm25-filtered"}),
    "untouched": ("paper", {"search_exclude": "touched"}),
    "cut": ("paper", {"search_depth": 60}),
    "by document": ("paper", {"search_ties": "document-id", "search_negatives": "bm25-filtered"}),
    "popular": ("paper", {"recommendation_negatives": "popularity"}),
}
"""Settings by name: a preset and what is changed of it."""

EXPECTED: dict[str, dict[str, list[str]]] = json.loads(
    (Path(__file__).parent / "same_lists.json").read_text()
)
"""World → law → the first 16 digits of validation and test lists, task by task."""


def world(name: str, root: Path) -> Dataset:
    if name == "ml-100k":
        return load("ml-100k", root=root)
    made = {
        "shop": lambda: shop_dataset(seed=1),
        "searches": lambda: search_dataset(seed=0, users=200),
        "alike items": alike_items_dataset,
        "generated": lambda: make_dataset(users=150, items=400),
    }
    return made[name]()


def fingerprints(dataset: Dataset, settings: ProtocolSettings) -> list[str]:
    return [
        task.candidates(part).fingerprint[:16]
        for task in build_tasks(dataset, settings).values()
        for part in ("valid", "test")
    ]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prepared")


@pytest.mark.parametrize("name", EXPECTED)
def test_lists_are_the_same_as_ever(name: str, root: Path) -> None:
    dataset = world(name, root)
    for law, expected in EXPECTED[name].items():
        preset, changes = LAWS[law]
        settings = PRESETS[preset].model_copy(update=changes)
        assert fingerprints(dataset, settings) == expected, law


# `make test` installs numba; it is an extra of the package, which works without it.
@pytest.mark.skipif(not can_compile(), reason="numba is not installed")
@pytest.mark.parametrize("name", ["shop", "searches", "alike items", "generated"])
def test_compiled_code_makes_the_same_lists(
    name: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_order, "_COMPILED_FROM", 0)
    monkeypatch.setattr(bm25, "_PRUNED_FROM", 0)
    assert fingerprints(world(name, root), PRESETS["clean"]) == EXPECTED[name]["clean"]
