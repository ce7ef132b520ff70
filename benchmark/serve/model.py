"""A trained run in use: what it recommends to, or finds for, users that it knows and others.

Items and users are named by the data set's own ids, queries are texts. Whatever a question names
and the data set lacks (an item, a user) is refused; a query text is not, unless the system cannot
read texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from benchmark.data.dataset import UNKNOWN_USER, Dataset
from benchmark.errors import BenchmarkError, quoted, shortened, unknown_value
from benchmark.jobs.record import Run
from benchmark.protocol.exclusions import Exclusions
from benchmark.protocol.questions import Question, Questions
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import known_users
from benchmark.systems.contract import System

if TYPE_CHECKING:
    import pandas as pd


Identifier = str | int
"""Of an item or a user. A whole number is the same id as its text, as it is in every source."""

Event = Identifier | tuple[str, Identifier]
"""Of a history: an item's id; or, of a click on a search's result, the query and the item's id."""

Seen = Literal["left out", "kept"]
"""What becomes of the items of the history."""


@dataclass(frozen=True)
class Hit:
    """One item of an answer; scores of one answer compare, those of two need not."""

    item: str
    title: str
    score: float


@dataclass(frozen=True)
class Ask:
    """One question: ``query`` is None for a recommendation.

    ``history`` is oldest first; None stands for the data set's own of ``user``.
    """

    history: Sequence[Event] | None = None
    user: Identifier | None = None
    query: str | None = None
    seen: Seen = "left out"


class Model:
    """A fitted system with the data set that it was fitted on; :func:`load` makes one.

    ``tasks`` are those that it answers: "recommendation", "search" or both.
    """

    def __init__(self, run: Run, system: System, dataset: Dataset) -> None:
        self.run, self.system, self.dataset = run, system, dataset
        record = run.record
        self.name = record.system.display_name
        self.tasks = tuple(task for task in record.system.tasks if task in run.metrics)
        settings = ProtocolSettings.model_validate(record.protocol.settings)
        self._questions = Questions(dataset, known_users(dataset, settings))

    def recommend(
        self,
        history: Sequence[Event] | None = None,
        *,
        user: Identifier | None = None,
        k: int = 10,
        seen: Seen = "left out",
    ) -> pd.DataFrame:
        """The ``k`` best items for somebody, best first: columns item, title and score.

        Args:
            history: items that they clicked, oldest first, each an id or (query, id) where it was
                found by a search; the data set's own history of ``user`` if absent.
            user: an id of the data set; absent for somebody whom it does not know.
            k: at most so many; a beam may reach fewer.
            seen: whether items of the history may be recommended again.

        Raises:
            BenchmarkError: the system does not recommend; the data set lacks the user or an item;
                there is neither history nor user; an id is neither text nor whole number; or ``k``
                is no whole number of 1 and more.
        """
        return _frame(self.answer("recommendation", [Ask(history, user, None, seen)], k)[0])

    def search(
        self,
        query: str,
        history: Sequence[Event] | None = None,
        *,
        user: Identifier | None = None,
        k: int = 10,
        seen: Seen = "kept",
    ) -> pd.DataFrame:
        """The ``k`` best items for a query text, known or new; all else as :meth:`recommend`.

        Without history and user, somebody without a past is searching.

        Raises:
            BenchmarkError: as in :meth:`recommend`; or the query is blank, or is not among those of
                the data set and the system cannot read texts.
        """
        if not isinstance(query, str):
            raise BenchmarkError(f"query: must be a text, not {shortened(repr(query))}.")
        past = [] if history is None and user is None else history
        return _frame(self.answer("search", [Ask(past, user, query, seen)], k)[0])

    def answer(self, task: str, asked: Sequence[Ask], k: int) -> list[list[Hit]]:
        """The answers to several questions of one task, ranked together; at most ``k`` hits each.

        Raises:
            BenchmarkError: see :meth:`recommend` and :meth:`search`.
        """
        if task not in self.tasks:
            able = " and ".join(self.tasks) or "nothing"
            raise BenchmarkError(f"{self.name} was not fitted for {task}, but for {able}.")
        if not _is_whole(k):
            raise BenchmarkError(f"k: must be a whole number, not {shortened(repr(k))}.")
        if not asked:
            return []
        questions = [self._question(one) for one in asked]
        system = self.system
        requests = self._questions.requests(task, questions, system.reads_query_texts)
        kept_out = [
            question.past.items if one.seen == "left out" else ()
            for one, question in zip(asked, questions, strict=True)
        ]
        best = system.recommend(requests, k, self._barred(kept_out))
        return [
            [self._hit(item, score) for item, score in zip(items, scores, strict=True) if item]
            for items, scores in zip(*(column.tolist() for column in best), strict=True)
        ]

    def check(self, task: str, asked: Ask) -> None:
        """Raise what :meth:`answer` would raise of one question, without ranking anything."""
        if task not in self.tasks:
            self.answer(task, [asked], 1)
        requests = self._questions.requests(
            task, [self._question(asked)], self.system.reads_query_texts
        )
        self.system.refuse_unreadable(requests)

    def _barred(self, items: Sequence[Sequence[int]]) -> Exclusions:
        size = self.dataset.number_of_items
        keys = [
            row * (size + 1) + np.asarray(some, dtype=np.int64) for row, some in enumerate(items)
        ]
        return Exclusions(np.unique(np.concatenate(keys)), size)

    def _hit(self, item: int, score: float) -> Hit:
        items = self.dataset.items
        return Hit(items.external_id[item], items.title[item], score)

    def _question(self, asked: Ask) -> Question:
        if asked.seen not in get_args(Seen):
            raise unknown_value("value", str(asked.seen), get_args(Seen), "seen")
        user = UNKNOWN_USER if asked.user is None else self._user(asked.user)
        if asked.history is not None:
            events = _events(asked.history)
            items = [self._item(item) for _, item in events]
            past = self._questions.past_without_times(items, [query for query, _ in events])
        elif asked.user is not None:
            past = self._questions.past_of(user)
        else:
            raise BenchmarkError("a recommendation needs a history or a user of the data set.")
        return Question(past, user, "" if asked.query is None else asked.query)

    @cached_property
    def _item_ids(self) -> dict[str, int]:
        return {
            name: number for number, name in enumerate(self.dataset.items.external_id) if number
        }

    @cached_property
    def _user_ids(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.dataset.users) if number}

    def _item(self, given: Identifier) -> int:
        name = _text_of(given, "history", "an item's id nor (query, id)")
        if name not in self._item_ids:
            raise BenchmarkError(
                f"history: {quoted(name)} is none of the {self.dataset.number_of_items:,} items of "
                f"{self.dataset.name}, whose ids look like {self.dataset.items.external_id[1]!r}."
            )
        return self._item_ids[name]

    def _user(self, given: Identifier) -> int:
        name = _text_of(given, "user", "a text nor a whole number")
        if name not in self._user_ids:
            raise BenchmarkError(
                f"user: {quoted(name)} is none of the {self.dataset.number_of_users:,} users of "
                f"{self.dataset.name}; give a history alone for somebody whom it does not know."
            )
        return self._user_ids[name]


def _events(history: Sequence[Event]) -> list[tuple[str, Identifier]]:
    """(query, id) of each event; the query is blank where there was none.

    Raises:
        BenchmarkError: the history is one text, or an event has another form.
    """
    if isinstance(history, str):
        raise BenchmarkError(f"history: must be a list of items' ids, not {quoted(history)}.")
    events: list[tuple[str, Identifier]] = []
    for one in history:
        query, item = one if isinstance(one, tuple | list) and len(one) == 2 else ("", one)
        if not isinstance(query, str):
            raise BenchmarkError(f"history: {shortened(repr(query))} is no text of a query.")
        events.append((query, item))
    return events


def _text_of(given: Any, name: str, allowed: str) -> str:
    if isinstance(given, str):
        return given
    if _is_whole(given):
        return str(int(given))
    raise BenchmarkError(f"{name}: {shortened(repr(given))} is neither {allowed}.")


def _is_whole(number: Any) -> bool:
    return isinstance(number, Integral) and not isinstance(number, bool)


def _frame(hits: Sequence[Hit]) -> pd.DataFrame:
    import pandas as pd

    columns = {name: [getattr(hit, name) for hit in hits] for name in ("item", "title", "score")}
    return pd.DataFrame(columns, index=pd.RangeIndex(1, len(hits) + 1, name="rank"))
