"""From a data set and protocol settings to the tasks: events by split, histories, candidates."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import (
    BEHAVIOURS,
    RECOMMENDATION,
    SEARCH,
    Dataset,
    IntArray,
    LongArray,
    fingerprint_of,
)
from benchmark.errors import BenchmarkError, counted
from benchmark.files import columns_of, sha256_of_arrays, sha256_of_json
from benchmark.protocol.all_items import barred_items
from benchmark.protocol.blocks import Blocks
from benchmark.protocol.candidates import Candidates
from benchmark.protocol.exclusions import Exclusions
from benchmark.protocol.graded import JudgedItems
from benchmark.protocol.hard_negatives import count_fill_ups, search_engine
from benchmark.protocol.histories import EventSet
from benchmark.protocol.lists import HELD_OUT, Lists, lists_of
from benchmark.protocol.released import released_negatives
from benchmark.protocol.requests import Requests
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.splits import Split, split_task, training_events, training_rows
from benchmark.protocol.urn import asking_keys
from benchmark.retrieval import BM25Engine

TASKS: tuple[str, ...] = tuple(BEHAVIOURS)


@dataclass(frozen=True)
class Task:
    """One task of a data set under a protocol.

    ``known_users`` (users + 1,) says which users have an event in the training log; systems are
    shown all others as user 0. ``unranked`` are the log rows of held-out events that get no list:
    nobody may train on them, and nobody is asked about them; ``unranked_test`` are those of them
    that the test would hold. ``fill_ups`` is, for the search task, the number of test negatives
    that are no BM25 hits. ``has_outside_lists`` says that the test lists are not those that the
    protocol makes. ``origin`` is a hash of the data and of the settings that the task was made by.
    """

    name: str
    train: EventSet
    valid: EventSet
    test: EventSet
    valid_candidates: Candidates
    test_candidates: Candidates
    known_users: NDArray[np.bool_]
    unranked: LongArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    unranked_test: LongArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    fill_ups: int = 0
    notes: tuple[str, ...] = ()
    has_outside_lists: bool = False
    origin: str = ""

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what the test asks: data, settings, events, what each may see, and the lists.

        Settings that change metrics alone (cut-offs, ties) have no part in it.
        """
        events = sha256_of_arrays(columns_of(self.test))
        return sha256_of_json([self.name, self.origin, events, self.test_candidates.fingerprint])

    @property
    def behaviour(self) -> int:
        """RECOMMENDATION or SEARCH."""
        return BEHAVIOURS[self.name]

    @property
    def held_out(self) -> LongArray:
        """The log rows that training may not look at, (rows,): ranked or not."""
        return np.concatenate([self.valid.position, self.test.position, self.unranked])

    @property
    def tested(self) -> LongArray:
        """The log rows of the test, (rows,): ranked or not."""
        return np.concatenate([self.test.position, self.unranked_test])

    def requests(
        self, dataset: Dataset, split: str, allowed: NDArray[np.bool_] | None = None
    ) -> Requests:
        """What systems are asked for ``split`` ("valid" or "test").

        Args:
            allowed: (log rows,), the rows that a history may hold at all; all of them if absent.
        """
        return Requests(
            self.name,
            dataset.log,
            getattr(self, split),
            dataset.queries.text,
            self.candidates(split).shown,
            self.known_users,
            allowed,
            dataset.number_of_items,
        )

    def barred(self, dataset: Dataset, settings: ProtocolSettings) -> Exclusions:
        """What each test event is not ranked against among all items; rows are test events."""
        return barred_items(dataset, self.behaviour, self.test, settings)

    def judged(self, dataset: Dataset) -> JudgedItems | None:
        """The items with a gain of each test event; None where relevance is not graded."""
        if self.test_candidates.gains is None:
            return None
        return JudgedItems.of(dataset, self.test.position)

    def share_of_cold_users(self, dataset: Dataset) -> float:
        """The share of test events whose user has no event in the training log."""
        known = self.known_users[dataset.log.user[self.test.position]]
        return float(np.mean(~known))

    def candidates(self, split: str) -> Candidates:
        """The candidate lists of ``split`` ("valid" or "test")."""
        lists: Candidates = getattr(self, f"{split}_candidates")
        return lists

    def with_test_candidates(self, candidates: Candidates) -> Task:
        """The task with test lists that came from outside."""
        if candidates.fingerprint == self.test_candidates.fingerprint:
            return replace(self, test_candidates=candidates, has_outside_lists=False)
        note = f"The {self.name} test lists came from outside: the protocol makes others."
        return replace(
            self, test_candidates=candidates, has_outside_lists=True, notes=(*self.notes, note)
        )


def build_tasks(
    dataset: Dataset, settings: ProtocolSettings, blocks: Blocks | None = None
) -> dict[str, Task]:
    """The tasks that the data set has events for, by name.

    Args:
        blocks: where finished lists are kept; nowhere if absent.

    Raises:
        BenchmarkError: nothing can be held out, or an event has too few eligible negatives.
    """
    splits = _splits(dataset, settings)
    is_judged = dataset.judgements is not None and tuple(splits) == (SEARCH,)
    if dataset.number_of_items <= settings.negatives and not is_judged:
        raise BenchmarkError(
            f"data set {dataset.name}: {dataset.number_of_items} items are too few for candidate "
            f"lists of {settings.negatives + 1}; lower the protocol setting 'negatives' "
            f"(--set protocol.negatives={max(1, (dataset.number_of_items - 1) // 2)})."
        )
    is_released = settings.sampler == "released"
    if is_released and dataset.judgements is not None:
        raise BenchmarkError(
            f"data set {dataset.name}: has graded relevance, which the protocol setting "
            "sampler=released does not know; allowed is vectorised."
        )
    has_hits = SEARCH in splits and dataset.judgements is None
    engine = search_engine(dataset, settings) if has_hits else None
    drawn = _released_lists(dataset, splits, settings, engine) if is_released else {}

    def lists(behaviour: int) -> Lists:
        if is_released:
            return drawn.pop(behaviour)
        return lists_of(dataset, behaviour, splits, settings, engine, blocks or Blocks())

    # One task after the other, so that the negatives of one are gone before the next has any.
    origin = origin_of(dataset, settings)
    return {
        TASKS[behaviour]: replace(
            _task(dataset, behaviour, splits, lists(behaviour), settings), origin=origin
        )
        for behaviour in splits
    }


def origin_of(dataset: Dataset, settings: ProtocolSettings) -> str:
    """A hash of the data and of all settings that what systems are asked and ranked among hang on.

    The salt of the lists is no part of it: the lists themselves are of a task's fingerprint.
    """
    asked = settings.of_lists() | {"search_all_items": settings.search_all_items}
    return sha256_of_json([dataset.fingerprint or fingerprint_of(dataset), asked])


def _released_lists(
    dataset: Dataset,
    splits: dict[int, Split],
    settings: ProtocolSettings,
    engine: BM25Engine | None,
) -> dict[int, Lists]:
    drawn = released_negatives(dataset, splits, settings, engine)
    lists = {}
    for behaviour, split in splits.items():
        valid, test = (drawn[behaviour, part] for part in HELD_OUT)
        fill_ups = 0
        if engine is not None and behaviour == SEARCH:
            asked = dataset.log.query[split.test.position]
            fill_ups = count_fill_ups(dataset, engine, asked, test)
        lists[behaviour] = Lists(split.valid, split.test, valid, test, fill_ups)
    return lists


def _task(
    dataset: Dataset,
    behaviour: int,
    splits: dict[int, Split],
    lists: Lists,
    settings: ProtocolSettings,
) -> Task:
    log, name, split = dataset.log, TASKS[behaviour], splits[behaviour]

    def candidates(events: EventSet, negatives: IntArray) -> Candidates:
        # The order must not hang on the target.
        keys = asking_keys(dataset, events.position, settings.seed)
        targets = log.item[events.position]
        lists = Candidates.from_negatives(targets, negatives, keys, dataset.item_keys)
        if behaviour != SEARCH:
            return lists
        return lists.judged_by(dataset.judgements, log.query[events.position])

    others = [other for number, other in splits.items() if number != behaviour]
    ranked = np.concatenate([lists.valid.position, lists.test.position])
    test_lists = candidates(lists.test, lists.test_negatives)
    return Task(
        name=name,
        train=training_events(log, split, others, settings),
        valid=lists.valid,
        test=lists.test,
        valid_candidates=candidates(lists.valid, lists.valid_negatives),
        test_candidates=test_lists,
        known_users=_users_in_training(dataset, splits, settings),
        unranked=np.setdiff1d(split.held_out_positions(), ranked),
        unranked_test=np.setdiff1d(split.test.position, ranked),
        fill_ups=lists.fill_ups,
        notes=(*_notes(name, split), *lists.notes, *_shorter(name, test_lists)),
    )


def known_users(dataset: Dataset, settings: ProtocolSettings) -> NDArray[np.bool_]:
    """Which users the training log holds an event of, (users + 1,): see :class:`Task`.

    Raises:
        BenchmarkError: nothing can be held out.
    """
    return _users_in_training(dataset, _splits(dataset, settings), settings)


def _users_in_training(
    dataset: Dataset, splits: dict[int, Split], settings: ProtocolSettings
) -> NDArray[np.bool_]:
    """Which users the training log holds an event of, (users + 1,)."""
    log = dataset.log
    held_out = np.concatenate([split.held_out_positions() for split in splits.values()])
    known = np.zeros(dataset.number_of_users + 1, dtype=bool)
    known[log.user[training_rows(log, held_out, settings)]] = True
    return known


def _splits(dataset: Dataset, settings: ProtocolSettings) -> dict[int, Split]:
    """The split of each behaviour that the log holds."""
    splits = {
        behaviour: split_task(dataset.log, behaviour, settings, dataset.cuts)
        for behaviour in (RECOMMENDATION, SEARCH)
        if len(dataset.log.index_of(behaviour).positions)
    }
    if not splits:
        raise BenchmarkError(f"data set {dataset.name}: the log holds no events.")
    for behaviour, split in splits.items():
        for part in HELD_OUT:
            if not len(getattr(split, part)):
                why = (
                    "no user has the three that leave-one-out needs"
                    if settings.split == "leave-one-out"
                    else "none falls into this part of the time line"
                )
                own = "; global-time takes the one that it was published with"
                advice = own if dataset.cuts and settings.split == "leave-one-out" else ""
                raise BenchmarkError(
                    f"data set {dataset.name}: there are no {TASKS[behaviour]} events for the "
                    f"{part} part of the {settings.split} split: {why}{advice}."
                )
    return splits


def _notes(name: str, split: Split) -> tuple[str, ...]:
    if not split.skipped_users:
        return ()
    units = "purchases" if name == "recommendation" else "searches"
    skipped = counted(split.skipped_users, "user")
    return (f"Not tested on {name}, for fewer than three {units}: {skipped}.",)


def _shorter(name: str, lists: Candidates) -> tuple[str, ...]:
    """A sentence on the test events that have shorter lists than the others, if there are any."""
    longest = lists.items.shape[1]
    shorter = np.count_nonzero(lists.lengths < longest)
    if not shorter:
        return ()
    why = "may be negatives there" if lists.gains is None else "were judged for the query"
    return (
        f"{shorter:,} of {len(lists):,} {name} test lists are shorter than {longest:,} candidates, "
        f"the shortest {lists.lengths.min():,}, since no other items {why}.",
    )
