"""WebUltron (Ultron): a T5 that learns item identifiers in three stages and answers queries.

Zhou, Yao, Dou, Wu, Zhang and Wen, "Ultron: An Ultimate Retriever on Corpus with a Model-based
Indexer", arXiv 2208.09257, and "WebUltron", IEEE TKDE 2023; original
https://github.com/smallporridge/WebUltron, commit 6a88a9f (MIT). Identifiers are the codes of a
product quantiser over item vectors, or words: a title, or the path of a URL. The stages are:
passages, key terms and the identifier of the other kind to the identifier; generated queries to it;
real queries to it. With codes, the output layer is a new one, not the table of token vectors.

What differs: T5-small; items have a path of categories in place of a URL (with words as identifiers
the queries' own words may occur there, so codes are the default); the epoch of the last stage is
chosen on validation lists; a text of one title is a passage of its own. In the loss of words the
padding behind the end counts, as in the original, unless ``padding`` says otherwise. Where
presets ask for stand-ins, the tables name them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from baselines.generative_retrieval.base import (
    QueryToIdentifier,
    RealPairs,
    VectorRetrievalConfig,
    identifier_tokens,
    real_pairs,
    targets_of_codes,
    targets_of_texts,
    written_pairs,
)
from benchmark.data.dataset import Items, LongArray
from benchmark.kit.identifiers import Identifiers
from benchmark.kit.identifiers.product import ROUNDS, ProductQuantiser
from benchmark.kit.language_models.seq2seq import Backbone
from benchmark.kit.language_models.tokenizer import texts_of
from benchmark.kit.text.pieces import IGNORED, NO_TOKEN, joined, shuffled_by_length, tokens_of_rows
from benchmark.kit.text.tokens import Tokens
from benchmark.kit.training import Batch, Instances, TrainingSettings, train
from benchmark.systems.contract import FloatArray
from benchmark.systems.space import LEARNING_RATE, Choice, SearchSpace, Whole
from benchmark.systems.view import Corpus, TrainingView

Docid = Literal["pq", "text"]

TERMS_READ = 1024
"""Tokens of a text whose key terms are looked for."""

FEWEST_TOKENS, FEWEST_TERMS = 10, 2
"""Texts with fewer tokens, or distinct key terms, have no instance of key terms."""


class WebUltronStage(TrainingSettings):
    """The original's optimiser, of transformers' old defaults, anew in each stage."""

    epochs: int = Field(default=10, ge=0)
    batch_size: int = Field(default=100, ge=1)
    optimizer: Literal["adam", "adamw", "adagrad", "sgd"] = "adamw"
    epsilon: float = Field(default=1e-6, gt=0)
    schedule: Literal["constant", "linear", "cosine", "inverse-root", "plateau"] = "linear"
    gradient_clip: float | None = Field(default=5.0, gt=0)
    patience: int | None = Field(default=None, ge=1)


class WebUltronConfig(VectorRetrievalConfig):
    """The original's settings but for the backbone's size."""

    docid: Docid = "pq"
    """Codes of the product quantiser, or words."""
    blocks: int = Field(default=24, ge=1)
    """Parts that an item vector is cut into, each of which has a code; divides its width."""
    codes: int = Field(default=256, ge=1)
    """Codes of each block."""
    kmeans_rounds: int = Field(default=ROUNDS, ge=1)
    text_tokens: int = Field(default=100, ge=2)
    """Tokens of a word identifier, the end included."""
    padding: Literal["learned", "ignored"] = "learned"
    """Whether the loss of word identifiers counts the padding up to ``text_tokens``."""

    passages: int = Field(default=10, ge=0)
    """Passages of an item, at most, in the first stage."""
    key_terms: bool = True
    """Whether the first stage has key terms ..."""
    other_docid: bool = True
    """... and the identifier of the other kind."""
    most_text_tokens: int = Field(default=128, ge=3)
    """Tokens of an input of the first stage, the end included."""
    most_query_tokens: int = Field(default=64, ge=2)
    """Tokens of a query, the end included."""
    real_pairs: RealPairs = "distinct"
    """The pairs of the last stage."""

    general: TrainingSettings = WebUltronStage(validate_every=0)
    """The first stage."""
    search: TrainingSettings = WebUltronStage(epochs=20, validate_every=0)
    """The second one, on generated queries."""
    fine_tuning: TrainingSettings = WebUltronStage(validate_every=2)
    """The last one, on real queries."""
    length_window: int = Field(default=16, ge=1)
    """Training batches that are sorted by length together; 1 leaves them as they are drawn."""

    search_space: ClassVar[SearchSpace] = {
        "general.learning_rate": LEARNING_RATE,
        "search.learning_rate": LEARNING_RATE,
        "fine_tuning.learning_rate": LEARNING_RATE,
        "fine_tuning.epochs": Whole(4, 48, log=True, is_budget=True),
        "real_pairs": Choice(("distinct", "every_event")),
    }


# ------------------------------------------------------------------------------------- identifiers


def text_identifier(url: str, title: str) -> str:
    """The words of an item: its title if that has more than two words, or else its URL's path.

    The path is read from its deepest part up and without digits; the domain comes last.
    """
    for part in ("http://", "https://", ".html", ".php", ".aspx"):
        url = url.lower().replace(part, "")
    *path, domain = reversed(re.sub(r"[-_?=+]", " ", url).split("/"))
    title = title.lower().strip()
    words = re.sub(r"\d", "", " ".join(path)).split()
    return f"{title if len(title.split()) > 2 else ' '.join(words)} {domain}"


def category_path(items: Items, item: int) -> str:
    """What stands for the URL of an item: its first category path, from the root down."""
    paths = items.categories[item]
    return "/".join(paths[0]) if paths else ""


# --------------------------------------------------------------------------------------- instances


def passages_of(
    title: Sequence[int], sentences: Sequence[Sequence[int]], end: int, longest: int, most: int
) -> list[list[int]]:
    """At most ``most`` passages of an item as token ids.

    Each begins with the title and takes whole sentences until it is full; of the last one only what
    fits is kept, and its rest is lost.

    Args:
        longest: tokens of a passage, the end included.
    """
    passages: list[list[int]] = []
    passage = list(title)
    for number, sentence in enumerate(sentences, start=1):
        if len(passages) == most:
            break
        passage += sentence
        if len(passage) >= longest - 1 or number == len(sentences):
            passages.append([*passage[: longest - 1], end])
            passage = list(title)
    return passages


def inverse_document_frequencies(texts: Tokens, vocabulary: int) -> NDArray[np.float64]:
    """(vocabulary,) the logarithm of all texts over one more than those that have the token."""
    text = np.repeat(np.arange(len(texts)), texts.lengths)
    pairs = np.unique(np.stack([text, texts.ids.astype(np.int64)], axis=1), axis=0)
    return np.log(len(texts) / (np.bincount(pairs[:, 1], minlength=vocabulary) + 1))


def key_terms_of(
    texts: Tokens, weight_of_token: NDArray[np.float64], end: int, longest: int
) -> tuple[Tokens, LongArray]:
    """The key terms of texts, in their order and as often as they occur.

    A token weighs its frequency among the first tokens of its text times ``weight_of_token``. Kept
    are those that weigh at least as much as the occurrence of rank ``longest`` - 1, the first ones.

    Args:
        texts: titles with texts behind them.
        longest: tokens that are kept, the end included.

    Returns:
        The key terms, and the number of the text that each belongs to; some texts have none.
    """
    text = np.repeat(np.arange(len(texts)), texts.lengths)
    is_read = _places(texts.lengths) < TERMS_READ
    text, token = text[is_read], texts.ids[is_read].astype(np.int64)
    lengths = np.bincount(text, minlength=len(texts))
    _, group, times = np.unique(
        text * len(weight_of_token) + token, return_inverse=True, return_counts=True
    )
    weight = times[group.reshape(-1)] / lengths[text] * weight_of_token[token]

    heaviest = np.lexsort((-weight, text))
    first = np.cumsum(lengths) - lengths
    rank = np.minimum(longest - 1, lengths)
    has_tokens = lengths > 0
    threshold = np.zeros(len(texts))
    threshold[has_tokens] = weight[heaviest][(first + rank - 1)[has_tokens]]
    kept = weight >= threshold[text]
    text, token = text[kept], token[kept]
    inside = _places(np.bincount(text, minlength=len(texts))) < longest - 1
    text, token = text[inside], token[inside]

    distinct = np.unique(text * len(weight_of_token) + token) // len(weight_of_token)
    is_used = np.bincount(distinct, minlength=len(texts)) >= FEWEST_TERMS
    is_used &= lengths >= FEWEST_TOKENS
    used = np.flatnonzero(is_used)
    is_kept = is_used[text]
    kept_lengths = np.bincount(text[is_kept], minlength=len(texts))[used]
    return _closed(token[is_kept], kept_lengths, end, texts.padding), used


def _places(lengths: LongArray) -> LongArray:
    """0, 1, 2, … within each text."""
    first = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum())) - np.repeat(first, lengths)


def _closed(ids: NDArray[np.integer], lengths: LongArray, end: int, padding: int) -> Tokens:
    """Token lists with an end behind each."""
    stops = np.cumsum(lengths)
    offsets = np.concatenate([[0], stops + np.arange(1, len(lengths) + 1)])
    return Tokens(np.insert(ids, stops, end).astype(np.int32), offsets, padding)


def closed(tokens: Tokens, end: int) -> Tokens:
    """The same token lists with an end behind each."""
    return _closed(tokens.ids, tokens.lengths, end, tokens.padding)


@dataclass(frozen=True)
class IdentifierInstances(Instances):
    """Inputs, complete with their ends, and the item that each is to be answered by.

    ``row`` and ``item`` are (instances,), ``row`` a place in ``tokens``; ``labels`` is
    (number_of_items + 1, tokens).
    """

    tokens: Tokens
    row: LongArray
    item: LongArray
    labels: LongArray
    window: int

    def __len__(self) -> int:
        return len(self.row)

    def batches(self, batch_size: int, random: np.random.Generator) -> list[LongArray]:
        """A fresh shuffle, sorted by length within windows."""
        lengths = self.tokens.lengths[self.row]
        return shuffled_by_length(lengths, batch_size, random, self.window)

    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
        """Input ids, mask and labels."""
        ids, mask = self.tokens.padded(self.row[rows])
        labels = torch.from_numpy(self.labels[self.item[rows]])
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}


# -------------------------------------------------------------------------------------- the system


def give_own_output_layer(backbone: Backbone) -> None:
    """Put a fresh output layer in place of the table of token vectors.

    The hidden states before it are scaled as they were.
    """
    t5 = backbone.model.t5
    old = t5.lm_head.weight
    t5.lm_head = nn.Linear(old.shape[1], old.shape[0], bias=False, device=old.device)


class WebUltron(QueryToIdentifier):
    """Three stages of pairs to identifiers."""

    Config = WebUltronConfig
    config: WebUltronConfig

    def fit(self, view: TrainingView) -> None:
        """Give every item both identifiers, then learn the one that is configured."""
        config, corpus = self.config, view.corpus
        examples = self.training_searches(view)
        queries = self.written_queries(view)
        texts = [self._text_identifier(corpus.items, item) for item in _items(corpus)]
        codes = self._product_codes(corpus)
        names = identifier_tokens(codes) if codes else []
        self.backbone = Backbone.make(
            config.backbone, [*texts_of(view), *texts], names, self.context
        )
        tokenizer = self.backbone.tokenizer
        words = targets_of_texts(tokenizer(texts, config.text_tokens - 1), tokenizer.end)
        kinds = {"text": words}
        if codes:
            kinds["pq"] = targets_of_codes(codes, tokenizer)
        self.targets = kinds[config.docid]
        if config.docid == "pq":
            give_own_output_layer(self.backbone)
        self.make_inputs(corpus)
        self.note_prefixes(view)

        other = kinds.get("text" if config.docid == "pq" else "pq")
        self._learn(self._general(corpus, other if config.other_docid else None), "general", view)
        written, about = written_pairs(queries, config.queries_per_item)
        self._learn(self._pairs(queries.texts, written, about), "search", view)
        asked, clicked = real_pairs(examples.query, examples.target, config.real_pairs)
        pairs = self._pairs(corpus.queries.text, asked, clicked)
        self._learn(pairs, "fine_tuning", view)
        self.make_inputs(corpus)

    def _learn(self, instances: IdentifierInstances, stage: str, view: TrainingView) -> None:
        """One stage, with an optimiser and a schedule of its own."""
        settings: TrainingSettings = getattr(self.config, stage)
        if not len(instances):
            return
        model = self.backbone.model
        train(
            model,
            instances,
            model,
            settings,
            self.context,
            lambda: self.validated(view),
            name=stage.replace("_", "-"),
        )

    # ------------------------------------------------------------------------- identifiers

    def _text_identifier(self, items: Items, item: int) -> str:
        return text_identifier(category_path(items, item), items.title[item])

    def _product_codes(self, corpus: Corpus) -> Identifiers | None:
        """The codes of all items; None if they are neither written nor read."""
        config = self.config
        if config.docid == "text" and not config.other_docid:
            return None
        vectors: FloatArray = self.item_vectors(corpus)
        quantiser = ProductQuantiser.fit(
            vectors, config.blocks, config.codes, self.context.random("pq"), config.kmeans_rounds
        )
        return quantiser.identifiers(vectors)

    def labels(self) -> LongArray:
        """(number_of_items + 1, tokens) what the loss compares with."""
        is_token = self.targets != NO_TOKEN
        if self.config.docid == "pq" or self.config.padding == "ignored":
            return np.where(is_token, self.targets, IGNORED)
        padding = self.backbone.tokenizer.padding
        labels = np.full((len(self.targets), self.config.text_tokens), padding, dtype=np.int64)
        labels[:, : self.targets.shape[1]] = np.where(is_token, self.targets, padding)
        return labels

    # --------------------------------------------------------------------------- instances

    def _instances(self, tokens: Tokens, row: LongArray, item: LongArray) -> IdentifierInstances:
        return IdentifierInstances(tokens, row, item, self.labels(), self.config.length_window)

    def _pairs(self, texts: Sequence[str], row: LongArray, item: LongArray) -> IdentifierInstances:
        """Queries to items."""
        return self._instances(closed(self.query_tokens(texts), self._end), row, item)

    def _general(self, corpus: Corpus, other: LongArray | None) -> IdentifierInstances:
        """Passages, key terms and the other identifier, each to the item that it is of."""
        config, tokenizer, items = self.config, self.backbone.tokenizer, corpus.items
        bodies = [_body(items, item).lower() for item in _items(corpus)]
        titles = tokenizer([items.title[item].lower() for item in _items(corpus)])
        sentences = [re.split(r"(?<=[.!?])\s+", body) for body in bodies]
        cut = tokenizer([one for own in sentences for one in own])
        passages, about = _all_passages(
            titles, cut, [len(own) for own in sentences], config, self._end
        )
        parts, answered = [passages], [about]
        if config.key_terms:
            whole = [
                f"{items.title[item].lower()} {body}"
                for item, body in zip(_items(corpus), bodies, strict=True)
            ]
            tokens = tokenizer(whole)
            weights = inverse_document_frequencies(tokens, tokenizer.size)
            terms, used = key_terms_of(tokens, weights, self._end, config.most_text_tokens)
            parts.append(terms)
            answered.append(used + 1)
        if other is not None:
            parts.append(tokens_of_rows(other[1:], tokenizer.padding))
            answered.append(np.arange(1, len(other)))
        item = np.concatenate(answered).astype(np.int64)
        return self._instances(joined(parts), np.arange(len(item)), item)

    @property
    def _end(self) -> int:
        return self.backbone.tokenizer.end

    def query_tokens(self, queries: Sequence[str]) -> Tokens:
        """The queries in lower case."""
        most = self.config.most_query_tokens - 1
        return self.backbone.tokenizer([text.lower() for text in queries], most)

    def load(self, folder: Path, corpus: Corpus) -> None:
        """Read what ``save`` wrote; an output layer of its own does not change the scaling."""
        super().load(folder, corpus)
        self.backbone.model.t5.config.scale_decoder_outputs = True


def _items(corpus: Corpus) -> range:
    return range(1, corpus.number_of_items + 1)


def _body(items: Items, item: int) -> str:
    """The text of an item without its title, if it begins with that."""
    return items.text[item].removeprefix(items.title[item]).strip()


def _all_passages(
    titles: Tokens, sentences: Tokens, counts: Sequence[int], config: WebUltronConfig, end: int
) -> tuple[Tokens, LongArray]:
    """The passages of all items, and the item of each.

    Args:
        titles: of the items 1, 2, ….
        sentences: of all items in a row, ``counts`` of each.
    """
    title_ids = np.split(titles.ids, titles.offsets[1:-1])
    sentence_ids = np.split(sentences.ids, sentences.offsets[1:-1])
    rows: list[list[int]] = []
    about: list[int] = []
    start = 0
    for item, (title, count) in enumerate(zip(title_ids, counts, strict=True), start=1):
        own = [sentence.tolist() for sentence in sentence_ids[start : start + count]]
        found = passages_of(title.tolist(), own, end, config.most_text_tokens, config.passages)
        rows += found
        about += [item] * len(found)
        start += count
    return Tokens.of_lists(rows, titles.padding), np.array(about, dtype=np.int64)
