"""What GenSAR reads and writes as text: five families of prompts, and a user's history.

Shi et al., "Unified Generative Search and Recommendation", RecSys 2025; original
https://github.com/TengShi-RUC/GenSAR, commit bd1a126, without a licence, so this is written from a
description of its format. A history is the last recommendation events and, counted apart, the last
searches, in the order of time, joined by "; ": a clicked item is ``<rec_item>`` and the item's
collaborative identifier, a search ``<src_query>`` and its query followed by ``<src_item>`` and the
semantic identifier of the item found. The wordings are our own; the original has ten a family too.

Prompts are never made as strings: every literal, query, identifier and text is tokenised once, and
a prompt is a row of numbers of such pieces
(:func:`benchmark.kit.text.pieces.assembled`). Pieces meet at blanks or at added tokens,
so their tokens are those of the whole text.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import BEHAVIOURS, SEARCH, LongArray
from benchmark.errors import BenchmarkError
from benchmark.kit.identifiers.names import LETTERS, code_tokens
from benchmark.kit.language_models.tokenizer import TextTokenizer
from benchmark.kit.text.pieces import NO_PIECE, joined
from benchmark.kit.text.tokens import Tokens
from benchmark.kit.text.wordings import Wordings, column, slots_of, without_slots
from benchmark.protocol.requests import Events

REC_ITEM, SRC_QUERY, SRC_ITEM = "<rec_item>", "<src_query>", "<src_item>"
BEHAVIOUR_TOKENS = (REC_ITEM, SRC_QUERY, SRC_ITEM)

PromptStyle = Literal["instruction", "short"]
HistoryOf = Literal["both", "recommendation", "search"]

IDENTIFY = (
    "Name the item that this text describes: {text}",
    "Which item has the following description? {text}",
    "Read the description and write the identifier of the item: {text}",
    "Here is the text of an item. Give its identifier. {text}",
    "Write down the item which fits these words: {text}",
    "An item is presented as follows, say which one it is: {text}",
    "From the title and details below, tell the item: {text}",
    "Find the identifier of the item introduced here: {text}",
    "What is the identifier of the item with this text? {text}",
    "Match the description with its item: {text}",
)

DESCRIBE = (
    "Describe the item {identifier} in words.",
    "What does the text of item {identifier} say?",
    "Write the title and details of {identifier} .",
    "Give a description of the item {identifier} .",
    "Tell what kind of item {identifier} is.",
    "For the identifier {identifier} write the text of its item.",
    "Explain which item is meant by {identifier} .",
    "Put the item {identifier} into words.",
    "How would a shop introduce {identifier} to its users?",
    "Turn the identifier {identifier} into the description of its item.",
)

RECOMMEND = (
    "The user did the following: {history} . Name the next item that the user will click.",
    "Given this history, {history} , which item comes next?",
    "Past behaviour of a user: {history} . Recommend the next item.",
    "After {history} , what item is the user going to click?",
    "Here is what a user searched and clicked: {history} . Predict the next click.",
    "Look at these events in their order: {history} . Write the item that follows.",
    "Someone's actions so far are {history} . Choose an item to show next.",
    "A user with the record {history} opens the start page. Which item is clicked?",
    "Continue the history {history} with a recommended item.",
    "Knowing that the user did {history} , suggest one more item.",
)

ASK = (
    "The user did the following: {history} . Write the query that the user will search next.",
    "Given this history, {history} , what is searched next?",
    "Past behaviour of a user: {history} . Guess the next query.",
    "After {history} , which words is the user going to type?",
    "Here is what a user searched and clicked: {history} . Predict the next search.",
    "Look at these events in their order: {history} . Write the query that follows.",
    "Someone's actions so far are {history} . What will be looked for now?",
    "A user with the record {history} goes to the search box. What is typed?",
    "Continue the history {history} with a query.",
    "Knowing that the user did {history} , suggest a query.",
)

SEARCH_HISTORY = (
    "The user did the following: {history} .",
    "The history of this user is {history} .",
    "Past behaviour of the user: {history} .",
    "Before this search there was {history} .",
    "Here is what the user searched and clicked so far: {history} .",
    "Earlier events in their order: {history} .",
    "The actions of the user up to now are {history} .",
    "We have seen this user do {history} .",
    "On record for the user: {history} .",
    "What came first: {history} .",
)

SEARCH_QUERY = (
    "Now the user searches for {query} and clicks an item. Name it.",
    "For the query {query} say which item the user will click.",
    "The user types {query} into the search box. Which result is clicked?",
    "Asked for {query} , give the item that the user wants.",
    "Someone looks for {query} ; write the item that is chosen.",
    "The search is {query} . Predict the clicked item.",
    "Answer the query {query} with one item.",
    "What item satisfies a user who enters {query} ?",
    "Find the item which is clicked after the search {query} .",
    "Given the query {query} , return the item that fits this user best.",
)


@dataclass(frozen=True)
class AllWordings:
    """The wordings of every family; those of one family have the same slots in the same order."""

    identify: Sequence[str]
    describe: Sequence[str]
    recommend: Sequence[str]
    ask: Sequence[str]
    search_history: Sequence[str]
    search: Sequence[str]
    separator: str = ";"
    """What stands between the events of a history."""

    def words(self) -> list[str]:
        """What stands around the slots, for a tokenizer that learns from texts."""
        before = (*self.identify, *self.describe, *self.recommend, *self.ask)
        wordings = (*before, *self.search_history, *self.search, self.separator)
        return [without_slots(wording) for wording in wordings]


WORDINGS: dict[PromptStyle, AllWordings] = {
    "instruction": AllWordings(IDENTIFY, DESCRIBE, RECOMMEND, ASK, SEARCH_HISTORY, SEARCH_QUERY),
    "short": AllWordings(
        identify=("item: {text}",),
        describe=("text: {identifier}",),
        recommend=("{history} click",),
        ask=("{history} query",),
        search_history=("{history}",),
        search=("search {query}",),
        separator="",
    ),
}
"""``short`` is for small machines: few tokens, which all mean something to a small model."""


def code_names(number_of_shared_levels: int, kind: str, number_of_levels: int) -> list[str]:
    """The stems of the codes of each level, such as ``shared_a`` or ``semantic_b``."""
    own = number_of_levels - number_of_shared_levels
    shared = [f"shared_{letter}" for letter in LETTERS[:number_of_shared_levels]]
    return shared + [f"{kind}_{letter}" for letter in LETTERS[:own]]


def tokens_of_identifiers(
    semantic: Sequence[str], collaborative: Sequence[str], marks_behaviour: bool = True
) -> list[str]:
    """All code tokens that occur, and the behaviour tokens if any, sorted as strings."""
    markers = BEHAVIOUR_TOKENS if marks_behaviour else ()
    return code_tokens({*semantic, *collaborative, *markers})


class Family(Wordings):
    """The wordings of one family as piece numbers: literals around the slots."""

    def __init__(self, wordings: Sequence[str], first_piece: int) -> None:
        slots = {slots_of(wording) for wording in wordings}
        if len(slots) != 1:
            raise BenchmarkError(f"prompts: the wordings of a family differ in slots: {slots}.")
        super().__init__(wordings, first_piece, *slots)

    def pieces(self, wording: LongArray, *values: LongArray) -> LongArray:
        """Prompts as piece numbers (prompts, pieces).

        Args:
            wording: (prompts,) which wording each prompt has.
            values: for each slot, what it is filled with, (prompts, any number of pieces).
        """
        return self.filled(wording, dict(zip(self.slots, values, strict=True)))


@dataclass(frozen=True)
class PieceTexts:
    """The texts that pieces are made of; entry 0 of each is the padding item or query.

    ``collaborative`` and ``semantic`` hold identifiers (number_of_items + 1,), ``queries`` and
    ``item_texts`` are cut already. ``pseudo_queries`` may be empty, and so may ``item_texts`` where
    no prompt needs them.
    """

    collaborative: Sequence[str]
    semantic: Sequence[str]
    queries: Sequence[str]
    item_texts: Sequence[str] = ()
    pseudo_queries: Sequence[str] = ()


@dataclass(frozen=True)
class _Queries:
    """Queries ``first`` … ``after`` - 1, and the first pieces of the tables over them."""

    first: int
    after: int
    asked: int
    asked_before: int


class Prompts:
    """All pieces, tokenised, and prompts as rows of their numbers.

    Args:
        marks_behaviour: whether behaviour tokens stand before items and queries.
        history_of: which events of a user a history holds.
        recommendation_history, search_history: the most events of either kind.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        texts: PieceTexts,
        style: PromptStyle,
        *,
        marks_behaviour: bool = True,
        history_of: HistoryOf = "both",
        recommendation_history: int = 5,
        search_history: int = 5,
    ) -> None:
        self.end = tokenizer.end
        self._lengths = (
            0 if history_of == "search" else recommendation_history,
            0 if history_of == "recommendation" else search_history,
        )
        rec_item, src_query, src_item = BEHAVIOUR_TOKENS if marks_behaviour else ("", "", "")
        self._src_query = src_query
        self._tokenizer = tokenizer
        self._parts: list[Tokens] = []
        self._size = 0
        wordings = WORDINGS[style]
        # Beside our own tokens stand texts of others, whatever those hold.
        queries, item_texts, pseudo_queries = (
            tokenizer.as_text(own)
            for own in (texts.queries, texts.item_texts, texts.pseudo_queries)
        )
        self._separator_text = wordings.separator
        self._separator = self._add([wordings.separator])
        # Each of these is the number of the first piece of a table over items, queries, ...
        self._clicked = self._add([rec_item + text for text in texts.collaborative])
        self._found = self._add([src_item + text for text in texts.semantic])
        self._queries: list[_Queries] = []
        self._add_queries(queries)
        self._collaborative = self._add(texts.collaborative)
        self._semantic = self._add(texts.semantic)
        self._texts = self._add(item_texts)
        self._pseudo = self._add([src_query + text for text in pseudo_queries])
        self.identify = self._family(wordings.identify)
        self.describe = self._family(wordings.describe)
        self.recommend = self._family(wordings.recommend)
        self.ask = self._family(wordings.ask)
        self.search_history = self._family(wordings.search_history)
        self.search = self._family(wordings.search)
        self.tokens = joined(self._parts)

    def with_queries(self, texts: Sequence[str], most_tokens: int) -> Prompts:
        """The same pieces and those of further queries, cut; their numbers follow the others'."""
        if not texts:
            return self
        more = copy(self)
        more._queries, more._parts = list(self._queries), [self.tokens]
        cut = cut_texts(self._tokenizer, texts, most_tokens)
        more._add_queries(self._tokenizer.as_text(cut))
        more.tokens = joined(more._parts)
        return more

    def _add_queries(self, texts: Sequence[str]) -> None:
        """Add queries both as they are asked now and as they stand in a history."""
        marked = [self._src_query + text for text in texts]
        first = self._queries[-1].after if self._queries else 0
        before = [text + self._separator_text for text in marked]
        self._queries.append(
            _Queries(first, first + len(texts), self._add(marked), self._add(before))
        )

    def _pieces_of_queries(self, queries: NDArray[np.integer], is_before: bool) -> LongArray:
        """The pieces of queries (…), same shape.

        Raises:
            BenchmarkError: a query has no pieces.
        """
        pieces = np.full(queries.shape, NO_PIECE, dtype=np.int64)
        for part in self._queries:
            inside = (queries >= part.first) & (queries < part.after)
            piece = part.asked_before if is_before else part.asked
            pieces[inside] = piece + queries[inside].astype(np.int64) - part.first
        if (pieces == NO_PIECE).any():
            unknown = queries[pieces == NO_PIECE][0]
            raise BenchmarkError(f"query {unknown} has no text to make a prompt of.")
        return pieces

    def _add(self, texts: Sequence[str]) -> int:
        first = self._size
        self._parts.append(self._tokenizer.marked(texts))
        self._size += len(texts)
        return first

    def _family(self, wordings: Sequence[str]) -> Family:
        family = Family(wordings, self._size)
        self._add(family.literals)
        return family

    # One piece each; every method maps (n,) ids to (n, 1) piece numbers.

    def clicked(self, items: NDArray[np.integer]) -> LongArray:
        """``<rec_item>`` and the collaborative identifier."""
        return column(self._clicked, items)

    def found(self, items: NDArray[np.integer]) -> LongArray:
        """``<src_item>`` and the semantic identifier."""
        return column(self._found, items)

    def asked(self, queries: NDArray[np.integer]) -> LongArray:
        """``<src_query>`` and the query."""
        return self._pieces_of_queries(queries, is_before=False)[:, None]

    def pseudo(self, numbers: NDArray[np.integer]) -> LongArray:
        """``<src_query>`` and the pseudo-query."""
        return column(self._pseudo, numbers)

    def text(self, items: NDArray[np.integer]) -> LongArray:
        """The text of an item."""
        return column(self._texts, items)

    def identifier(self, items: NDArray[np.integer], is_semantic: bool) -> LongArray:
        """The semantic or the collaborative identifier alone."""
        return column(self._semantic if is_semantic else self._collaborative, items)

    def history(self, events: Events) -> LongArray:
        """The histories of events as piece numbers (events, pieces); see the head of this file."""
        windows = [
            events.history(length, behaviour)
            for length, behaviour in zip(self._lengths, BEHAVIOURS, strict=True)
            if length
        ]
        if not windows:
            return np.zeros((len(events), 0), dtype=np.int64)
        items, queries, behaviours, times, mask = (
            np.concatenate([getattr(window, name) for window in windows], axis=1)
            for name in ("items", "queries", "behaviours", "timestamps", "mask")
        )
        # At equal times recommendation events stand first; what is absent goes to the end.
        order = np.argsort(np.where(mask, times, np.iinfo(np.int64).max), axis=1, kind="stable")
        items, queries, behaviours, mask = (
            np.take_along_axis(values, order, axis=1)
            for values in (items, queries, behaviours, mask)
        )
        is_search = behaviours == SEARCH
        item = np.where(is_search, self._found, self._clicked) + items
        is_last = np.arange(mask.shape[1])[None, :] == mask.sum(axis=1)[:, None] - 1
        pieces = np.stack(
            [
                np.where(is_search, self._pieces_of_queries(queries, is_before=True), NO_PIECE),
                np.where(mask, item, NO_PIECE),
                np.where(mask & ~is_last, self._separator, NO_PIECE),
            ],
            axis=2,
        )
        return pieces.reshape(len(pieces), -1).astype(np.int64)

    def search_prompt(
        self,
        history: LongArray,
        query: LongArray,
        history_wording: LongArray,
        wording: LongArray,
    ) -> LongArray:
        """The search prompt; without a history its sentence is left out.

        Args:
            history, query: (prompts, any number of pieces).
            history_wording, wording: (prompts,) which wordings.
        """
        sentence = self.search_history.pieces(history_wording, history)
        is_empty = (history == NO_PIECE).all(axis=1)
        sentence[is_empty] = NO_PIECE
        return np.concatenate([sentence, self.search.pieces(wording, query)], axis=1)


def cut_texts(tokenizer: TextTokenizer, texts: Sequence[str], most_tokens: int) -> list[str]:
    """The texts, those of more than ``most_tokens`` tokens cut and written back from tokens."""
    lengths = tokenizer(texts, most_tokens + 1).lengths
    long = np.flatnonzero(lengths > most_tokens).tolist()
    ids = tokenizer([texts[row] for row in long], most_tokens)
    rows = np.split(ids.ids, ids.offsets[1:-1]) if long else []
    cut = list(texts)
    for row, text in zip(long, tokenizer.decode([own.tolist() for own in rows]), strict=True):
        cut[row] = text
    return cut
