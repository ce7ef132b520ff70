"""How many requests are scored at once, by memory and by number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from benchmark.kit.decoding.identifier_system import catalogue_of
from benchmark.kit.decoding.ranking import candidate_scores, catalogue_scores
from benchmark.kit.decoding.scoring_batches import batches_of, request_costs
from benchmark.kit.decoding.t5 import encode
from benchmark.kit.language_models.seq2seq import ScratchSize, Seq2Seq
from benchmark.kit.training import micro_batches
from tests.training import SEED

CODES, LEVELS, END = 64, 4, 1
VOCABULARY = 2 + LEVELS * CODES
SIZE = ScratchSize(width=64, layers=2, heads=4, head_width=16, feed_forward=128, dropout=0.0)


@pytest.fixture(scope="module")
def t5() -> Any:
    torch.manual_seed(SEED)
    return Seq2Seq.of_size(SIZE, VOCABULARY).t5.eval()


def identifiers(*shape: int) -> np.ndarray:
    random = np.random.default_rng(0)
    codes = random.integers(CODES, size=(*shape, LEVELS)) + 2 + CODES * np.arange(LEVELS)
    return np.concatenate([codes, np.full((*shape, 1), END)], axis=-1)


def peak_bytes(work: Any) -> int:
    """The most that was allocated at a time while ``work`` ran."""
    work()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    events = [event for event in profiled.profiler.kineto_results.events()]
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return int(np.cumsum([size for _, size in changes]).max())


@pytest.mark.parametrize("length", [16, 120])
@pytest.mark.parametrize("way", ["beam", "exact", "catalogue"])
@torch.inference_mode()
def test_costs_bound_what_scoring_takes(t5: Any, way: str, length: int) -> None:
    candidates, items = 100, 3000
    tree = catalogue_of(np.concatenate([identifiers(1), identifiers(items)]))

    def scores(requests: int) -> Any:
        def work() -> None:
            ids = torch.full((requests, length), 5)
            encoded = encode(t5, {"input_ids": ids}, torch.ones_like(ids))
            if way == "catalogue":
                catalogue_scores(t5, encoded, tree, 100)
            else:
                tokens = identifiers(requests, candidates)
                candidate_scores(t5, encoded, tokens, 30 if way == "beam" else None)

        return work

    few, many = peak_bytes(scores(8)), peak_bytes(scores(24))
    each = (many - few) / 16
    costs = request_costs(t5.config, candidates, LEVELS + 1, LEVELS * CODES + 1)
    bound = costs.of(np.array([length]), np.array([0]))[0]
    assert each <= bound <= 12 * each


def test_a_number_cuts_requests_of_similar_lengths(t5: Any) -> None:
    tokens = np.array([9, 3, 7, 1, 8, 2, 5])
    found = [rows.tolist() for rows in batches_of(3, tokens, t5, 100, 5, 64)]
    assert found == [[3, 5, 1], [6, 2, 4], [0]]


def test_auto_takes_more_of_short_requests(t5: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = np.repeat([500, 10], 300)
    (alone,) = batches_of("auto", tokens[300:], t5, 100, 5, 64)
    assert len(alone) == 300, "all of the short ones fit"
    monkeypatch.setattr(micro_batches, "ROOM_ON_CPU", 3e7)
    found = list(batches_of("auto", tokens, t5, 100, 5, 64))
    sizes = [len(rows) for rows in found]
    assert sorted(np.concatenate(found).tolist()) == list(range(600))
    assert sizes[0] > 1.5 * sizes[-2] and max(sizes) < 300
    assert (tokens[found[0]] == 10).all() and (tokens[found[-1]] == 500).all()
