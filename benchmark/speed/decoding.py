"""Ranking identifiers with a T5, beside Hugging Face's constrained beam search.

Weights are random: the speed of a beam or of exact scoring does not depend on them. That of
rank-only does, since only a model that knows something can drop prefixes early; random weights are
its worst case. Times are CPU seconds of the process, so that a shared machine can be used.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.kit.decoding.ranking import candidate_scores, catalogue_scores, exact_ranks
from benchmark.kit.decoding.seq2seq import encode
from benchmark.kit.decoding.trie import CatalogueTrie
from benchmark.kit.language_models.seq2seq import ScratchSize, Seq2Seq
from benchmark.speed.measure import Measurement

BEAM, CODES, LEVELS, END = 30, 256, 4, 1


@dataclass(frozen=True)
class Backbone:
    """A size to measure; the last tokens of the vocabulary are the codes and a behaviour token."""

    name: str
    size: ScratchSize
    vocabulary: int

    def model(self) -> Any:
        """With random weights, ready to decode."""
        torch.manual_seed(0)
        return Seq2Seq.of_size(self.size, self.vocabulary).t5.eval()

    def identifiers(self, shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.int64]:
        """Random identifiers (*shape, length): a behaviour token, codes, the end."""
        first = self.vocabulary - 1 - LEVELS * CODES
        codes = random.integers(CODES, size=(*shape, LEVELS)) + first + CODES * np.arange(LEVELS)
        behaviour = np.full((*shape, 1), self.vocabulary - 1)
        return np.concatenate([behaviour, codes, np.full((*shape, 1), END)], axis=-1)


SMALL = Backbone("t5-small", ScratchSize(), 33_126)
TINY = Backbone(
    "T5 of width 128",
    ScratchSize(width=128, layers=4, heads=4, head_width=32, feed_forward=512),
    4_096,
)


def decoding(
    backbones: Sequence[Backbone] = (SMALL, TINY),
    batch_sizes: Sequence[int] = (8, 32),
    lengths: Sequence[int] = (64, 128),
    list_sizes: Sequence[int] = (10, 100, 1000),
    catalogues: Sequence[int] = (10_000, 100_000, 1_000_000),
    device: str = "cpu",
) -> list[Measurement]:
    """All ways for every backbone, batch size and input length, then how they grow.

    Growth with the length of the list and with the catalogue is measured on the last backbone. On
    an accelerator seconds are those of the clock.
    """
    random = np.random.default_rng(0)
    measured: list[Measurement] = []
    for backbone in backbones:
        model = backbone.model().to(device)
        for batch_size in batch_sizes:
            for length in lengths:
                measured += _ways(backbone, model, batch_size, length, 100, random)
    for candidates in list_sizes:
        measured += _ways(backbone, model, 8, 64, candidates, random)
    for items in catalogues:
        measured += _catalogue(backbone, model, items, random)
    return measured


@torch.inference_mode()
def _ways(
    backbone: Backbone,
    model: Any,
    events: int,
    length: int,
    candidates: int,
    random: np.random.Generator,
) -> Iterator[Measurement]:
    what = f"{backbone.name}, {events} events of {length} tokens, {candidates} candidates"
    ids, mask = _prompts(backbone, events, length, random, model.device)
    tokens = backbone.identifiers((events, candidates), random)
    target = random.integers(candidates, size=events)

    def hugging_face() -> None:
        tables = [_table(rows) for rows in tokens.tolist()]
        model.generate(
            ids,
            attention_mask=mask,
            num_beams=BEAM,
            num_return_sequences=BEAM,
            max_new_tokens=tokens.shape[2],
            prefix_allowed_tokens_fn=lambda event, sent: tables[event].get(
                tuple(sent.tolist()[1:]), [END]
            ),
        )

    ways: dict[str, Callable[[], object]] = {
        f"Hugging Face, {BEAM} beams": hugging_face,
        f"{BEAM} beams (ours)": lambda: candidate_scores(
            model, encode(model, {"input_ids": ids}, mask), tokens, BEAM
        ),
        "exact (ours)": lambda: candidate_scores(
            model, encode(model, {"input_ids": ids}, mask), tokens
        ),
        "rank only (ours)": lambda: exact_ranks(
            model, encode(model, {"input_ids": ids}, mask), tokens, target
        ),
    }
    for way, work in ways.items():
        yield Measurement(what, way, _seconds(work, model.device), events)


@torch.inference_mode()
def _catalogue(
    backbone: Backbone, model: Any, items: int, random: np.random.Generator, events: int = 8
) -> Iterator[Measurement]:
    tokens = backbone.identifiers((items,), random)
    ids, mask = _prompts(backbone, events, 64, random, model.device)
    started = time.process_time()
    catalogue = CatalogueTrie.of(tokens)
    seconds = time.process_time() - started
    yield Measurement(f"{backbone.name}, tree of a catalogue", f"{items:,} items", seconds, items)

    def search() -> object:
        return catalogue_scores(model, encode(model, {"input_ids": ids}, mask), catalogue, BEAM)

    what = f"{backbone.name}, {events} events, the best of a catalogue by {BEAM} beams"
    yield Measurement(what, f"{items:,} items", _seconds(search, model.device), events)


def _prompts(
    backbone: Backbone,
    events: int,
    length: int,
    random: np.random.Generator,
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.from_numpy(random.integers(2, backbone.vocabulary, size=(events, length)))
    ids = ids.to(device)
    return ids, torch.ones_like(ids)


def _table(candidates: list[list[int]]) -> dict[tuple[int, ...], list[int]]:
    """What may follow each prefix, as code for ``prefix_allowed_tokens_fn`` is usually written."""
    allowed: dict[tuple[int, ...], set[int]] = {}
    for tokens in candidates:
        for place, token in enumerate(tokens):
            allowed.setdefault(tuple(tokens[:place]), set()).add(token)
    return {prefix: sorted(found) for prefix, found in allowed.items()}


def _seconds(work: Callable[[], object], device: torch.device, repeats: int = 2) -> float:
    """The least of several runs: the process's on a CPU, the clock's on an accelerator."""
    seconds = []
    for _ in range(repeats):
        if device.type == "cpu":
            started = time.process_time()
            work()
            seconds.append(time.process_time() - started)
        else:
            torch.cuda.synchronize(device)
            started = time.perf_counter()
            work()
            torch.cuda.synchronize(device)
            seconds.append(time.perf_counter() - started)
    return min(seconds)
