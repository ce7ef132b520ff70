"""LC-Rec: a language model that learns item codes by translating between them and words.

Zheng et al., "Adapting Large Language Models by Integrating Collaborative Semantics for
Recommendation", ICDE 2024 (arXiv 2311.09049); original https://github.com/RUCAIBox/LC-Rec, commit
e6f1b3b, without a licence, so this is written from a description of what it computes, and its
numbers pin the quantiser, the collisions and the ranking. An RQ-VAE turns each item's text
embedding into four codes; the last level is assigned by optimal transport, so that few items share
all four. The model is then tuned on a mixture of tasks: the next item of a history of codes, the
item of a text, the text of an item, and the two fused.

What differs: of the paper's six kinds of tasks, intention search and preference summaries are left
out, since their texts were written by an external language model from reviews. The backbone is
T5-small, as in the benchmark's comparison, instead of LLaMA-7B, and with it come that comparison's
optimiser, beam and histories of 5 (20 in the original). Wordings are our own, as many as the
original's; the fused examples are drawn anew every epoch. Items are embedded by BGE from their
whole text, and what follows the title in it is their description. BatchNorm, which the released
script turns on by a flag that says False, is off. Colliding items get free codes at the least total
distance, since the released loop picks codes by rounding noise; only candidates can be generated
(the original allows any code at its level). On small machines a T5 from scratch and a packaged
sentence encoder stand in, and the tables say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from baselines.encoders import BGE
from baselines.generative_recommendation.base import TASK, PromptedCodes, recommendations
from baselines.generative_recommendation.wordings import LC_REC, PromptStyle
from benchmark.data.dataset import IntArray, Items, LongArray
from benchmark.kit.decoding.identifier_system import CatalogueRanking
from benchmark.kit.decoding.levels import EncodedPrompts
from benchmark.kit.decoding.scoring_batches import ScoringBatchSize
from benchmark.kit.identifiers.learned import LearnedIdentifiers
from benchmark.kit.identifiers.names import code_tokens, identifier_texts
from benchmark.kit.identifiers.rqvae import RQVAEConfig, learn_identifiers
from benchmark.kit.language_models.prompt_instances import Pieces, PromptInstances, measured
from benchmark.kit.language_models.seq2seq import BackboneSettings
from benchmark.kit.language_models.tokenizer import TextTokenizer
from benchmark.kit.pretrained.finding import PUBLISHED
from benchmark.kit.text.encoders import encoder_part, text_vectors
from benchmark.kit.text.pieces import assembled_lengths, assembled_rows, batches_by_length, joined
from benchmark.kit.text.tokens import Tokens
from benchmark.kit.text.wordings import Wordings, column, listed, without_slots
from benchmark.kit.training import TrainingSettings, train
from benchmark.protocol.requests import Requests
from benchmark.systems.contract import PretrainedPart, SystemConfig
from benchmark.systems.space import LEARNING_RATE, Real, SearchSpace, Whole
from benchmark.systems.view import Corpus, TrainingView


class TaskMix(BaseModel):
    """What an epoch holds of each training task, as a share of its examples; 0 leaves it out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    next_item: float = Field(default=1.0, ge=0, le=1)
    """History → item, over all prefixes of all histories."""
    item_of_text: float = Field(default=1.0, ge=0, le=1)
    """Title, description or both → item, over the items."""
    text_of_item: float = Field(default=1.0, ge=0, le=1)
    """Item → title, description or both, over the items."""
    fused: float = Field(default=0.25, ge=0, le=1)
    """History → title or description of the next item, and titles of a history → item, over all
    prefixes; the original has a fixed number a data set, about this share."""
    most_fused: int = Field(default=100_000, ge=0)
    """The most fused examples of an epoch."""


class CodesAndWordsConfig(SystemConfig):
    """What does not depend on the language model: the original's identifiers, tasks and prompts."""

    text_encoder: str = PUBLISHED
    """Which sentence encoder: "published" for BGE and nothing else, "packaged" (MiniLM), "auto" for
    the former where it can be had and else the latter, a folder, or a hub name."""
    identifiers: RQVAEConfig = RQVAEConfig(
        sizes=(256, 256, 256, 256),
        epsilons=(0.0, 0.0, 0.0, 0.003),
        hidden_sizes=(2048, 1024, 512, 256, 128, 64),
        latent_size=32,
        collisions="assignment",
        warmup_epochs=50,
        training=TrainingSettings(
            epochs=10_000,
            batch_size=1024,
            optimizer="adamw",
            learning_rate=1e-3,
            weight_decay=1e-4,
            schedule="linear",
            gradient_clip=1.0,
            patience=None,
            validate_every=50,
        ),
    )
    """How text embeddings become codes; ``collisions: released`` is the original's loop."""
    tasks: TaskMix = TaskMix()
    """The training mixture."""
    prompts: PromptStyle = "instruction"
    """Sentences in many wordings, or a few tokens for small machines."""
    history_length: int = Field(default=5, ge=1)
    """The last items of a prompt."""
    most_text_tokens: int = Field(default=256, ge=1)
    """Tokens of a title, and of a description, that are read or written."""
    length_window: int = Field(default=1, ge=1)
    """Training batches that are sorted by length together, which saves padding where batches are
    small, but makes the weight of tasks differ among them; 1 leaves them as they are drawn."""
    loss_group_size: int | None = Field(default=64, ge=1)
    """Instances, chosen at random from a batch, whose tokens are averaged; the loss is the mean of
    these averages, as where a device computes so many at once. One average over the batch if
    absent."""
    warmup_share: float = Field(default=0.01, ge=0, lt=1)
    """The part of all steps in which the learning rate rises, unless ``training.warmup_steps``."""
    scoring: Literal["beam", "exact"] = "beam"
    """``beam``: constrained beam search; what it drops ranks last. ``exact``: every candidate's
    likelihood."""
    beam_size: int = Field(default=30, ge=1)
    """Prefixes that a beam search keeps; 20 in the original."""
    catalogue: CatalogueRanking = CatalogueRanking()
    """How the whole catalogue is ranked."""
    scoring_batch_size: ScoringBatchSize = 32
    """Requests that are scored at once; "auto" for as many as fit into memory."""
    search_space: ClassVar[SearchSpace] = {
        "training.learning_rate": LEARNING_RATE,
        "training.epochs": Whole(2, 24, log=True, is_budget=True),
        "warmup_share": Real(0.0, 0.2),
        "tasks.fused": Real(0.0, 0.5),
    }


class LCRecConfig(CodesAndWordsConfig):
    """The benchmark's settings for the language model."""

    backbone: BackboneSettings = BackboneSettings()
    """T5-small."""
    training: TrainingSettings = TrainingSettings(
        epochs=200,
        batch_size=8192,
        micro_batch_size=64,
        optimizer="adamw",
        learning_rate=1e-3,
        weight_decay=1e-7,
        schedule="cosine",
        gradient_clip=1.0,
        patience=None,
    )
    """A batch counts examples of all tasks. The original tunes LLaMA for 4 epochs at 5e-5 in
    batches of 128; these are the settings that T5-small has in the benchmark's comparison."""

    def pretrained_parts(self) -> tuple[PretrainedPart, ...]:
        """The T5 and the sentence encoder."""
        return (self.backbone.part(), encoder_part(self.text_encoder, BGE[0]))


# ---------------------------------------------------------------------------------------- prompts

NEXT, IDENTIFY, DESCRIBE, FUSE = range(4)
"""The tasks by number."""

SLOTS = ("history", "titles", "item", "title", "details")


def words_of(style: PromptStyle) -> list[str]:
    """What stands around the slots and around titles, for a tokenizer that learns from texts."""
    texts = chain(*chain(*LC_REC[style]))
    return ['" ,', *(without_slots(text) for text in texts)]


def titles_and_details(items: Items) -> tuple[list[str], list[str]]:
    """Titles without closing punctuation, and what follows the title in the item text.

    An item whose text does not begin with its title has no title here: the recipe leaves it out.
    """
    titles, details = [], []
    for title, text in zip(items.title, items.text, strict=True):
        has_title = bool(title) and text.startswith(title)
        titles.append(title.rstrip(" .!?,;:`") if has_title else "")
        details.append(text.removeprefix(title).strip() if has_title else text)
    return titles, details


class Prompts:
    """All wordings and what fills them, tokenised once; prompts and answers are rows of pieces.

    Args:
        identifiers, titles, details: (items + 1,) texts, those of item 0 empty.
        most_text_tokens: cut for titles and details.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        identifiers: Sequence[str],
        titles: Sequence[str],
        details: Sequence[str],
        style: PromptStyle,
        most_text_tokens: int,
    ) -> None:
        self.end = tokenizer.end
        wordings = LC_REC[style]
        self.task_of = np.repeat(np.arange(len(wordings)), [len(of_task) for of_task in wordings])
        self.has_title = np.array([bool(title) for title in titles])
        self.has_details = np.array([bool(text) for text in details])
        parts: list[Tokens] = []

        def add(texts: Sequence[str], most_tokens: int | None = None) -> int:
            first = sum(len(part) for part in parts)
            parts.append(tokenizer(texts, most_tokens))
            return first

        self._comma = add([","] if style == "instruction" else [""])
        # Each of these is the number of the first piece of a table over the items.
        self._identifier = len(parts[0])
        parts.append(tokenizer.marked(identifiers))
        self._title = add(titles, most_text_tokens)
        self._quoted_title = add([f'"{title}"' for title in titles], most_text_tokens)
        self._details = add(details, most_text_tokens)
        read, written = zip(*chain(*wordings), strict=True)
        self.read = Wordings(read, self._details + len(details), SLOTS)
        add(self.read.literals)
        self.written = Wordings(written, sum(len(part) for part in parts), SLOTS)
        add(self.written.literals)
        self.tokens = joined(parts)
        self._uses = self.read.uses + self.written.uses  # (wordings, slots)

    def possible(self, task: LongArray, histories: IntArray, items: IntArray) -> NDArray[np.bool_]:
        """(rows, wordings) which wordings a row may have: those of its task whose texts it has.

        Args:
            task: (rows,) numbers of tasks.
            histories: (rows, length), 0 where padded.
            items: (rows,) the targets.
        """
        possible: NDArray[np.bool_] = task[:, None] == self.task_of
        is_filled = np.stack(
            [
                np.count_nonzero(histories, axis=1) > 0,
                np.count_nonzero(self.has_title[histories], axis=1) > 0,
                items > 0,
                self.has_title[items],
                self.has_details[items],
            ],
            axis=1,
        )  # (rows, slots), in the order of SLOTS
        possible &= ~(~is_filled @ (self._uses.T > 0))
        return possible

    def longest(self, task: LongArray, histories: IntArray, items: IntArray) -> LongArray:
        """(rows,) tokens of prompt and answer in the longest wording that a row may have."""
        filling = self._filling(histories, items)
        lengths = np.stack(
            [assembled_lengths(self.tokens, filling[slot]) for slot in SLOTS], axis=1
        )
        literals = [part.literal_lengths(self.tokens) for part in (self.read, self.written)]
        total = lengths @ self._uses.T + sum(literals)
        longest: LongArray = np.where(self.possible(task, histories, items), total, 0).max(axis=1)
        return longest

    def prompts(self, wording: LongArray, histories: IntArray, items: IntArray) -> LongArray:
        """What is read, (rows, pieces); ``wording`` (rows,) counts through all tasks."""
        return self.read.filled(wording, self._filling(histories, items))

    def _filling(self, histories: IntArray, items: IntArray) -> dict[str, LongArray]:
        """What fills each slot of what is read, (rows, any number of pieces)."""
        return {
            "history": self._listed(self._identifier, histories, histories > 0),
            "titles": self._listed(self._quoted_title, histories, self.has_title[histories]),
            "item": column(self._identifier, items),
            "title": column(self._quoted_title, items),
            "details": column(self._details, items),
        }

    def questions(self, histories: IntArray) -> LongArray:
        """What is read for scoring, (rows, pieces): the first wording."""
        values = {"history": self._listed(self._identifier, histories, histories > 0)}
        return self.read.filled(np.zeros(len(histories), dtype=np.int64), values)

    def answers(self, wording: LongArray, items: IntArray) -> LongArray:
        """What is written, (rows, pieces)."""
        values = {
            "item": column(self._identifier, items),
            "title": column(self._title, items),
            "details": column(self._details, items),
        }
        return self.written.filled(wording, values)

    def _listed(self, first: int, items: IntArray, shown: NDArray[np.bool_]) -> LongArray:
        """(rows, 2 * length): of the items that are shown, each but the first after a comma."""
        return listed(first, items, shown, self._comma)

    def targets(self) -> LongArray:
        """(items + 1, tokens) the identifier of each item and the end, -1 after it."""
        items = np.arange(len(self.has_title))
        return assembled_rows(self.tokens, column(self._identifier, items), self.end)


# -------------------------------------------------------------------------------------- instances


class Mixture(PromptInstances):
    """The examples of all tasks, one task after the other; an epoch has of each what the mix says.

    Wordings are drawn at every access.
    """

    most_input_tokens = most_target_tokens = None

    def __init__(self, view: TrainingView, prompts: Prompts, config: CodesAndWordsConfig) -> None:
        self.prompts, self.window = prompts, config.length_window
        self.tokens, self.end = prompts.tokens, prompts.end
        self.loss_group_size = config.loss_group_size
        events = view.examples(TASK)
        items = np.arange(1, view.corpus.number_of_items + 1, dtype=np.int32)
        # Examples are the events and then the items, which have no history.
        histories = events.history(config.history_length, TASK).items
        self.histories: IntArray = np.pad(histories, ((0, len(items)), (0, 0)))
        self.items: IntArray = np.concatenate([events.target, items])
        of_events, of_items = np.split(np.arange(len(self.items)), [len(events)])
        mix = config.tasks
        parts = []
        self.drawn: list[int] = []
        for task, examples, share, most in (
            (NEXT, of_events, mix.next_item, len(events)),
            (IDENTIFY, of_items, mix.item_of_text, len(items)),
            (DESCRIBE, of_items, mix.text_of_item, len(items)),
            (FUSE, of_events, mix.fused, mix.most_fused),
        ):
            is_possible = self._possible(np.full(len(examples), task), examples).any(axis=1)
            parts.append(examples[is_possible])
            self.drawn.append(min(most, round(share * len(parts[-1]))))
        sizes = [len(part) for part in parts]
        self.example: LongArray = np.concatenate(parts)
        self.task: LongArray = np.repeat(np.arange(len(parts)), sizes)
        self.starts = np.cumsum([0, *sizes])
        self.lengths = self._measure()

    def __len__(self) -> int:
        return sum(self.drawn)

    def batches(self, batch_size: int, random: np.random.Generator) -> list[LongArray]:
        """The rows of a fresh epoch, shuffled, in batches of similar length."""
        drawn = [
            first + random.permutation(last - first)[:number]
            for first, last, number in zip(self.starts, self.starts[1:], self.drawn, strict=False)
        ]
        rows = random.permutation(np.concatenate(drawn)).astype(np.int64)
        return batches_by_length(rows, self.lengths[rows], batch_size, random, self.window)

    def _possible(self, task: LongArray, example: LongArray) -> NDArray[np.bool_]:
        return self.prompts.possible(task, self.histories[example], self.items[example])

    def pieces(self, rows: LongArray, random: np.random.Generator) -> Pieces:
        """Wordings are drawn."""
        example = self.example[rows]
        possible = self._possible(self.task[rows], example)
        wording = np.where(possible, random.random(possible.shape), -1).argmax(axis=1)
        items = self.items[example]
        prompts = self.prompts.prompts(wording, self.histories[example], items)
        return prompts, self.prompts.answers(wording, items)

    def _measure(self) -> LongArray:
        """(rows,) see :meth:`Prompts.longest`; the drawn wordings are not known beforehand."""

        def lengths_of(rows: LongArray) -> LongArray:
            example = self.example[rows]
            histories, items = self.histories[example], self.items[example]
            return self.prompts.longest(self.task[rows], histories, items)

        return measured(len(self.task), lengths_of)


# -------------------------------------------------------------------------------------- the system


class LCRec(PromptedCodes):
    """Codes of item texts, a language model, and prompts that align the two."""

    Config: ClassVar[type[SystemConfig]] = LCRecConfig
    config: Any
    tasks = (TASK,)

    prompts: Prompts

    made_prompts: ClassVar[type[Prompts]] = Prompts
    """What puts prompts together."""

    def fit(self, view: TrainingView) -> None:
        """Learn the identifiers of all items, then the mixture of tasks."""
        recommendations(view)
        config, corpus = self.config, view.corpus
        self._make_identifiers(view)
        added = code_tokens(identifier_texts(self.identifiers))
        # No query is among the texts: a recommender does not see the search log.
        texts = [*corpus.items.text[1:], *words_of(config.prompts)]
        self.backbone = self.backbones.make(config.backbone, texts, added, self.context)
        self.make_prompts(corpus)
        instances = self.mixture(view)
        settings = config.training.with_warmup(config.warmup_share, instances)
        model = self.backbone.model
        train(
            model,
            instances,
            model,
            settings,
            self.context,
            lambda: view.validate(self, (TASK,)),
        )

    def _make_identifiers(self, view: TrainingView) -> None:
        config, context, corpus = self.config, self.context, view.corpus
        encoder = self.bge(config.text_encoder, "item identifiers are learned")

        def learn() -> LearnedIdentifiers:
            texts = corpus.items.text[1:]
            vectors = text_vectors(context, encoder, texts, "", config.most_text_tokens)
            return learn_identifiers(np.array(vectors), config.identifiers, context)

        determined_by = {
            "texts": corpus.fingerprint,
            "encoder": encoder.sha256,
            "most_text_tokens": config.most_text_tokens,
            "settings": config.identifiers.model_dump(mode="json"),
        }
        self.take_codes("identifiers", view, determined_by, learn)

    def mixture(self, view: TrainingView) -> Mixture:
        """The training instances."""
        return Mixture(view, self.prompts, self.config)

    def make_prompts(self, corpus: Corpus) -> None:
        """Tokenise all wordings and what fills them."""
        self.prompts = self.made_prompts(
            self.backbone.tokenizer,
            identifier_texts(self.identifiers),
            *titles_and_details(corpus.items),
            self.config.prompts,
            self.config.most_text_tokens,
        )
        self._targets = self.prompts.targets()

    def encoded(self, requests: Requests) -> Iterator[tuple[LongArray, EncodedPrompts]]:
        """Questions in the first wording."""
        history = requests.history(self.config.history_length, TASK).items
        return self.read(requests, self.prompts.tokens, self.prompts.questions(history))
