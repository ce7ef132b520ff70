"""GenRet: one T5 that gives items their identifiers and finds them by queries.

Sun, Yan, Chen, Wang, Zhu, Ren, Chen, Yin, de Rijke and Ren, "Learning to Tokenize for Generative
Retrieval", NeurIPS 2023; original https://github.com/sunnweiwei/GenRet, commit a1d80e1 (no
licence; nothing is taken from it). The decoder reads an item's text or a query and writes codes
from a codebook for each position. Positions are learned one after another. In a warm-up queries
find the state of their item's text among items with the same codes so far. Clusters of these
states, of bounded sizes, begin the new codebook. Main training adds to that: codes that are
balanced within the batch are to be written for both text and query, and a code's vector is to find
its text. The codes are then fixed for good; after the last position a code that counts equal
identifiers is added, and a final stage fits the network to whole identifiers.

What differs: T5-small. The released final stage stops with an error, since it compares one position
fewer than it has; here it is a cross-entropy over all positions. Identifiers have no end, so no
code can be taken for one: the original's search drops identifiers with a 1 before their last code.
States are clustered once a position, not after each epoch, without items that nobody shares a
prefix with. Positions stop when nearly all items are alone. Where a prefix has too few items, a
batch is filled with distinct others. The last stage goes through the items in plain shuffles, or
through all pairs of an item and a query, so that often searched items count more; its best epoch is
chosen on validation lists. Queries are the suite's pseudo-queries and the real ones. Where
presets ask for stand-ins, the tables name them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from baselines.generative_retrieval.base import QueryToIdentifier, RealPairs, RetrievalConfig
from baselines.generative_retrieval.item_queries import ItemBatches, ItemQueries, PairBatches
from benchmark.data.dataset import LongArray
from benchmark.kit.identifiers import Identifiers
from benchmark.kit.identifiers.balanced import ROUNDS, STARTS, balanced_centres
from benchmark.kit.identifiers.positions import (
    balance,
    balanced_codes,
    centred_by_prefix,
    size_bounds,
    with_last_code,
)
from benchmark.kit.identifiers.trees import is_alone
from benchmark.kit.language_models.seq2seq import Backbone
from benchmark.kit.language_models.tokenizer import texts_of
from benchmark.kit.modules import load_state, save_state
from benchmark.kit.text.pieces import NO_TOKEN, assembled
from benchmark.kit.text.tokens import Tokens
from benchmark.kit.training import Batch, Instances, TrainingSettings, train
from benchmark.kit.training.stages import FinishedStages
from benchmark.systems.contract import FloatArray
from benchmark.systems.space import LEARNING_RATE, Choice, SearchSpace, Whole
from benchmark.systems.view import Corpus, TrainingView

_ITEMS_AT_ONCE = 256  # texts that are encoded together for clustering and coding
_TABLES = "codebooks.safetensors"


class GenRetStage(TrainingSettings):
    """The original's optimiser, anew in each stage; its last weights are kept.

    An epoch has as many steps as there are whole batches of items.
    """

    epochs: int = Field(default=200, ge=0)
    batch_size: int = Field(default=128, ge=1)
    optimizer: Literal["adam", "adamw", "adagrad", "sgd"] = "adamw"
    learning_rate: float = Field(default=5e-4, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    gradient_clip: float | None = Field(default=1.0, gt=0)
    patience: int | None = Field(default=None, ge=1)
    validate_every: int = Field(default=0, ge=0)


class LossWeights(BaseModel):
    """What the terms of :class:`LossTerms` count."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    retrieval: float = Field(default=0.0, ge=0)
    commitment: float = Field(default=0.0, ge=0)
    earlier: float = Field(default=0.0, ge=0)
    reconstruction: float = Field(default=0.0, ge=0)


class GenRetConfig(RetrievalConfig):
    """The original's settings but for the backbone's size."""

    codes: int = Field(default=512, ge=2)
    """Codes of each position."""
    positions: int = Field(default=3, ge=1)
    """The most positions that are learned; one more counts equal identifiers."""
    enough_alone: float = Field(default=0.99, ge=0, le=1)
    """The share of items with an identifier of their own from which on no position is added."""
    cluster_starts: int = Field(default=STARTS, ge=1)
    """Runs of the clustering that begins a codebook, of which the best is kept ..."""
    cluster_rounds: int = Field(default=ROUNDS, ge=1)
    """... and the rounds of each, at most."""

    queries_per_item: int = Field(default=5, ge=0)
    """Of an item's written queries, the first so many are learned."""
    real_pairs: RealPairs = "distinct"
    """Which queries of the training log an item has beside them."""
    most_text_tokens: int = Field(default=128, ge=2)
    """Tokens of an item text, the end included."""
    most_query_tokens: int = Field(default=32, ge=2)
    """Tokens of a query, the end included."""

    first_warm_up: TrainingSettings = GenRetStage(epochs=1)
    """The warm-up of the first position."""
    warm_up: TrainingSettings = GenRetStage(epochs=10)
    """That of each later one."""
    main: TrainingSettings = GenRetStage()
    """The main training of each position."""
    final: TrainingSettings = GenRetStage(epochs=1000, validate_every=10)
    """The fit to whole identifiers ..."""
    final_instances: Literal["items", "pairs"] = "items"
    """... by each item with one of its queries, drawn anew each time, or by every pair of an item
    and a query, so that items count as often as they are searched."""
    warm_up_weights: LossWeights = LossWeights(retrieval=0.5, earlier=0.5)
    main_weights: LossWeights = LossWeights(
        retrieval=0.5, commitment=0.5, earlier=0.5, reconstruction=0.1
    )

    search_space: ClassVar[SearchSpace] = {
        "main.learning_rate": LEARNING_RATE,
        "final.learning_rate": LEARNING_RATE,
        "final.epochs": Whole(4, 48, log=True, is_budget=True),
        "final_instances": Choice(("items", "pairs")),
        "real_pairs": Choice(("distinct", "every_event")),
    }


# -------------------------------------------------------------------------------------- the network


class CodeTables(nn.Module):
    """For each position a codebook, which writes codes, and a table that the decoder reads.

    All are (codes, dim). The first row of the first input table starts the decoder; later tables
    hold the codes of the position before.
    """

    def __init__(self, dim: int, codes: int, positions: int) -> None:
        super().__init__()
        bound = dim**-0.5
        self.codebooks = nn.ParameterList(
            torch.empty(codes, dim).uniform_(-bound, bound) for _ in range(positions)
        )
        self.inputs = nn.ParameterList(torch.randn(codes, dim) for _ in range(positions))

    def keep(self, positions: int) -> None:
        """Drop the tables of later positions."""
        self.codebooks, self.inputs = self.codebooks[:positions], self.inputs[:positions]

    def train_position(self, position: int, with_codebook: bool) -> None:
        """Fix the codebooks of all other positions, and what no position so far reads."""
        for number, codebook in enumerate(self.codebooks):
            codebook.requires_grad_(with_codebook and number == position)
        for number, table in enumerate(self.inputs):
            table.requires_grad_(number <= position)

    def read(self, codes: torch.Tensor) -> torch.Tensor:
        """Decoder inputs (batch, positions + 1, dim) of codes (batch, positions)."""
        start = self.inputs[0][:1].expand(len(codes), -1)
        later = zip(self.inputs[1:], codes.T, strict=False)
        return torch.stack([start, *(F.embedding(code, table) for table, code in later)], dim=1)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """(batch, positions, codes) of decoder states (batch, positions, dim)."""
        pairs = zip(self.codebooks, states.unbind(dim=1), strict=False)
        return torch.stack([F.linear(state, codebook) for codebook, state in pairs], dim=1)


@dataclass(frozen=True)
class LossTerms:
    """The terms of a batch with one query for each item, every one a mean over the batch.

    ``retrieval``: a query's state finds that of its item's text. ``commitment``: the balanced code
    is written for query and text. ``earlier``: so are the codes of earlier positions; 0 if there
    are none. ``reconstruction``: the vector of the balanced code finds the text's state.
    """

    retrieval: torch.Tensor
    commitment: torch.Tensor
    earlier: torch.Tensor
    reconstruction: torch.Tensor

    def total(self, weights: LossWeights) -> torch.Tensor:
        """The weighted sum; terms of no weight are left out."""
        terms = [weight * getattr(self, name) for name, weight in weights if weight]
        return torch.stack(terms).sum()


class GenRetNetwork(nn.Module):
    """The T5 (its encoder and the blocks of its decoder) with the tables of all positions.

    A text is ``ids`` and ``mask`` (batch, tokens). ``states`` are those of the decoder after its
    last norm, which is not followed by T5's scaling.
    """

    def __init__(self, t5: Any, codes: int, positions: int) -> None:
        super().__init__()
        self.t5 = t5
        self.tables = CodeTables(t5.config.d_model, codes, positions)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """States (batch, positions + 1, dim) at the start and behind each of ``codes``."""
        encoded = self.t5.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        states: torch.Tensor = self.t5.decoder(
            inputs_embeds=self.tables.read(codes),
            encoder_hidden_states=encoded,
            encoder_attention_mask=mask,
            use_cache=False,
        ).last_hidden_state
        return states

    def terms(self, batch: Batch) -> LossTerms:
        """The loss of the position behind ``codes`` (batch, positions), which are fixed.

        Args:
            batch: ``codes``, and ``text_ids``, ``text_mask``, ``query_ids``, ``query_mask``.
        """
        codes = batch["codes"]
        of_text = self(batch["text_ids"], batch["text_mask"], codes)
        of_query = self(batch["query_ids"], batch["query_mask"], codes)
        text_logits, query_logits = self.tables.logits(of_text), self.tables.logits(of_query)
        text, query = of_text[:, -1], of_query[:, -1]
        code = balanced_codes(text_logits[:, -1].detach())
        codebook = self.tables.codebooks[codes.shape[1]]
        # The value is the code's vector; its gradient reaches the text's state as well.
        quantised = codebook[code] + text - text.detach()
        earlier = query.new_zeros(())
        if codes.shape[1]:
            earlier = code_loss(text_logits[:, :-1], codes) + code_loss(query_logits[:, :-1], codes)
        return LossTerms(
            retrieval=in_batch_loss(query, text),
            commitment=F.cross_entropy(query_logits[:, -1], code)
            + F.cross_entropy(text_logits[:, -1], code),
            earlier=earlier,
            reconstruction=in_batch_loss(quantised, text.detach()),
        )

    def whole_loss(self, batch: Batch) -> torch.Tensor:
        """Cross-entropy of all ``codes`` (batch, positions), by text and by query."""
        codes = batch["codes"]
        loss = torch.zeros((), device=codes.device)
        for kind in "text", "query":
            states = self(batch[f"{kind}_ids"], batch[f"{kind}_mask"], codes[:, :-1])
            loss = loss + code_loss(self.tables.logits(states), codes)
        return loss


def in_batch_loss(asking: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of finding the own row of ``asked`` by inner products; both (batch, dim)."""
    own = torch.arange(len(asking), device=asking.device)
    return F.cross_entropy(asking @ asked.T, own)


def code_loss(logits: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of ``codes`` (batch, positions) by logits (batch, positions, codes)."""
    return F.cross_entropy(logits.flatten(0, 1), codes.flatten())


class CodeWriter:
    """The network as the decoding engine reads a T5, with the weights that it has now.

    The codes of all positions are one vocabulary: code ``z`` of position ``t``, both from 0, is
    token ``t * codes + z``, as :func:`tokens_of_codes` has it. A softmax is over the codes of one
    position, ``first_of_level`` says.
    """

    def __init__(self, network: GenRetNetwork) -> None:
        t5, tables = network.t5, network.tables
        codes = len(tables.inputs[0])
        # Nothing follows the last position: the row of its first code is free for the start.
        rows = torch.cat([*tables.inputs[1:], tables.inputs[0][:1]]).detach()
        self.encoder = t5.encoder
        self.decoder = SimpleNamespace(
            block=t5.decoder.block,
            embed_tokens=nn.Embedding.from_pretrained(rows),
            final_layer_norm=t5.decoder.final_layer_norm,
        )
        self.lm_head = SimpleNamespace(weight=torch.cat([*tables.codebooks]).detach())
        self.first_of_level = codes * np.arange(len(tables.codebooks) + 1)
        self.config = SimpleNamespace(decoder_start_token_id=int(self.first_of_level[-2]))
        self.training = bool(t5.training)


def tokens_of_codes(codes: LongArray, size: int) -> LongArray:
    """(items + 1, positions) tokens of items' codes (items, positions); row 0 has none."""
    tokens = codes + size * np.arange(codes.shape[1])
    return np.concatenate([np.full((1, codes.shape[1]), NO_TOKEN), tokens]).astype(np.int64)


# -------------------------------------------------------------------------------------- the system


class GenRet(QueryToIdentifier):
    """Positions learned one by one, then whole identifiers. ``network`` shares the backbone."""

    Config = GenRetConfig
    config: GenRetConfig

    network: GenRetNetwork

    def fit(self, view: TrainingView) -> None:
        """Learn the identifiers of all items together with the way from queries to them."""
        config = self.config
        self._prepare(view)
        kept = FinishedStages(self.context, "positions", "a learned position", config.positions)
        none = np.zeros((view.corpus.number_of_items, 0), dtype=np.int64)
        learned = kept.resumed(self.network, none)
        while learned.shape[1] < config.positions and _share_alone(learned) < config.enough_alone:
            learned = self._with_position(learned)
            kept.keep(learned.shape[1], self.network, learned)
        codes = with_last_code(learned, config.codes)
        self.network.tables.keep(codes.shape[1])
        self.targets = tokens_of_codes(codes, config.codes)
        self.make_inputs(view.corpus)
        self.note_prefixes(view)
        tables = self.network.tables
        tables.train_position(codes.shape[1] - 1, with_codebook=True)
        instances, loss = self._final_instances(codes), self.network.whole_loss
        self._train(instances, loss, "final", config.final, lambda: self.validated(view))
        self.make_inputs(view.corpus)
        kept.forget()

    def _prepare(self, view: TrainingView) -> None:
        """Backbone, tables, texts and queries."""
        config, corpus = self.config, view.corpus
        self.training_searches(view)
        queries = self.written_queries(view)
        self.backbone = Backbone.make(config.backbone, texts_of(view), (), self.context)
        self.network = self._new_network(config.positions + 1)
        self._texts = self.backbone.tokenizer(corpus.items.text, config.most_text_tokens - 1)
        pairs = self.all_pairs(view, queries)
        self._item_queries = ItemQueries.of_pairs(*pairs, corpus.number_of_items)

    def _new_network(self, positions: int) -> GenRetNetwork:
        torch.manual_seed(int(self.context.random("tables").integers(2**62)))
        network = GenRetNetwork(self.backbone.model.t5, self.config.codes, positions)
        return network.to(self.context.device)

    # --------------------------------------------------------------------------- one position

    def _with_position(self, learned: LongArray) -> LongArray:
        """(items, positions + 1): the codes with those of a new position, learned here."""
        config, position = self.config, learned.shape[1]
        tables, name = self.network.tables, f"position-{position + 1}"
        batches = self._batches(learned, learned)
        tables.train_position(position, with_codebook=False)
        warm_up = config.warm_up if position else config.first_warm_up
        self._train(batches, self._loss(config.warm_up_weights), f"{name}-warm-up", warm_up)
        codebook = tables.codebooks[position]
        with torch.no_grad():
            codebook.copy_(torch.from_numpy(self._first_codebook(learned)))
        tables.train_position(position, with_codebook=True)
        self._train(batches, self._loss(config.main_weights), name, config.main)
        scores = self._states(learned) @ codebook.detach().cpu().numpy().T
        return np.column_stack([learned, scores.argmax(axis=1)]).astype(np.int64)

    def _batches(self, prefixes: LongArray, codes: LongArray) -> ItemBatches:
        end = self.backbone.tokenizer.end
        return ItemBatches(self._texts, self._item_queries, prefixes, codes, end)

    def _loss(self, weights: LossWeights) -> Callable[[Batch], torch.Tensor]:
        return lambda batch: self.network.terms(batch).total(weights)

    def _final_instances(self, codes: LongArray) -> Instances:
        if self.config.final_instances == "items":
            return self._batches(codes[:, :0], codes)
        end = self.backbone.tokenizer.end
        return PairBatches(self._texts, self._item_queries, codes, end)

    def _train(
        self,
        instances: Instances,
        loss: Callable[[Batch], torch.Tensor],
        name: str,
        settings: TrainingSettings,
        validate: Callable[[], Any] | None = None,
    ) -> None:
        """One stage, with an optimiser of its own."""
        train(self.network, instances, loss, settings, self.context, validate, name=name)
        self.network.eval()

    def _first_codebook(self, learned: LongArray) -> FloatArray:
        """(codes, dim) centres of the states of all items that share their prefix with others."""
        config = self.config
        states = centred_by_prefix(self._states(learned), learned)
        shared = states[~is_alone(learned)]
        smallest, largest = size_bounds(len(shared), config.codes)
        return balanced_centres(
            shared,
            config.codes,
            smallest,
            largest,
            self.context.random("clusters", learned.shape[1]),
            config.cluster_starts,
            config.cluster_rounds,
        )

    @torch.inference_mode()
    def _states(self, learned: LongArray) -> FloatArray:
        """(items, dim) the states of all texts behind their codes."""
        device, end = self.context.device, self.backbone.tokenizer.end
        order = np.argsort(self._texts.lengths[1:], kind="stable")
        dim = int(self.backbone.model.t5.config.d_model)
        states = np.empty((len(learned), dim), dtype=np.float32)
        for start in range(0, len(order), _ITEMS_AT_ONCE):
            rows = order[start : start + _ITEMS_AT_ONCE]
            ids, mask = assembled(self._texts, 1 + rows[:, None], end)
            codes = torch.from_numpy(learned[rows])
            found = self.network(ids.to(device), mask.to(device), codes.to(device))
            states[rows] = found[:, -1].float().cpu().numpy()
        return states

    # -------------------------------------------------------------------------------- ranking

    def query_tokens(self, queries: Sequence[str]) -> Tokens:
        """The queries as they are."""
        return self.backbone.tokenizer(queries, self.config.most_query_tokens - 1)

    def writer(self) -> CodeWriter:
        """The network with its tables as one vocabulary."""
        return CodeWriter(self.network)

    # ---------------------------------------------------------------------------------- files

    def save(self, folder: Path) -> None:
        """Write the backbone, the identifiers and the tables."""
        super().save(folder)
        save_state(self.network.tables.state_dict(), folder / _TABLES)

    def load(self, folder: Path, corpus: Corpus) -> None:
        """Read what :meth:`save` wrote."""
        super().load(folder, corpus)
        self.network = self._new_network(self.targets.shape[1])
        tables = load_state(folder / _TABLES, self.context.device)
        self.network.tables.load_state_dict(tables)

    # ----------------------------------------------------------------------------- what it is

    def identifier_quality(self) -> dict[str, dict[str, float]]:
        """Distinctness, sharing without the last code, use, balance and meaning of positions."""
        whole = self.identifiers()
        codes, size = whole.codes[1:], self.config.codes
        learned = Identifiers.of_items(codes[:, :-1], whole.sizes[:-1]).report()
        figures = {**whole.report().as_json(), "sharing_before": learned.sharing}
        for position in range(1, whole.levels):
            figures[f"balance_{position}"] = balance(codes[:, position - 1], size)
        return {"learned": {**figures, **self.card_figures}}

    def identifiers(self) -> Identifiers:
        """The codes of all positions."""
        size, positions = self.config.codes, self.targets.shape[1]
        codes = self.targets[1:] - size * np.arange(positions)
        return Identifiers.of_items(codes, (size,) * positions)

    def number_of_parameters(self) -> int:
        """Weights of the T5 and of all tables."""
        return sum(weight.numel() for weight in self.network.parameters())


def _share_alone(codes: LongArray) -> float:
    return 1.0 - float((~is_alone(codes)).mean())
