"""Every system ranks all items as it ranks lists, whoever asks and in whatever batch."""

from __future__ import annotations

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
from benchmark.check.subject import Subject, tolerance
from benchmark.check.world import unusual_requests
from benchmark.kit.modules import TorchSystem
from benchmark.protocol.candidates import Candidates
from benchmark.protocol.requests import Requests
from benchmark.systems import catalogue
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.catalogue import choose
from benchmark.systems.configuration import configure, load_preset
from benchmark.systems.contract import FloatArray

SYSTEMS = sorted({*catalogue.entries(), "recbole:BERT4Rec", "recbole:SHAN"} - {"recbole"})

WITH_IDENTIFIERS = {"tiger", "lc-rec", "p5-cid", "dsi-qg", "webultron", "genret", "gensar"}
WITH_IDENTIFIERS |= {"letter"}

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
