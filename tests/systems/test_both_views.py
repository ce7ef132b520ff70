"""Every system ranks all items as it ranks lists, whoever asks, by whatever text, in any batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmark.check.all_items import (
    batches_do_not_matter_for_all_items,
    ranks_all_items_as_it_ranks_lists,
)
from benchmark.check.subject import Subject, require_equal, require_near, tolerance
from benchmark.check.world import unusual_requests
from benchmark.errors import BenchmarkError
from benchmark.kit.modules import TorchSystem
from benchmark.protocol.candidates import Candidates
from benchmark.protocol.questions import Past, Question, Questions
from benchmark.protocol.requests import Requests
from benchmark.protocol.task import known_users
from benchmark.systems import catalogue
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.catalogue import choose
from benchmark.systems.configuration import configure, load_preset
from benchmark.systems.contract import FloatArray

ENTRIES = catalogue.entries()
# A ceiling knows only the log that it was made for; its own tests compare its views.
CEILINGS = {name for name, entry in ENTRIES.items() if entry.is_ceiling}
SYSTEMS = sorted({*ENTRIES, "recbole:BERT4Rec", "recbole:SHAN"} - {"recbole"} - CEILINGS)

WITH_IDENTIFIERS = {"tiger", "lc-rec", "p5-cid", "dsi-qg", "webultron", "genret", "gensar"}
WITH_IDENTIFIERS |= {"letter", "joint-semantic-ids", "lc-rec-causal"}

SAYS = {name: "a beam of 40 identifiers" for name in WITH_IDENTIFIERS}
SAYS["liger"] = "5 proposals and the items without a training event"
"""What may be left out of the catalogue; nothing where a system is not named."""

# A beam of less than the catalogue, so that something is left out of its 120 items; and encoders
# as they are, since to fine-tune them takes longest by far.
CHANGES: dict[str, dict[str, Any]] = {
    **{name: {"catalogue": {"beam_size": 40}} for name in WITH_IDENTIFIERS},
    **{name: {"training": {"epochs": 0}} for name in ("e5", "bge")},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("systems")


@pytest.fixture(scope="module")
def subjects(root: Path) -> dict[str, Subject]:
    return {}


@pytest.fixture
def subject(request: pytest.FixtureRequest, root: Path, subjects: dict[str, Subject]) -> Subject:
    """The system of that name, fitted once in this file; artifacts are shared."""
    name: str = request.param
    if name not in subjects:
        preset, choice = load_preset("smoke"), choose(name)
        config = configure(choice, preset.overrides_for(name), CHANGES.get(name, {}))
        made = Subject(
            name,
            choice.entry.tasks,
            choice.entry.load(),
            config,
            root / name.replace(":", "-"),
            upstream=preset.upstream_of(choice.entry),
        )
        system = made.new_system(ArtifactStore(root / "artifacts"))
        system.context.folder.mkdir(parents=True)
        system.fit(made.world.view())
        vars(made)["fitted"] = system  # in the place of what it would fit itself
        subjects[name] = made
    return subjects[name]


def every_item(requests: Requests) -> Requests:
    """The same requests with a list of the whole catalogue."""
    items = np.arange(1, requests.number_of_items + 1, dtype=np.int32)
    return requests.with_candidates(np.tile(items, (len(requests), 1)))


@pytest.mark.parametrize("subject", SYSTEMS, indirect=True)
def test_all_items_are_ranked_as_lists_are(subject: Subject) -> None:
    assert ranks_all_items_as_it_ranks_lists(subject)
    assert batches_do_not_matter_for_all_items(subject)
    assert subject.fitted.ranking_of_all_items() == SAYS.get(subject.name, "")


@pytest.mark.parametrize("subject", SYSTEMS, indirect=True)
def test_who_has_no_history_gets_the_same_in_both_views(subject: Subject) -> None:
    for task in subject.tasks:
        cases = unusual_requests(subject.world, task)
        cases["no one unusual"] = subject.world.requests(task)
        for case, requests in cases.items():
            lists = subject.score(every_item(requests))
            there = subject.fitted.score_all_items(requests.without_candidates())[:, 1:]
            both = np.isfinite(lists) & np.isfinite(there)
            assert both.any(axis=1).all(), case
            if not subject.fitted.ranking_of_all_items():
                assert both.all(), case
            difference = np.where(both, lists, 0) - np.where(both, there, 0)
            assert (np.abs(difference) <= tolerance(lists)).all(), (subject.name, task, case)


@pytest.mark.parametrize("subject", SYSTEMS, indirect=True)
def test_permuted_candidates_give_the_same_ranks(subject: Subject) -> None:
    for name in subject.tasks:
        requests, lists = subject.world.requests(name), subject.world.tasks[name].test_candidates
        columns = np.tile(np.arange(lists.items.shape[1]), (len(requests), 1))
        order = np.random.default_rng(5).permuted(columns, axis=1)
        moved = np.take_along_axis(lists.items, order, axis=1)
        there = Candidates(moved, np.argmax(order == lists.target_column[:, None], axis=1))
        found = there.ranks(subject.score(requests.with_candidates(moved)))
        expected = lists.ranks(subject.expected[name])
        np.testing.assert_array_equal(found.above, expected.above)
        np.testing.assert_array_equal(found.tied, expected.tied)


def ranking(scores: FloatArray) -> NDArray[np.int64]:
    """(requests, items) the items, best first, the lowest id first of equal ones."""
    return np.argsort(-scores[:, 1:], axis=1, kind="stable")


@pytest.mark.parametrize(
    "subject",
    ["gru4rec", "fmlp-rec", "tem", "bge", "jsr", "unisar", "sesrec", "gensar", "dsi-qg"],
    indirect=True,
)
def test_one_or_two_threads_and_other_batches_give_the_same_ranks(subject: Subject) -> None:
    before, system = torch.get_num_threads(), subject.fitted
    for task in subject.tasks:
        requests = subject.world.requests(task).without_candidates()
        expected = ranking(system.score_all_items(requests))
        parts = [system.score_all_items(part) for _, part in requests.batches(11)]
        assert (ranking(np.concatenate(parts)) == expected).all()
        try:
            torch.set_num_threads(2)
            found = ranking(system.score_all_items(requests))
        finally:
            torch.set_num_threads(before)
        assert (found == expected).all()


@pytest.mark.parametrize("subject", ["lrurec"], indirect=True)
def test_a_torch_system_without_a_way_of_its_own_scores_some_items_at_a_time(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = subject.world.requests("recommendation").without_candidates()
    own = subject.fitted.score_all_items(requests)
    monkeypatch.setattr(type(subject.fitted), "score_all_batch", TorchSystem.score_all_batch)
    monkeypatch.setattr("benchmark.protocol.all_items._ITEMS_AT_ONCE", 50)
    blocked = subject.fitted.score_all_items(requests)
    assert np.isneginf(blocked[:, 0]).all()
    np.testing.assert_allclose(blocked[:, 1:], own[:, 1:], rtol=1e-5, atol=1e-5)


# Anybody's history and any query text

# They count queries, or look at none: a text that the data set lacks is refused.
WITHOUT_TEXTS = {
    "random",
    "popularity",
    "history-copy",
    "known-pair",
    "query-item-prior",
    "query-item-prior-seen-last",
}
SEARCHING = [name for name in SYSTEMS if "search" in choose(name).entry.tasks]
LONGEST = 100  # no history of the world is longer


def questions_of(subject: Subject) -> Questions:
    """What asks about the world of a subject."""
    world = subject.world
    return Questions(world.dataset, known_users(world.dataset, world.settings))


def asked_again(subject: Subject, task: str) -> list[Question]:
    """The test requests of a task as questions of their users, with what each may see."""
    requests, texts = subject.world.requests(task), subject.world.dataset.queries.text
    history = requests.history(LONGEST)
    columns = (history.items, history.queries, history.timestamps)
    return [
        Question(
            Past(
                items[mask].tolist(),
                [texts[query] for query in queries[mask].tolist()],
                times[mask].tolist(),
            ),
            int(user),
            query,
            int(time),
        )
        for items, queries, times, mask, user, query, time in zip(
            *columns,
            history.mask,
            subject.world.users_of(task),
            requests.query_texts,
            requests.timestamp,
            strict=True,
        )
    ]


@pytest.mark.parametrize("subject", SYSTEMS, indirect=True)
def test_a_question_gets_the_scores_of_the_same_test_request(subject: Subject) -> None:
    reads = subject.fitted.reads_query_texts
    for task in subject.tasks:
        requests = subject.world.requests(task)
        asked = questions_of(subject).requests(task, asked_again(subject, task), reads)
        assert asked.new_queries == ()
        np.testing.assert_array_equal(asked.user, requests.user)
        there = subject.score(asked.with_candidates(requests.candidates))
        require_equal(requests, subject.expected[task], there, "as a question")


@pytest.mark.parametrize("subject", SYSTEMS, indirect=True)
def test_known_texts_that_count_as_new_ones_are_answered_alike(subject: Subject) -> None:
    system = subject.fitted
    if not system.reads_query_texts or subject.name == "sesrec":  # which has vectors of query ids
        return
    for task in subject.tasks:
        requests, questions = subject.world.requests(task), questions_of(subject)
        vars(questions)["_number_of_query"] = {"": 0}
        asked = questions.requests(task, asked_again(subject, task), reads_query_texts=True)
        assert asked.new_queries
        assert asked.query_texts == requests.query_texts
        there = subject.score(asked.with_candidates(requests.candidates))
        require_near(requests, subject.expected[task], there, "with its texts as new ones")
        # Nothing of them is left: known texts are answered to the bit as before.
        require_equal(requests, subject.expected[task], subject.score(requests), "afterwards")


@pytest.mark.parametrize("subject", SEARCHING, indirect=True)
def test_a_text_never_seen_is_answered_by_what_it_says_or_refused(subject: Subject) -> None:
    known = subject.world.dataset.queries.text
    words = [text.split() for text in known[1:] if text]
    new = [" ".join([*words[0], *words[-2]]), " ".join([*words[3], *words[5]])]
    assert not set(new) & set(known)
    past = asked_again(subject, "search")[0].past
    questions = [Question(past, query=text) for text in (new[0], known[1], new[1])]
    system, made = subject.fitted, questions_of(subject)
    asked = made.requests("search", questions, system.reads_query_texts)
    assert asked.query_texts == [question.query for question in questions]
    if not system.reads_query_texts:
        with pytest.raises(BenchmarkError, match="does not read the texts of queries") as caught:
            system.recommend(asked, 5)
        assert new[0] in str(caught.value)
        assert subject.name in WITHOUT_TEXTS
        return
    assert subject.name not in WITHOUT_TEXTS
    scores = system.recommend(asked, 5)[1]
    alone = [made.requests("search", [question], True) for question in questions]
    for row, request in enumerate(alone):
        found = system.recommend(request, 5)[1]
        require_near(request, scores[row][None], found, "alone")
    found = subject.score(every_item(asked))
    first, _, last = np.where(np.isfinite(found), found, 0)
    assert np.abs(first - last).max() > 0


@pytest.mark.parametrize("subject", ["jsr", "gensar"], indirect=True)
def test_numbers_out_of_range_raise(subject: Subject) -> None:
    dataset, questions = subject.world.dataset, questions_of(subject)
    users, items = dataset.number_of_users, dataset.number_of_items

    def ask(item: int, user: int, query: str) -> Requests:
        past = Past([item], [""], [5])
        return questions.requests("search", [Question(past, user, query)], True)

    assert len(ask(items, users, "tea")) == 1
    for item, user in ((items + 1, 1), (-1, 1), (1, users + 1), (1, -1)):
        with pytest.raises(BenchmarkError, match="does not exist: numbers are 0 to"):
            ask(item, user, "tea")
    with pytest.raises(BenchmarkError, match="needs a query text"):
        ask(1, 1, "  ")
    task, log = subject.world.tasks["search"], dataset.log
    beyond = np.where(log.query > 0, len(dataset.queries) + 1, 0)
    with pytest.raises(BenchmarkError, match=r"query \d+ does not exist"):
        subject.world.asking(
            "search", task.test, replace(log, query=beyond), task.test_candidates.items
        )
