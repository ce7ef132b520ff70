"""The board's lines on decoding: candidate lists, and the best of a whole catalogue.

Peers search with Hugging Face's ``generate`` and 30 beams: by its prefix function, and by a static
vectorised trie. Teacher forcing of all candidates is the plain way to exact scores. What a way has
to compute is counted in floating-point operations, so that a line says how much of a ratio is less
work and how much is a faster product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from benchmark.kit.decoding.ranking import candidate_scores, catalogue_scores
from benchmark.kit.decoding.seq2seq import encode
from benchmark.kit.decoding.trie import CatalogueTrie, Trie
from benchmark.kit.products import has_wide_products
from benchmark.speed.contest import Line, Peer, Task, Way, race, sizes_up_to
from benchmark.speed.decoding import BEAM, END, SMALL, TINY, Backbone, _prompts, _table
from benchmark.speed.measure import processor_seconds
from benchmark.speed.static_trie import StaticTrie

TOPIC = "decoding"
PEERS = (
    Peer(
        "transformers' constrained beam search",
        TOPIC,
        ("transformers.generation.beam_constraints",),
        "transformers",
        "it left transformers for a repository of code that is fetched when it is asked for",
    ),
)
SHAPES = ((SMALL, 8, 64), (SMALL, 8, 128), (TINY, 8, 64), (TINY, 32, 64))
CANDIDATES = 100
BEAM_GOAL, EXACT_GOAL = 5.0, 2.0
_SLOW = "prefix function in Python"


def lines(
    largest: int,
    shapes: tuple[tuple[Backbone, int, int], ...] = SHAPES,
    backbone: Backbone = TINY,
    candidates: int = CANDIDATES,
) -> Iterator[Line]:
    """Candidate lists in all shapes, then catalogues of growing size."""
    random = np.random.default_rng(0)
    for shape in shapes:
        yield from _lists(*shape, candidates, random)
    model = backbone.model()
    for items in sizes_up_to(largest):
        yield from _catalogue(backbone, model, items, random)


@torch.inference_mode()
def _lists(
    backbone: Backbone, events: int, length: int, candidates: int, random: np.random.Generator
) -> Iterator[Line]:
    model = backbone.model()
    ids, mask = _prompts(backbone, events, length, random, model.device)
    tokens = backbone.identifiers((events, candidates), random)

    def by_function() -> object:
        return _generate(model, ids, mask, prefix_allowed_tokens_fn=_prefix_function(tokens))

    def by_static_trie() -> object:
        trie = StaticTrie(Trie.of(tokens), backbone.vocabulary, BEAM, END)
        return _generate(model, ids, mask, logits_processor=[trie])

    def ours(beam_size: int | None) -> object:
        return candidate_scores(model, encode(model, {"input_ids": ids}, mask), tokens, beam_size)

    def forced() -> object:
        return teacher_forced(model, ids, mask, tokens)

    beam_ways: dict[str, Callable[[], object]] = {
        f"Hugging Face, {_SLOW}": by_function,
        "Hugging Face, static trie": by_static_trie,
        f"{BEAM} beams (ours)": partial(ours, BEAM),
    }
    exact_ways: dict[str, Callable[[], object]] = {"exact (ours)": partial(ours, None)}
    if backbone is not SMALL:  # seven times the work of all others together
        exact_ways["teacher forcing, every candidate"] = forced
    shape = f"{backbone.name}, {events} x {length} tokens, {candidates} candidates"
    work = {name: _operations(way) / events for name, way in (beam_ways | exact_ways).items()}
    task = Task(TOPIC, f"best {BEAM} of lists, {shape}", events, "events", goal=BEAM_GOAL)
    # All in one race: the exact scores are compared with Hugging Face's beams as well.
    raced = race(task, [_way(name, way) for name, way in (beam_ways | exact_ways).items()])
    known = _with_work(raced, work)
    beams = tuple(way for way in known.ways if way.name in beam_ways)
    exact = tuple(way for way in known.ways if not (way.is_ours and way.name in beam_ways))
    yield _limited(replace(known, ways=beams), work)
    other = replace(task, what=f"exact scores of lists, {shape}", goal=EXACT_GOAL)
    yield _limited(Line(other, exact), work)


def _way(name: str, work: Callable[[], object]) -> Way:
    # The operations were counted in a run, which has warmed it up.
    seconds = partial(processor_seconds, work)
    return Way(name, seconds, is_ours="(ours)" in name, warms_up=False)


def _with_work(line: Line, work: Mapping[str, float]) -> Line:
    ways = tuple(
        replace(
            way,
            note=f"{work[way.name] / 1e9:.2f} GFLOP an event, "
            f"{work[way.name] / 1e9 / way.least:.0f} GFLOP/s",
        )
        for way in line.ways
    )
    return replace(line, ways=ways)


def _limited(line: Line, work: Mapping[str, float]) -> Line:
    """With the arithmetic of a line that misses its goal."""
    ours, peer = line.ours, line.best_peer
    if line.reaches_goal is not False or ours is None or peer is None:
        return line
    less = work[peer.name] / work[ours.name]
    faster = line.ratio / less if line.ratio else 0.0
    limit = (
        f"{work[ours.name] / 1e9:.2f} GFLOP an event against {work[peer.name] / 1e9:.2f} is "
        f"{less:.2f} times less work, done at {faster:.2f} times the rate: {line.ratio:.2f}. The "
        "work of ours is the encoder, and for each distinct prefix one position of the decoder "
        "and the whole vocabulary, which scores over all tokens need."
    )
    return replace(line, task=replace(line.task, limit=limit))


def _operations(work: Callable[[], object]) -> float:
    """Floating-point operations of the products."""
    known: dict[Any, Any] = {}
    if has_wide_products():
        known[torch.ops.mkldnn._linear_pointwise] = _operations_of_linear
    with FlopCounterMode(display=False, custom_mapping=known) as counter:
        work()
    return float(counter.get_total_flops())


def _operations_of_linear(states: Any, weight: Any, *_: Any, **__: Any) -> int:
    return 2 * int(np.prod(states)) * int(weight[0])


def _prefix_function(tokens: NDArray[np.int64]) -> Callable[[int, torch.Tensor], list[int]]:
    tables = [_table(rows) for rows in tokens.tolist()]
    return lambda event, sent: tables[event % len(tables)].get(tuple(sent.tolist()[1:]), [END])


def _generate(model: Any, ids: torch.Tensor, mask: torch.Tensor, **constraint: Any) -> torch.Tensor:
    found: torch.Tensor = model.generate(
        ids,
        attention_mask=mask,
        num_beams=BEAM,
        num_return_sequences=BEAM,
        max_new_tokens=6,
        **constraint,
    )
    return found


def teacher_forced(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, tokens: NDArray[np.int64]
) -> torch.Tensor:
    """Log-probabilities (events, candidates) by one pass of the decoder for each candidate."""
    states = model.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    scores = []
    for event, own in enumerate(torch.from_numpy(tokens)):
        logits = model(
            encoder_outputs=(states[event : event + 1].expand(len(own), -1, -1),),
            attention_mask=mask[event : event + 1].expand(len(own), -1),
            labels=own,
        ).logits
        scores.append(logits.log_softmax(-1).gather(2, own[..., None])[..., 0].sum(1))
    return torch.stack(scores)


@torch.inference_mode()
def _catalogue(
    backbone: Backbone, model: Any, items: int, random: np.random.Generator, events: int = 8
) -> Iterator[Line]:
    tokens = backbone.identifiers((items,), random)
    ids, mask = _prompts(backbone, events, 64, random, model.device)
    kept: dict[str, Any] = {}

    def built(name: str, build: Callable[[], object]) -> Way:
        def work() -> None:
            kept[name] = build()

        seconds = partial(processor_seconds, work)
        return Way(name, seconds, is_ours="(ours)" in name, warms_up=False, rounds=2)

    function, static, ours = (
        f"Hugging Face, {_SLOW}",
        "Hugging Face, static trie",
        "trie and items (ours)",
    )
    axis = "items of the catalogue"
    yield race(
        Task(
            TOPIC,
            "tree of a catalogue",
            items,
            "items",
            items,
            axis,
            limit="ours also sorts the items by their node, so that every item can be given its "
            "score; the tree below both is the same code. It is built once a run.",
        ),
        [
            built(function, lambda: _prefix_function(tokens[None])),
            built(
                static,
                lambda: StaticTrie(Trie.of(tokens[None]), backbone.vocabulary, BEAM, END),
            ),
            built(ours, lambda: CatalogueTrie.of(tokens)),
        ],
    )
    searches: dict[str, Callable[[], object]] = {
        function: lambda: _generate(model, ids, mask, prefix_allowed_tokens_fn=kept[function]),
        static: lambda: _generate(model, ids, mask, logits_processor=[kept[static]]),
        f"{BEAM} beams (ours)": lambda: catalogue_scores(
            model, encode(model, {"input_ids": ids}, mask), kept[ours], BEAM
        ),
    }
    yield race(
        Task(
            TOPIC,
            f"best {BEAM} of a catalogue, {backbone.name}, {events} x 64 tokens",
            events,
            "events",
            items,
            axis,
            BEAM_GOAL if backbone is SMALL else 1.0,
        ),
        [
            Way(name, partial(processor_seconds, work), is_ours="(ours)" in name)
            for name, work in searches.items()
        ],
    )
