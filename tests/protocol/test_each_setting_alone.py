"""Every setting can be changed, alone or with what it needs: lists are made, the name says so."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest

from benchmark.errors import BenchmarkError
from benchmark.protocol.settings import ProtocolSettings, configure_protocol
from benchmark.protocol.task import build_tasks
from tests.protocol.logs import shop_dataset

CHANGES: list[tuple[str, Any]] = [
    (name, value)
    for name, field in ProtocolSettings.model_fields.items()
    for value in get_args(field.annotation)
    if isinstance(value, str) and value != field.default
]
NUMBERS: list[tuple[str, Any]] = [
    ("search_depth", 25),
    ("negatives", 10),
    ("seed", 7),
    ("cutoffs", (2, 3)),
    ("all_items_cutoffs", (1, 200)),
    ("bm25_engine", "rank-bm25"),
    ("bm25_analyser", "cjk"),
]
BESIDE: dict[tuple[str, Any], dict[str, Any]] = {
    ("sampler", "released"): {
        "recommendation_negatives": "popularity",
        "recommendation_exclude": "earlier-interactions",
        "search_ties": "document-id",
        "searches": "single-clicks",
    },
    ("history_cut", "released"): {"searches": "single-clicks"},
    ("counters", "by-position"): {"history_cut": "released", "searches": "single-clicks"},
}
BESIDE["collision", "string"] = {"sampler": "released", **BESIDE["sampler", "released"]}
"""What a change needs beside it, since its value follows no other law."""
DATASET = shop_dataset(4, users=40, items=150)


@pytest.mark.parametrize(("name", "value"), CHANGES + NUMBERS)
def test_a_setting_alone(name: str, value: Any) -> None:
    beside = BESIDE.get((name, value), {})
    if beside:
        with pytest.raises(BenchmarkError, match="allowed beside it is"):
            configure_protocol("paper", {name: value})
    called, settings = configure_protocol("paper", {"negatives": 20, name: value, **beside})
    assert called == "custom:paper"
    assert getattr(settings, name) == value
    tasks = build_tasks(DATASET, settings)
    log = DATASET.log
    for task in tasks.values():
        for part in ("valid", "test"):
            lists, rows = task.candidates(part), getattr(task, part).position
            is_fitted = task.name == "search" and settings.search_negatives == "bm25-matched"
            assert len(lists.items) == len(rows) > 0
            width = lists.items.shape[1]
            assert width <= 21 if is_fitted else width == settings.negatives + 1
            ordered = np.sort(lists.items, axis=1)
            assert (ordered[:, 0] > 0).all()
            assert (np.diff(ordered, axis=1) > 0).all()
            targets = np.take_along_axis(lists.items, lists.target_column[:, None], axis=1)[:, 0]
            np.testing.assert_array_equal(targets, log.item[rows])


def test_every_setting_is_among_them() -> None:
    assert {name for name, _ in CHANGES + NUMBERS} == set(ProtocolSettings.model_fields)
