"""TREC files with real ids: scores come back to the last bit, ties as ties."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.protocol.outside import event_ids, read_run
from benchmark.protocol.settings import PRESETS
from benchmark.protocol.task import build_tasks
from benchmark.protocol.trec import item_words, write_run
from tests.protocol.test_exchange import awkward_dataset


def test_scores_and_pruned_candidates_come_back(tmp_path: Path) -> None:
    dataset = awkward_dataset()
    task = build_tasks(dataset, PRESETS["paper"])["search"]
    candidates = task.test_candidates.items
    random = np.random.default_rng(1)
    scores = random.normal(size=candidates.shape).astype(np.float32)
    scores[:, ::3] = np.float32(0.1)  # ties, of a number that no decimal is equal to
    scores[random.random(size=scores.shape) < 0.2] = -np.inf
    scores[0] = -np.inf
    words = item_words(dataset.items.external_id)
    write_run(tmp_path / "r.trec", event_ids(task), candidates, scores, words, "tag")
    found = read_run(tmp_path / "r.trec", dataset, task)
    assert np.array_equal(found.scores, scores) and found.outside == 0
    lines = (tmp_path / "r.trec").read_text(encoding="utf-8").splitlines()
    first, *rest = [line.split() for line in lines]
    assert first[4] == "-inf" and not any(fields[4] == "-inf" for fields in rest)
    assert len({fields[0] for fields in (first, *rest)}) == len(candidates)


@pytest.mark.parametrize("name, word", [("a b", "a%20b"), ("100%", "100%25"), ("a\tb", "a%09b")])
def test_ids_are_one_word(name: str, word: str) -> None:
    assert item_words([name]) == [word]


def test_what_fills_up_a_shorter_list_has_no_line(tmp_path: Path) -> None:
    candidates = np.array([[1, 2, 3], [2, 3, 0]], dtype=np.int32)
    # A shorter list is asked with its own items again, so its filling has scores.
    scores = np.array([[1, 2, 3], [2, 1, 2]], dtype=np.float32)
    write_run(tmp_path / "r.trec", ["one", "two"], candidates, scores, ["", "a", "b", "c"], "tag")
    lines = (tmp_path / "r.trec").read_text(encoding="utf-8").splitlines()
    assert [line.split()[2] for line in lines] == ["c", "b", "a", "b", "c"]
