"""The conformance check finds each planted fault, by the probe that is meant for it.

The good toy passes every probe. Each other toy breaks one promise; the probes that must fail are
named beside it, and no other probe may fail.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, Field

from benchmark.check import sight
from benchmark.check import world as worlds
from benchmark.check.__main__ import check, main
from benchmark.check.probes import PROBES, Outcome
from benchmark.check.reach import held_by
from benchmark.check.subject import Subject
from benchmark.errors import SystemFailure
from benchmark.hashing import row_hash, text_keys
from benchmark.kit.training import TrainingSettings
from benchmark.protocol.negatives import HashedLaw
from benchmark.protocol.requests import Requests
from benchmark.systems import catalogue
from benchmark.systems import view as views
from benchmark.systems.catalogue import SystemChoice, SystemEntry
from benchmark.systems.contract import FloatArray, System, SystemConfig
from benchmark.systems.space import Choice, Real, SearchSpace, UntilPatience
from benchmark.systems.view import Corpus, TrainingView

BOTH = ("recommendation", "search")


class ToyConfig(SystemConfig):
    noise: float = 0.1


class Toy(System):
    """Counts of items, seeded noise, recency in the history, and words of query and item."""

    Config: Any = ToyConfig

    def fit(self, view: TrainingView) -> None:
        size = view.corpus.number_of_items + 1
        noise = self.context.random("toy").random(size) * self.config.noise
        self.weights = np.bincount(view.log.item, minlength=size) + noise
        self.learn_words(view.corpus)

    def learn_words(self, corpus: Corpus) -> None:
        self.words = [set(text.split()) for text in corpus.items.text]

    def score(self, requests: Requests) -> FloatArray:
        return self.plain_scores(requests).astype(np.float32)

    def plain_scores(self, requests: Requests) -> Any:
        items = requests.history(5).items
        recent = (requests.candidates[:, :, None] == items[:, None, :]) * np.arange(1, 6)
        shared = [
            [len(set(text.split()) & self.words[item]) for item in row]
            for text, row in zip(requests.query_texts, requests.candidates.tolist(), strict=True)
        ]
        return self.weights[requests.candidates] + recent.max(axis=2) + np.array(shared)

    def save(self, folder: Path) -> None:
        np.save(folder / "weights.npy", self.weights, allow_pickle=False)

    def load(self, folder: Path, corpus: Corpus) -> None:
        self.weights = np.load(folder / "weights.npy", allow_pickle=False)
        self.learn_words(corpus)


@dataclass(frozen=True)
class ToyEntry(SystemEntry):
    """A row of the catalogue that holds its class."""

    system: Any = None

    def load(self) -> Any:
        return self.system


def entry_of(system: type[System], tasks: tuple[Any, ...] = BOTH) -> ToyEntry:
    return ToyEntry("toy", "Toy", "toys", tasks, target="", system=system)


def outcomes_of(
    system: type[System], tasks: tuple[Any, ...] = BOTH, config: BaseModel | None = None
) -> list[Outcome]:
    choice = SystemChoice("toy", "Toy", entry_of(system, tasks), {})
    made: Any = config if config is not None else system.Config()
    return list(check(choice, made))


def failures_of(system: type[System], **options: Any) -> dict[str, str]:
    """What was seen by each probe that failed."""
    return {one.probe: one.seen for one in outcomes_of(system, **options) if not one.passed}


# ------------------------------------------------------------------------------------ the good


class OnlyRecommendation(Toy):
    def score(self, requests: Requests) -> FloatArray:
        if requests.task != "recommendation":
            raise SystemFailure("it was asked to search.")
        return super().score(requests)


class SaysWhy(Toy):
    def fit(self, view: TrainingView) -> None:
        if view.tasks != BOTH:
            raise SystemFailure("it needs both tasks.")
        super().fit(view)


class Prunes(Toy):
    """As a beam does: what it does not return scores -inf."""

    def score(self, requests: Requests) -> FloatArray:
        scores = super().score(requests)
        return np.where(scores < 5, np.float32(-np.inf), scores)

    def ranking_of_all_items(self) -> str:
        return "a threshold of 5"


class Size(SystemConfig):
    size: int = 1


class LargeSize(Size):
    size: int = 9


class WithLargeDefault(Toy):
    class Config(SystemConfig):
        noise: float = 0.1
        inner: Size = LargeSize()


@pytest.mark.parametrize(
    ("system", "tasks"),
    [
        (Toy, BOTH),
        (WithLargeDefault, BOTH),
        (Toy, ("search",)),
        (OnlyRecommendation, ("recommendation",)),
        (SaysWhy, BOTH),
        (Prunes, BOTH),
    ],
)
def test_a_good_system_passes_every_probe(system: type[System], tasks: tuple[str, ...]) -> None:
    outcomes = outcomes_of(system, tasks=tasks)
    assert [one.probe for one in outcomes] == [probe.__name__ for probe in PROBES]
    assert [f"{one.probe}: {one.seen}" for one in outcomes if not one.passed] == []
    assert all(one.seen and one.promise.endswith(".") for one in outcomes)


# A ceiling knows the rule of one invented log, and the world of the probes has no such rule.
REFERENCES = [
    name
    for name, row in catalogue.entries().items()
    if row.family == "references" and not row.is_ceiling
]


@pytest.mark.parametrize("name", REFERENCES)
def test_the_reference_systems_pass(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name]) == 0, capsys.readouterr().out


# ------------------------------------------------------------------------------------- the bad


class LooseConfig(Toy):
    class Config(BaseModel):
        noise: float = 0.1


class InnerLooseConfig(Toy):
    class Config(SystemConfig):
        class Inner(BaseModel):
            size: int = 3

        noise: float = 0.1
        inner: Inner = Inner()


class ForgetfulConfig(Toy):
    class Config(SystemConfig):
        noise: float = Field(default=0.1, exclude=True)


class CountsWithNumpy(Toy):
    def number_of_parameters(self) -> Any:
        return self.weights.size + np.int64(1)


class CountsDown(Toy):
    def number_of_parameters(self) -> int:
        return -1


class ListsStandIns(Toy):
    def stand_ins(self) -> Any:
        return ["a hash stands in for the model"]


class OneStandIn(Toy):
    def stand_ins(self) -> Any:
        return "a hash stands in for the model"


class DoublePrecision(Toy):
    def score(self, requests: Requests) -> Any:
        return self.plain_scores(requests)


class Transposed(Toy):
    def score(self, requests: Requests) -> FloatArray:
        return np.ascontiguousarray(super().score(requests).T)


class LikesTheFirstColumn(Toy):
    def score(self, requests: Requests) -> FloatArray:
        scores = super().score(requests)
        scores[:, 0] += 1
        return scores


class StrikesRepetitions(Toy):
    """What stands further left too is worth less: wrong only where a list repeats itself."""

    def score(self, requests: Requests) -> FloatArray:
        scores = super().score(requests)
        same = requests.candidates[:, :, None] == requests.candidates[:, None, :]
        return (scores - np.tril(same, -1).sum(axis=2)).astype(np.float32)


class Standardises(Toy):
    """Divides by the deviation over the list, which is 0 for a list of one."""

    def score(self, requests: Requests) -> FloatArray:
        scores = super().score(requests)
        centred = scores - scores.mean(axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.sort(centred / centred.std(axis=1, keepdims=True), axis=1)[
                np.arange(len(scores))[:, None], np.argsort(np.argsort(scores, axis=1), axis=1)
            ]


class FixedLength(Toy):
    def score(self, requests: Requests) -> FloatArray:
        scores = np.empty((len(requests), 20), dtype=np.float32)
        scores[:] = super().score(requests)
        return scores


class DependsOnTheBatch(Toy):
    """As a layer that normalises over the batch does."""

    def score(self, requests: Requests) -> FloatArray:
        scores = super().score(requests)
        return (scores + scores[:, :1].mean() * requests.candidates / 120).astype(np.float32)


class DiffersWhenAlone(Toy):
    """As a model does that squeezes a batch of one."""

    def score(self, requests: Requests) -> FloatArray:
        scores = super().score(requests)
        return scores if len(requests) > 1 else -scores


class FirstRequestDecides(Toy):
    def score(self, requests: Requests) -> FloatArray:
        scores = super().score(requests)
        large = len(requests) > 3 * 7
        return scores + np.float32(requests.user[0] if large else 0) * requests.candidates.astype(
            np.float32
        )


class RanksAllBackwards(Toy):
    def score_all_items(self, requests: Requests) -> FloatArray:
        return -super().score_all_items(requests)


class TiesAll(Toy):
    def score_all_items(self, requests: Requests) -> FloatArray:
        return np.round(super().score_all_items(requests))


class TellsAllApart(Toy):
    """Ties of lists are none among all items."""

    def score(self, requests: Requests) -> FloatArray:
        return np.round(super().score(requests))

    def score_all_items(self, requests: Requests) -> FloatArray:
        numbers = np.arange(requests.number_of_items + 1, dtype=np.float32)
        return super().score_all_items(requests) + numbers / len(numbers)


class TransposesAll(Toy):
    def score_all_items(self, requests: Requests) -> FloatArray:
        return np.ascontiguousarray(super().score_all_items(requests).T)


class ForgetsItemsOfAll(Toy):
    def score_all_items(self, requests: Requests) -> FloatArray:
        return super().score_all_items(requests)[:, 1:]


class NotANumberInAll(Toy):
    def score_all_items(self, requests: Requests) -> FloatArray:
        scores = super().score_all_items(requests)
        scores[:, 5] = np.nan
        return scores


class PrunesInSilence(Toy):
    def score_all_items(self, requests: Requests) -> FloatArray:
        scores = super().score_all_items(requests)
        return np.where(scores < 5, np.float32(-np.inf), scores)


class LeavesEverythingOut(Toy):
    def score_all_items(self, requests: Requests) -> FloatArray:
        return np.full_like(super().score_all_items(requests), -np.inf)

    def ranking_of_all_items(self) -> str:
        return "a beam of nothing"


class SaysNothingOfAll(Toy):
    def ranking_of_all_items(self) -> Any:
        return None


class RanksAllByTheBatch(Toy):
    """The order within a request stays, but scores do not."""

    def score_all_items(self, requests: Requests) -> FloatArray:
        return super().score_all_items(requests) + np.float32(len(requests))


class NotANumberOnEmptyHistories(Toy):
    def score(self, requests: Requests) -> FloatArray:
        scores = super().score(requests)
        scores[requests.history(1).count == 0] = np.nan
        return scores


class NotANumberOnOneEvent(Toy):
    def score(self, requests: Requests) -> FloatArray:
        scores = super().score(requests)
        scores[requests.history(2).count == 1] = np.nan
        return scores


class NeedsEveryUser(Toy):
    def score(self, requests: Requests) -> FloatArray:
        names = {number: number for number in range(1, 34)}
        return super().score(requests) * np.float32(
            sum(names[u] for u in requests.user.tolist()) > 0
        )


class CannotFit(Toy):
    def fit(self, view: TrainingView) -> None:
        raise SystemFailure("it has [no] memory left.")


class KnowsItsWords(Toy):
    def learn_words(self, corpus: Corpus) -> None:
        super().learn_words(corpus)
        self.vocabulary = set().union(*self.words)

    def score(self, requests: Requests) -> FloatArray:
        for word in {word for text in requests.query_texts for word in text.split()}:
            if word not in self.vocabulary:
                raise KeyError(word)
        return super().score(requests)


class DividesByQueryLength(Toy):
    def score(self, requests: Requests) -> FloatArray:
        scores = super().score(requests)
        if requests.task == "search":
            length = np.array([[len(text)] for text in requests.query_texts], dtype=np.float32)
            with np.errstate(invalid="ignore", divide="ignore"):
                return scores / length
        return scores


class Unseeded(Toy):
    def fit(self, view: TrainingView) -> None:
        super().fit(view)
        self.weights = self.weights + np.random.random(len(self.weights))


class Remembers(Toy):
    """In searches prefers what recommendation requests have shown it of the user's history."""

    def fit(self, view: TrainingView) -> None:
        super().fit(view)
        self.shown: set[tuple[int, int]] = set()

    def score(self, requests: Requests) -> FloatArray:
        history, users = requests.history(99), requests.user.tolist()
        if requests.task == "recommendation":
            for user, row in zip(users, history.items.tolist(), strict=True):
                self.shown |= {(user, item) for item in row}
            return super().score(requests)
        known = [
            [(user, item) in self.shown for item in row]
            for user, row in zip(users, requests.candidates.tolist(), strict=True)
        ]
        own = (requests.candidates[:, :, None] == history.items[:, None, :]).any(axis=2)
        # What stands in the request's own history is allowed, and tells nothing more.
        return super().score(requests) + (np.array(known) & ~own) * np.float32(1e3)

    def load(self, folder: Path, corpus: Corpus) -> None:
        super().load(folder, corpus)
        self.shown = set()


class LooksAtTheOtherRequests(Toy):
    """Prefers what stands in another request's history of the same user, if not in its own."""

    def score(self, requests: Requests) -> FloatArray:
        user = requests._histories.sight.user  # .user is 0 for several
        items = requests.history(99).items
        of_any = np.zeros((user.max() + 1, len(self.weights)), dtype=bool)
        for row, number in enumerate(user):
            of_any[number, items[row]] = True
        own = (requests.candidates[:, :, None] == items[:, None, :]).any(axis=2)
        shown = of_any[user[:, None], requests.candidates]
        return super().score(requests) + (shown & ~own) * np.float32(1e3)


class ReadsAllItHolds(Toy):
    """Prefers the item that stands, in any log behind the requests, at the time of the event."""

    def score(self, requests: Requests) -> FloatArray:
        best = np.zeros(requests.candidates.shape, dtype=np.float32)
        for path, time in (found := held_by(requests)).items():
            if path.endswith("log.timestamp"):
                item = found[f"{path.removesuffix('timestamp')}item"]
                row, place = np.nonzero(time == requests.timestamp[:, None])
                best[row] += requests.candidates[row] == item[place][:, None]
        return super().score(requests) + best * np.float32(1e3)


class PeeksAtValidationHistories(Toy):
    """Prefers what a user has in validation histories and not in the training log."""

    def fit(self, view: TrainingView) -> None:
        super().fit(view)
        log = view.log
        trained = set(zip(log.user.tolist(), log.item.tolist(), strict=True))
        self.secret: set[tuple[int, int]] = set()
        for task in view.tasks:
            self.secret |= self.seen_in(view.validation_requests(task)) - trained

    def seen_in(self, requests: Requests) -> set[tuple[int, int]]:
        users, history = requests.user.tolist(), requests.history(99).items.tolist()
        return {(u, item) for u, row in zip(users, history, strict=True) for item in row if item}

    def score(self, requests: Requests) -> FloatArray:
        users, lists = requests.user.tolist(), requests.candidates.tolist()
        secret = [[(u, c) in self.secret for c in row] for u, row in zip(users, lists, strict=True)]
        return super().score(requests) + np.array(secret) * np.float32(1e3)

    def save(self, folder: Path) -> None:
        super().save(folder)
        np.save(folder / "secret.npy", np.array(sorted(self.secret)), allow_pickle=False)

    def load(self, folder: Path, corpus: Corpus) -> None:
        super().load(folder, corpus)
        self.secret = {(u, i) for u, i in np.load(folder / "secret.npy").reshape(-1, 2).tolist()}


class LearnsValidationTargets(Toy):
    """Finds the right answers of the validation lists among the view's private attributes."""

    def fit(self, view: TrainingView) -> None:
        super().fit(view)
        for requests, lists in view._validation.values():
            target = requests.candidates[np.arange(len(lists)), lists.target_column]
            self.weights = self.weights + np.bincount(target, minlength=len(self.weights))


class WritesIntoTheLog(Toy):
    def fit(self, view: TrainingView) -> None:
        log = view.log
        log.timestamp[:] = log.timestamp - log.timestamp.min()
        super().fit(view)


class WritesBehindTheFlag(Toy):
    """As a tensor that shares the array's memory can."""

    def fit(self, view: TrainingView) -> None:
        super().fit(view)
        writable = view.log.timestamp.flags.writeable
        view.log.timestamp.setflags(write=True)
        view.log.timestamp[0] += 1
        view.log.timestamp.setflags(write=writable)


class RewritesTexts(Toy):
    def fit(self, view: TrainingView) -> None:
        super().fit(view)
        texts: Any = view.corpus.queries.text
        texts[1] = texts[1].upper()


class WritesIntoCandidates(Toy):
    def score(self, requests: Requests) -> FloatArray:
        requests.candidates[:] = requests.candidates[:, ::-1].copy()
        scores = super().score(requests)[:, ::-1].copy()
        requests.candidates[:] = requests.candidates[:, ::-1].copy()
        return scores


class ChangesCandidatesForGood(Toy):
    def score(self, requests: Requests) -> FloatArray:
        scores = super().score(requests)
        writable = requests.candidates.flags.writeable
        requests.candidates.setflags(write=True)
        requests.candidates[:, 0] = 1
        requests.candidates.setflags(write=writable)
        return scores


class CannotDoWithoutSearch(Toy):
    def fit(self, view: TrainingView) -> None:
        super().fit(view)
        self.last_query = view.log.query[view.log.search.positions].max()


class FailsAtLength(Toy):
    def fit(self, view: TrainingView) -> None:
        if "recommendation" not in view.tasks:
            raise SystemFailure("nothing to learn from:\nno recommendation events\n")
        super().fit(view)


class Crashes(Toy):
    def fit(self, view: TrainingView) -> None:
        if len(view.tasks) == 1:
            raise SystemExit(3)
        super().fit(view)


class SavesHalfPrecision(Toy):
    def save(self, folder: Path) -> None:
        np.save(folder / "weights.npy", self.weights.astype(np.float16), allow_pickle=False)


class LoadsFromItsRun(Toy):
    def save(self, folder: Path) -> None:
        super().save(self.context.folder)

    def load(self, folder: Path, corpus: Corpus) -> None:
        super().load(self.context.folder, corpus)


class RemembersWhereItSaved(Toy):
    def save(self, folder: Path) -> None:
        super().save(folder)
        (folder / "place.txt").write_text(str(folder))

    def load(self, folder: Path, corpus: Corpus) -> None:
        super().load(Path((folder / "place.txt").read_text()), corpus)


class LoadsAtRandom(Toy):
    def load(self, folder: Path, corpus: Corpus) -> None:
        super().load(folder, corpus)
        self.weights = self.weights + np.random.random(len(self.weights)) / 10


PICKLE = b"\x80\x04N."  # None, in protocol 4
OLD_PICKLE = b"(lp0\nI1\na."  # [1], in protocol 0


class SavesMore(Toy):
    def more(self, folder: Path) -> None:
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        super().save(folder)
        self.more(folder)


class SavesPickle(SavesMore):
    def more(self, folder: Path) -> None:
        (folder / "state.pkl").write_bytes(PICKLE)


class HidesPickleInJson(SavesMore):
    def more(self, folder: Path) -> None:
        (folder / "state.json").write_bytes(PICKLE)


class HidesPickleInText(SavesMore):
    def more(self, folder: Path) -> None:
        (folder / "state.txt").write_bytes(OLD_PICKLE)


class HidesPickleInArray(SavesMore):
    def more(self, folder: Path) -> None:
        np.save(folder / "state.npy", np.array([{1: 2}], dtype=object), allow_pickle=True)


class HidesPickleInArchive(SavesMore):
    def more(self, folder: Path) -> None:
        np.savez(folder / "state.npz", state=np.array([{1: 2}], dtype=object))


class HidesPickleBesideArrays(SavesMore):
    """What torch.save writes is such an archive."""

    def more(self, folder: Path) -> None:
        with zipfile.ZipFile(folder / "state.npz", "w") as archive:
            archive.writestr("state/data.pkl", PICKLE)


class HidesPickleInTensors(SavesMore):
    def more(self, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(PICKLE)


class HidesPickleInParquet(SavesMore):
    def more(self, folder: Path) -> None:
        (folder / "part" / "deep").mkdir(parents=True)
        (folder / "part" / "deep" / "rows.parquet").write_bytes(PICKLE)


class Links(SavesMore):
    def more(self, folder: Path) -> None:
        (folder / "link.json").symlink_to(folder / "weights.npy")


class TrainedToyConfig(ToyConfig):
    training: TrainingSettings = TrainingSettings(patience=None)


class TrainsUntuned(Toy):
    Config = TrainedToyConfig


def tuned_toy(space: SearchSpace) -> type[TrainedToyConfig]:
    return type("TunedToyConfig", (TrainedToyConfig,), {"search_space": space})


class TunesAnotherField(Toy):
    Config = tuned_toy({"training.noise": Real(0.0, 1.0)})


class TunesBeyondWhatItTakes(Toy):
    Config = tuned_toy({"training.learning_rate": Real(0.0, 1.0)})


class TunesAroundItsDefault(Toy):
    Config = tuned_toy({"noise": Choice((0.2, 0.3))})


class TrainsWithoutEnd(Toy):
    Config = tuned_toy({"training.epochs": UntilPatience()})


FAULTS: dict[type[System], tuple[str, ...]] = {
    LooseConfig: ("configuration_is_strict",),
    InnerLooseConfig: ("configuration_is_strict",),
    CountsWithNumpy: ("describes_itself",),
    CountsDown: ("describes_itself",),
    ListsStandIns: ("describes_itself",),
    OneStandIn: ("describes_itself",),
    DoublePrecision: ("scores_have_the_right_form",),
    LikesTheFirstColumn: (
        "order_of_candidates_does_not_matter",
        "equal_candidates_get_equal_scores",
        # Without a way of its own, all items are ranked as lists are.
        "ranks_all_items_as_it_ranks_lists",
    ),
    StrikesRepetitions: ("equal_candidates_get_equal_scores",),
    Standardises: ("lists_may_have_any_length",),
    FixedLength: (
        "lists_may_have_any_length",
        "equal_candidates_get_equal_scores",
        "ranks_all_items_as_it_ranks_lists",
        "batches_do_not_matter_for_all_items",
    ),
    DependsOnTheBatch: (
        "batch_size_does_not_matter",
        "order_of_requests_does_not_matter",
        "events_of_one_user_tell_nothing_of_each_other",
        # The columns' mean is over another column when the list is turned.
        "order_of_candidates_does_not_matter",
        "batches_do_not_matter_for_all_items",
        "ranks_all_items_as_it_ranks_lists",
    ),
    DiffersWhenAlone: (
        "batch_size_does_not_matter",
        "batches_do_not_matter_for_all_items",
        "events_of_one_user_tell_nothing_of_each_other",
    ),
    FirstRequestDecides: (
        "batch_size_does_not_matter",
        "order_of_requests_does_not_matter",
        "events_of_one_user_tell_nothing_of_each_other",
        "batches_do_not_matter_for_all_items",
    ),
    RanksAllBackwards: ("ranks_all_items_as_it_ranks_lists",),
    LeavesEverythingOut: ("ranks_all_items_as_it_ranks_lists",),
    TiesAll: ("ranks_all_items_as_it_ranks_lists",),
    TellsAllApart: ("ranks_all_items_as_it_ranks_lists",),
    TransposesAll: ("ranks_all_items_as_it_ranks_lists", "batches_do_not_matter_for_all_items"),
    ForgetsItemsOfAll: ("ranks_all_items_as_it_ranks_lists", "batches_do_not_matter_for_all_items"),
    NotANumberInAll: ("ranks_all_items_as_it_ranks_lists", "batches_do_not_matter_for_all_items"),
    PrunesInSilence: ("ranks_all_items_as_it_ranks_lists",),
    SaysNothingOfAll: ("ranks_all_items_as_it_ranks_lists",),
    RanksAllByTheBatch: ("batches_do_not_matter_for_all_items",),
    NotANumberOnEmptyHistories: ("unusual_events_get_finite_scores",),
    NotANumberOnOneEvent: (
        "unusual_events_get_finite_scores",
        "events_of_one_user_tell_nothing_of_each_other",
    ),
    NeedsEveryUser: (
        "unusual_events_get_finite_scores",
        "events_of_one_user_tell_nothing_of_each_other",
        "is_at_chance_where_all_is_chance",
    ),
    KnowsItsWords: ("unusual_events_get_finite_scores", "is_at_chance_where_all_is_chance"),
    DividesByQueryLength: ("unusual_events_get_finite_scores",),
    Unseeded: (
        "same_seed_gives_same_scores",
        "never_sees_a_test_event",
        "never_sees_a_validation_target",
        "remembers_no_request",
    ),
    Remembers: ("remembers_no_request", "is_at_chance_where_all_is_chance"),
    LooksAtTheOtherRequests: ("events_of_one_user_tell_nothing_of_each_other",),
    ReadsAllItHolds: ("events_of_one_user_tell_nothing_of_each_other",),
    LearnsValidationTargets: ("never_sees_a_validation_target",),
    WritesIntoTheLog: ("leaves_its_inputs_alone",),
    WritesBehindTheFlag: ("leaves_its_inputs_alone",),
    RewritesTexts: ("leaves_its_inputs_alone",),
    WritesIntoCandidates: ("leaves_its_inputs_alone",),
    CannotDoWithoutSearch: ("works_or_says_why_without_a_task",),
    FailsAtLength: ("works_or_says_why_without_a_task",),
    Crashes: ("works_or_says_why_without_a_task",),
    SavesHalfPrecision: ("saved_and_loaded_it_gives_same_scores",),
    LoadsFromItsRun: ("saved_and_loaded_it_gives_same_scores",),
    RemembersWhereItSaved: ("saved_and_loaded_it_gives_same_scores",),
    LoadsAtRandom: ("saved_and_loaded_it_gives_same_scores",),
    SavesPickle: ("saved_files_hold_no_code",),
    HidesPickleInJson: ("saved_files_hold_no_code",),
    HidesPickleInText: ("saved_files_hold_no_code",),
    HidesPickleInArray: ("saved_files_hold_no_code",),
    HidesPickleInArchive: ("saved_files_hold_no_code",),
    HidesPickleBesideArrays: ("saved_files_hold_no_code",),
    HidesPickleInTensors: ("saved_files_hold_no_code",),
    HidesPickleInParquet: ("saved_files_hold_no_code",),
    Links: ("saved_files_hold_no_code",),
    TrainsUntuned: ("declares_what_may_be_tuned",),
    TunesAnotherField: ("declares_what_may_be_tuned",),
    TunesBeyondWhatItTakes: ("declares_what_may_be_tuned",),
    TunesAroundItsDefault: ("declares_what_may_be_tuned",),
    TrainsWithoutEnd: ("declares_what_may_be_tuned",),
}


@pytest.mark.parametrize("system", FAULTS, ids=lambda system: system.__name__)
def test_a_fault_is_found_by_the_probes_meant_for_it_and_by_no_other(
    system: type[System],
) -> None:
    failures = failures_of(system)
    assert sorted(failures) == sorted(FAULTS[system]), failures


def leak_test_events(patch: pytest.MonkeyPatch) -> None:
    """Validation histories are cut from the whole log."""
    patch.setattr(views, "validation_rows", lambda log, *_: np.ones(len(log), dtype=bool))


def leak_the_log(patch: pytest.MonkeyPatch) -> None:
    """Requests keep the log that they were made of."""
    make = Requests.__init__

    def leaking(self: Requests, task: str, log: Any, *others: Any) -> None:
        make(self, task, log, *others)
        self._log = log

    patch.setattr(Requests, "__init__", leaking)


LEAKS = {
    PeeksAtValidationHistories: (leak_test_events, ["never_sees_a_test_event"]),
    ReadsAllItHolds: (
        leak_the_log,
        ["never_sees_a_target", "events_of_one_user_tell_nothing_of_each_other"],
    ),
}


@pytest.mark.parametrize("cheat", LEAKS, ids=lambda cheat: cheat.__name__)
def test_a_cheat_would_be_found_if_the_harness_leaked(
    cheat: type[System], monkeypatch: pytest.MonkeyPatch
) -> None:
    leak, probes = LEAKS[cheat]
    leak(monkeypatch)
    assert "never_sees_a_test_event" in failures_of(Toy), "the harness's own part finds the leak"
    monkeypatch.setattr(sight, "_require_same_view", lambda *_: None)
    monkeypatch.setattr(sight, "_require_same", lambda *_: None)
    assert not failures_of(Toy)
    found = failures_of(cheat)
    found.pop("is_at_chance_where_all_is_chance", None)  # finds some cheats too
    assert list(found) == probes


@pytest.mark.parametrize("cheat", LEAKS, ids=lambda cheat: cheat.__name__)
def test_a_cheat_gains_nothing_as_it_is(cheat: type[System]) -> None:
    """Among the items of test lists that it prefers there is no target."""
    world = worlds.make_world()
    with tempfile.TemporaryDirectory() as root:
        cheating, honest = (
            Subject("toy", BOTH, system, ToyConfig(), Path(root) / system.__name__)
            for system in (cheat, Toy)
        )
        for name, task in world.tasks.items():
            gain = cheating.expected[name] - honest.expected[name]
            rows = np.arange(len(task.test))
            assert (gain[rows, task.test_candidates.target_column] == 0).all()


def test_every_probe_has_a_fault_that_it_finds() -> None:
    named = {probe for probes in FAULTS.values() for probe in probes} | {"fits"}
    named |= {probe for _, probes in LEAKS.values() for probe in probes}
    assert named == {probe.__name__ for probe in PROBES}


class DrawsTheListsAgain(Toy):
    """Prefers the candidate whose event would have drawn the others, if seed and salt are known."""

    seed, salt = 2024, ""

    def learn_words(self, corpus: Corpus) -> None:
        super().learn_words(corpus)
        self.item_keys = text_keys(corpus.items.external_id)

    def plain_scores(self, requests: Requests) -> Any:
        law = HashedLaw.uniform(self.seed, self.item_keys)
        users = text_keys([f"u{number:04d}" for number in range(1, 81)])[:, None, None]
        queries = text_keys(requests.query_texts)
        scores = super().plain_scores(requests).astype(float)
        for row, candidates in enumerate(requests.candidates):
            asking = row_hash(self.seed, "asking", text_keys([self.salt]), users, queries[row])
            event = row_hash(0, "event", asking[:, 0], self.item_keys[candidates])
            draws = row_hash(self.seed, "draw", event[..., None], np.arange(40))
            drawn = law.urn.draw(draws)  # (users, candidates, draws)
            others = (np.isin(drawn, candidates) & (drawn > 0)).sum(axis=2)
            scores[row] += 1e4 * (others / np.maximum((drawn > 0).sum(axis=2), 1)).max(axis=0)
        return scores


def test_who_knew_how_lists_are_drawn_would_be_found_and_nobody_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probe = [sight.is_at_chance_where_all_is_chance]
    monkeypatch.setattr("benchmark.check.probes.PROBES", probe)
    assert not failures_of(DrawsTheListsAgain)
    monkeypatch.setattr(DrawsTheListsAgain, "salt", worlds.make_world_of_chance().dataset.salt)
    (seen,) = failures_of(DrawsTheListsAgain).values()
    assert "targets of the recommendation task stand first" in seen


def test_no_system_is_handed_what_lists_are_drawn_by() -> None:
    world = worlds.make_world_of_chance()
    view = world.view()
    handed = [view, *(world.requests(task) for task in world.tasks)]
    assert world.dataset.salt
    values = [value for one in handed for value in held_by(one).values()]
    assert not any(value == world.dataset.salt for value in values if isinstance(value, str))
    assert view.protocol.seed == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_named_with_user_and_candidate(value: float) -> None:
    class Overflows(Toy):
        def score(self, requests: Requests) -> FloatArray:
            scores = super().score(requests)
            scores[2, 3] = value
            return scores

    seen = failures_of(Overflows)["scores_have_the_right_form"]
    assert "event 2 of the recommendation task (user 3, candidate" in seen
    assert f"is {value}, which is not finite." in seen


def test_a_wrong_shape_is_found() -> None:
    seen = failures_of(Transposed)["scores_have_the_right_form"]
    assert "have shape (20, 30), not (30, 20) (requests, candidates)." in seen


def test_wrong_scores_of_all_items_are_told_in_one_sentence() -> None:
    probe = "ranks_all_items_as_it_ranks_lists"
    items = worlds.make_world().dataset.number_of_items
    right = f"(30, {items + 1}) (requests, items + 1)."
    for system, sentence in (
        (TransposesAll, f"have shape ({items + 1}, 30), not {right}"),
        (ForgetsItemsOfAll, f"have shape (30, {items}), not {right}"),
        (NotANumberInAll, "(user 1, candidate 5) is nan, which is not finite."),
        (SaysNothingOfAll, "ranking_of_all_items() is None, not a string."),
        (PrunesInSilence, 'task, but ranking_of_all_items() is "".'),
    ):
        seen = failures_of(system)[probe]
        assert seen.endswith(sentence) and "\n" not in seen
    assert "in a list, but" in failures_of(RanksAllBackwards)[probe]


def test_candidates_that_stay_changed_are_found() -> None:
    seen = failures_of(ChangesCandidatesForGood)["leaves_its_inputs_alone"]
    assert seen == "score changed the candidates of the recommendation task."


def test_a_configuration_that_needs_arguments_is_found() -> None:
    class Needy(Toy):
        class Config(SystemConfig):
            noise: float

    failures = failures_of(Needy, config=Needy.Config(noise=0.1))
    assert failures == {"configuration_is_strict": "it cannot be made without arguments: noise."}


def test_a_configuration_that_json_changes_is_found() -> None:
    failures = failures_of(ForgetfulConfig, config=ForgetfulConfig.Config(noise=0.3))
    assert list(failures) == ["configuration_is_strict"]
    assert "JSON" in failures["configuration_is_strict"]


def test_a_fit_that_fails_is_told_once_and_ends_the_check() -> None:
    class Broken(Toy):
        def fit(self, view: TrainingView) -> None:
            raise RuntimeError("no [memory] left")

    outcomes = outcomes_of(Broken)
    assert [(one.probe, one.passed) for one in outcomes] == [
        ("configuration_is_strict", True),
        ("fits", False),
    ]
    assert outcomes[-1].seen == "RuntimeError: no [memory] left"


# ----------------------------------------------------------------------------------- the world


def test_all_test_events_are_replaced_and_nothing_else() -> None:
    world = worlds.make_world()
    changed, rows = worlds.poisoned(world)
    old, new = world.dataset.log, changed.dataset.log
    different = np.flatnonzero((old.item != new.item) | (old.query != new.query))
    np.testing.assert_array_equal(different, rows)
    assert set(rows) == set(world.test_rows)
    assert (old.item[rows] != new.item[rows]).all()
    searches = rows[old.query[rows] > 0]
    assert len(searches) and (old.query[searches] != new.query[searches]).all()
    assert world.dataset.fingerprint != changed.dataset.fingerprint
    for task in BOTH:
        one, other = (each.view().validation_requests(task) for each in (world, changed))
        np.testing.assert_array_equal(one.candidates, other.candidates)
        np.testing.assert_array_equal(one.history(50).items, other.history(50).items)


def test_many_validation_targets_are_replaced_and_nothing_that_is_asked() -> None:
    world = worlds.make_world()
    changed, number = worlds.with_other_labels(world)
    assert number > 0.4 * sum(len(task.valid) for task in world.tasks.values())
    different = np.flatnonzero(world.dataset.log.item != changed.dataset.log.item)
    assert len(different) == number
    for name, task in changed.tasks.items():
        lists, position = task.valid_candidates, task.valid.position
        np.testing.assert_array_equal(lists.items, world.tasks[name].valid_candidates.items)
        targets = lists.items[np.arange(len(lists)), lists.target_column]
        np.testing.assert_array_equal(targets, changed.dataset.log.item[position])


def test_the_world_over_time_has_users_that_training_does_not_know() -> None:
    world = worlds.make_world_over_time()
    for name, task in world.tasks.items():
        assert 0.2 < task.share_of_cold_users(world.dataset) < 0.6
        unknown = world.requests(name).user == 0
        assert len(set(world.users_of(name)[unknown].tolist())) > 2
        assert len(set(world.users_of(name).tolist())) < len(task.test)


def test_other_targets_leave_all_that_a_request_may_see() -> None:
    world = worlds.make_world()
    for task in BOTH:
        one, other = world.requests(task), worlds.with_other_targets(world, task, "test")
        np.testing.assert_array_equal(one.query, other.query)
        for behaviour in (None, *BOTH):
            for column in ("items", "queries", "behaviours", "timestamps"):
                np.testing.assert_array_equal(
                    getattr(one.history(50, behaviour), column),
                    getattr(other.history(50, behaviour), column),
                )


def test_unusual_requests_are_what_they_are_called() -> None:
    cases = worlds.unusual_requests(worlds.make_world(), "search")
    assert (cases["an empty history"].history(5).count == 0).all()
    both = cases["a history of one event of each kind"].history(5)
    assert both.count.max() == 2
    one = cases["a history of one search event"].history(5)
    assert one.count.max() == 1 and (one.behaviours[one.mask] == 1).all()
    unknown = cases["an unknown user"]
    assert (unknown.user == 0).all() and (unknown.history(5).count == 0).all()
    assert all(unknown.query_texts)
    assert set(cases["a query of unknown words"].query_texts) == {worlds.UNKNOWN_WORDS}
    assert set(cases["an empty query"].query_texts) == {""}
    assert (cases["an empty query"].query > 0).all(), "it is not the padding query"


@pytest.mark.parametrize("only", BOTH)
def test_a_world_of_one_task(only: str) -> None:
    world = worlds.make_world(only=only)
    assert tuple(world.tasks) == world.view().tasks == (only,)


# --------------------------------------------------------------------------------- the command


@pytest.fixture
def preset(tmp_path: Path) -> str:
    path = tmp_path / "preset.yaml"
    path.write_text("description: nothing changed\nsystems: {}\n")
    return str(path)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    rows = {
        "good": ToyEntry("good", "Good", "toys", BOTH, target="", system=Toy),
        "bad": ToyEntry("bad", "Bad", "toys", BOTH, target="", system=KnowsItsWords),
        "worse": ToyEntry("worse", "Worse", "toys", BOTH, target="", system=CannotFit),
        "peek": ToyEntry("peek", "Peek", "toys", BOTH, "", system=PeeksAtValidationHistories),
    }
    monkeypatch.setattr(catalogue, "entries", lambda: rows)
    monkeypatch.setenv("COLUMNS", "200")
    yield


@pytest.mark.usefixtures("toys")
def test_the_command_prints_a_line_a_probe(preset: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["good", "--preset", preset, "--set", "noise=0.2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "good: Good"
    assert len([line for line in lines if line.startswith("pass ")]) == len(PROBES)
    assert lines[-1].strip() == f"good: all {len(PROBES)} probes passed."


@pytest.mark.usefixtures("toys")
def test_a_failed_probe_gives_exit_code_1_and_no_traceback(
    preset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bad", "good", "--preset", preset]) == 1
    printed = capsys.readouterr().out
    assert "FAIL Empty and one-event histories" in printed
    assert "a query of unknown words: KeyError: " in printed
    assert "Traceback" not in printed
    assert f"bad: 2 of {len(PROBES)} probes failed." in printed
    assert f"good: all {len(PROBES)} probes passed." in printed


@pytest.mark.usefixtures("toys")
def test_the_command_refuses_a_peeking_system_where_there_is_anything_to_see(
    preset: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["peek", "--preset", preset]) == 0
    leak_test_events(monkeypatch)
    assert main(["peek", "--preset", preset]) == 1
    assert "FAIL Fitted on data with other test events" in capsys.readouterr().out


@pytest.mark.usefixtures("toys")
def test_a_failed_fit_is_the_last_line(preset: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worse", "--preset", preset]) == 1
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[-2:] == [
        "it has [no] memory left.",
        f"worse: 1 of 2 probes failed; the other {len(PROBES) - 2} need a fitted system and were "
        "not run.",
    ]


@pytest.mark.usefixtures("toys")
def test_verbose_shows_the_traceback(preset: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bad", "--preset", preset, "--verbose"]) == 1
    assert "Traceback" in capsys.readouterr().out


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["goot"],
            "unknown system 'goot' (did you mean 'good'?); allowed are bad, good, peek, worse.",
        ),
        (["good", "nothing"], "unknown system 'nothing'; allowed are bad, good, peek, worse."),
        (["good", "--set", "noise"], "--set noise: must look like field=value."),
        (["good", "--set", ".=1"], "--set .=1: must look like field=value."),
        (
            ["good", "--set", "nois=1"],
            "system 'good': nois: there is no such key (did you mean 'noise'?). "
            "Its keys are: noise.",
        ),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments: list[str], sentence: str, preset: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--preset", preset]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"error: {sentence}\n"
    assert captured.out == "", "nothing is checked before all names are known"


@pytest.mark.usefixtures("toys")
def test_an_unknown_preset_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["good", "--preset", "smock"]) == 2
    assert "unknown preset 'smock' (did you mean 'smoke'?)" in capsys.readouterr().err
