"""Pseudo-queries: what a user might type to find an item, written by a model that reads its text.

This is doc2query (Nogueira, Yang, Lin and Cho, arXiv 1904.08375; docTTTTTquery, Nogueira and Lin,
2019; https://github.com/castorini/docTTTTTquery, commit 581539a). A T5 reads an item text and
samples queries: top-k first, then the nucleus of the rest. The published checkpoint is taken where
it can be had; fine-tuning reads the searches of the training log, one pair of item text and query
an event, so frequent pairs weigh more. The result is an artifact that all systems of one view
share. What differs: every draw is a function of seed, item, query number and position, so a query
depends neither on the items that are read with it nor on how many queries are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from benchmark.data.dataset import IntArray, LongArray
from benchmark.errors import BenchmarkError
from benchmark.files import atomic_path, read_json, write_json
from benchmark.hashing import row_uniform
from benchmark.kit.language_models.prompt_instances import TokenPairs
from benchmark.kit.language_models.seq2seq import Backbone, BackboneSettings, Seq2Seq
from benchmark.kit.language_models.tokenizer import texts_of
from benchmark.kit.precision import autocast
from benchmark.kit.text.pieces import assembled, joined
from benchmark.kit.text.tokens import Tokens
from benchmark.kit.training import TrainingSettings, train
from benchmark.systems.contract import RunContext
from benchmark.systems.provenance import code_fingerprint, library_versions
from benchmark.systems.view import TrainingView

TASK = "search"

_ROWS_AT_ONCE = 2048  # queries that are sampled together
_TEXTS, _ARRAYS = "queries.json", "queries.npz"


class PseudoQueryBackbone(BackboneSettings):
    """By default the published checkpoint."""

    hub_name: str = "doc2query/msmarco-t5-base-v1"


class PseudoQueryTraining(TrainingSettings):
    """Fine-tuning on the search log, by the settings of the first doc2query with a T5."""

    epochs: int = Field(default=2, ge=0)
    batch_size: int = Field(default=256, ge=1)
    optimizer: Literal["adam", "adamw", "adagrad", "sgd"] = "adamw"
    learning_rate: float = Field(default=1e-4, gt=0)
    gradient_clip: float | None = Field(default=1.0, gt=0)
    validate_every: int = Field(default=0, ge=0)
    """No validation: the queries serve several systems and tasks."""


class PseudoQuerySettings(BaseModel):
    """Which model writes the queries, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    backbone: PseudoQueryBackbone = PseudoQueryBackbone()
    fine_tuned: bool = True
    """Whether a pretrained model learns from the search log first; one from scratch always does."""
    queries_per_item: int = Field(default=20, ge=1)
    """Queries that are written for an item; equal ones are kept once."""
    decoding: Literal["sampling", "beam"] = "sampling"
    """``beam``: as many beams as queries, none with a pair of tokens that occurs twice."""
    top_k: int = Field(default=10, ge=1)
    """A token is drawn from the so many likeliest ..."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """... and of these from the fewest that hold this probability."""
    temperature: float = Field(default=1.0, gt=0)
    """What logits are divided by before both."""
    most_item_tokens: int = Field(default=256, ge=1)
    """Tokens of an item text that are read."""
    most_query_tokens: int = Field(default=64, ge=1)
    """Tokens of a query that are written."""
    training: PseudoQueryTraining = PseudoQueryTraining()


@dataclass(frozen=True)
class PseudoQueries:
    """The distinct queries of each item.

    ``texts`` are distinct; item ``i`` has those at ``numbers[offsets[i]:offsets[i + 1]]``, in the
    order of writing. ``offsets`` is (number_of_items + 2,); item 0, the padding, has none.
    """

    texts: Sequence[str]
    numbers: IntArray
    offsets: LongArray

    @classmethod
    def of_lists(cls, lists: Sequence[Sequence[str]]) -> PseudoQueries:
        """From the queries of each item, entry 0 being the padding item; empty ones are dropped."""
        numbers: dict[str, int] = {}
        kept = [[text for text in dict.fromkeys(own) if text] for own in lists]
        flat = [numbers.setdefault(text, len(numbers)) for own in kept for text in own]
        offsets = np.concatenate([[0], np.cumsum([len(own) for own in kept])])
        return cls(list(numbers), np.array(flat, dtype=np.int32), offsets.astype(np.int64))

    @classmethod
    def none(cls, items: int) -> PseudoQueries:
        """No query for any of so many items."""
        return cls.of_lists([[]] * (items + 1))

    @cached_property
    def counts(self) -> LongArray:
        """(number_of_items + 1,) how many queries each item has."""
        return np.diff(self.offsets)

    def of_item(self, item: int) -> list[str]:
        """The queries of one item."""
        own = self.numbers[self.offsets[item] : self.offsets[item + 1]]
        return [self.texts[number] for number in own]

    def draw(self, items: NDArray[np.integer], random: np.random.Generator) -> IntArray:
        """One query of each item, uniformly, as places in ``texts``; every item must have some."""
        place = random.integers(self.counts[items])
        return self.numbers[self.offsets[items] + place]

    def save(self, folder: Path) -> None:
        """Write ``queries.json`` and ``queries.npz``."""
        write_json(folder / _TEXTS, list(self.texts))
        with atomic_path(folder / _ARRAYS) as path, path.open("wb") as opened:
            np.savez(opened, numbers=self.numbers, offsets=self.offsets)

    @classmethod
    def load(cls, folder: Path) -> PseudoQueries:
        """Read what :meth:`save` wrote.

        Raises:
            BenchmarkError: a file is missing or no such file.
        """
        try:
            with np.load(folder / _ARRAYS, allow_pickle=False) as stored:
                return cls(read_json(folder / _TEXTS), stored["numbers"], stored["offsets"])
        except (OSError, ValueError, KeyError) as error:
            raise BenchmarkError(f"{folder / _ARRAYS}: is not readable ({error}).") from None


def pseudo_queries(
    context: RunContext, view: TrainingView, settings: PseudoQuerySettings
) -> PseudoQueries:
    """The pseudo-queries of all items: an artifact of the view.

    Without any search in the training log there is nothing to fine-tune on: a pretrained model
    writes as it is, and one from scratch writes nothing.
    """

    def build(folder: Path) -> None:
        written = _write_queries(context, view, settings)
        PseudoQueries.of_lists([[], *written]).save(folder)

    determined_by = {
        "backbone": settings.backbone.identity(),
        "settings": settings.model_dump(mode="json", exclude={"backbone"}),
        "view": view.fingerprint,
        "seed": context.seed,
        "device": torch.device(context.device).type,
        "precision": context.precision,
        "libraries": library_versions(),
        "code": code_fingerprint(__name__),
    }
    return PseudoQueries.load(context.artifacts.get("pseudo-queries", determined_by, build))


def _write_queries(
    context: RunContext, view: TrainingView, settings: PseudoQuerySettings
) -> list[list[str]]:
    """The queries of the items 1 …, with repetitions."""
    is_pretrained = settings.backbone.find() is not None
    has_searches = len(view.examples(TASK)) > 0
    if not is_pretrained and not has_searches:
        return [[] for _ in range(view.corpus.number_of_items)]
    backbone = Backbone.make(settings.backbone, texts_of(view), (), context)
    if has_searches and (settings.fine_tuned or not is_pretrained):
        fine_tune(backbone, view, settings, context)
    return QueryWriter(backbone, settings, context).write(view.corpus.items.text[1:])


def fine_tune(
    backbone: Backbone, view: TrainingView, settings: PseudoQuerySettings, context: RunContext
) -> None:
    """Learn the query of every training search from the text of its item."""
    examples, tokenizer = view.examples(TASK), backbone.tokenizer
    items = tokenizer(view.corpus.items.text, settings.most_item_tokens - 1)
    queries = tokenizer(view.corpus.queries.text, settings.most_query_tokens - 1)
    pairs = TokenPairs(
        tokens=joined([items, queries]),
        inputs=examples.target[:, None].astype(np.int64),
        targets=(len(items) + examples.query)[:, None].astype(np.int64),
        end=tokenizer.end,
    )
    train(backbone.model, pairs, backbone.model, settings.training, context, name="pseudo-queries")


def nucleus(
    logits: torch.Tensor, top_k: int | None, top_p: float, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens that sampling draws from, and with which probability.

    Temperature comes first, then the ``top_k`` likeliest (all if absent); of these, renormalised,
    the fewest that hold ``top_p``, the one that crosses it included.

    Args:
        logits: (rows, tokens).

    Returns:
        Probabilities and token ids, both (rows, at most ``top_k``), the likeliest first; tokens
        outside the nucleus have probability 0.
    """
    kept = logits.shape[-1] if top_k is None else min(top_k, logits.shape[-1])
    values, tokens = torch.topk(logits.float() / temperature, kept, dim=-1)
    probabilities = torch.softmax(values, dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    probabilities = probabilities.masked_fill(before >= top_p, 0.0)
    return probabilities / probabilities.sum(dim=-1, keepdim=True), tokens


class QueryWriter:
    """Writes queries for item texts with a model that has learned to."""

    def __init__(
        self, backbone: Backbone, settings: PseudoQuerySettings, context: RunContext
    ) -> None:
        self.model: Seq2Seq = backbone.model.eval()
        self.tokenizer = backbone.tokenizer
        self.settings = settings
        self.context = context
        self.device = torch.device(context.device)

    def write(self, texts: Sequence[str]) -> list[list[str]]:
        """``queries_per_item`` queries for each text; the draws belong to the place of a text."""
        tokens = self.tokenizer(texts, self.settings.most_item_tokens - 1)
        at_once = max(1, _ROWS_AT_ONCE // self.settings.queries_per_item)
        order = np.argsort(tokens.lengths, kind="stable")
        written: list[list[str]] = [[] for _ in texts]
        for start in range(0, len(order), at_once):
            rows = order[start : start + at_once]
            ids = self._write_some(tokens, rows)  # (rows, queries, tokens)
            for row, queries in zip(rows, ids, strict=True):
                written[row] = self.tokenizer.decode(queries.tolist())
            done = min(start + at_once, len(order))
            self.context.progress(f"pseudo-queries: {done:,} of {len(order):,} items")
        return written

    def _write_some(self, tokens: Tokens, rows: LongArray) -> NDArray[np.int64]:
        ids, mask = assembled(tokens, rows[:, None], self.tokenizer.end)
        ids, mask = ids.to(self.device), mask.to(self.device)
        with torch.inference_mode(), autocast(self.context.precision, self.device):
            if self.settings.decoding == "beam":
                found = beam_queries(self.model, ids, mask, self.settings)
            else:
                found = sampled_queries(
                    self.model, ids, mask, rows, self.context.seed, self.settings
                )
        return found.reshape(len(rows), self.settings.queries_per_item, -1).cpu().numpy()


def beam_queries(
    model: Seq2Seq, ids: torch.Tensor, mask: torch.Tensor, settings: PseudoQuerySettings
) -> torch.Tensor:
    """The best beams as token ids, (texts * queries_per_item, tokens), with the start token."""
    found: torch.Tensor = model.t5.generate(
        input_ids=ids,
        attention_mask=mask,
        do_sample=False,
        num_beams=settings.queries_per_item,
        num_return_sequences=settings.queries_per_item,
        no_repeat_ngram_size=2,
        early_stopping=True,
        max_new_tokens=settings.most_query_tokens,
    )
    return found


def sampled_queries(
    model: Seq2Seq,
    ids: torch.Tensor,
    mask: torch.Tensor,
    texts: LongArray,
    seed: int,
    settings: PseudoQuerySettings,
) -> torch.Tensor:
    """Sampled queries as token ids, (texts * queries_per_item, tokens), padded after their end.

    Args:
        ids, mask: (texts, length).
        texts: (texts,) numbers that the draws of each text belong to.
    """
    from transformers.modeling_outputs import BaseModelOutput

    t5, many = model.t5, settings.queries_per_item
    encoded = t5.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    encoded = BaseModelOutput(last_hidden_state=encoded.repeat_interleave(many, dim=0))
    mask = mask.repeat_interleave(many, dim=0)
    padding, end = t5.config.pad_token_id, t5.config.eos_token_id
    text, number = np.repeat(texts, many), np.tile(np.arange(many), len(texts))
    last = torch.full((len(mask), 1), t5.config.decoder_start_token_id, device=mask.device)
    is_open = torch.ones(len(mask), dtype=torch.bool, device=mask.device)
    cache, written = None, []
    for position in range(settings.most_query_tokens):
        output = t5(
            encoder_outputs=encoded,
            attention_mask=mask,
            decoder_input_ids=last,
            past_key_values=cache,
            use_cache=True,
        )
        cache = output.past_key_values
        probabilities, tokens = nucleus(
            output.logits[:, -1], settings.top_k, settings.top_p, settings.temperature
        )
        draw = row_uniform(seed, "pseudo-queries", text, number, position)
        place = _place_of_draw(probabilities, torch.from_numpy(draw).to(mask.device))
        chosen = tokens.gather(1, place[:, None])[:, 0].masked_fill(~is_open, padding)
        written.append(chosen)
        is_open &= chosen != end
        last = chosen[:, None]
        if not is_open.any():
            break
    return torch.stack(written, dim=1)


def _place_of_draw(probabilities: torch.Tensor, draw: torch.Tensor) -> torch.Tensor:
    """Where the numbers ``draw`` (rows,) in [0, 1) fall among ``probabilities`` (rows, places)."""
    edges = probabilities.double().cumsum(dim=-1)
    place = (edges <= (draw * edges[:, -1])[:, None]).sum(dim=-1)
    last = (probabilities > 0).sum(dim=-1) - 1
    return torch.minimum(place, last)
