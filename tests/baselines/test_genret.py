"""GenRet: positions one by one, balanced codes, batches of a prefix, queries that find items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines.generative_retrieval import genret
from baselines.generative_retrieval.genret import (
    CodeWriter,
    GenRet,
    GenRetNetwork,
    LossTerms,
    LossWeights,
    tokens_of_codes,
)
from baselines.generative_retrieval.item_queries import ItemBatches, ItemQueries, PairBatches
from benchmark.data.dataset import Dataset
from benchmark.errors import SystemFailure
from benchmark.kit.decoding.ranking import candidate_scores
from benchmark.kit.decoding.t5 import encode
from benchmark.kit.identifiers.positions import (
    balance,
    balanced_codes,
    balanced_shares,
    centred_by_prefix,
    size_bounds,
    with_last_code,
)
from benchmark.kit.language_models.seq2seq import Seq2Seq
from benchmark.kit.text.tokens import Tokens
from benchmark.protocol.settings import ProtocolSettings
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.systems.view import TrainingView
from tests.baselines.checks import hit_rate
from tests.baselines.planted import Planted, planted_in, searched_things, small_t5
from tests.training import SEED, expect

ITEMS, USERS, ROUNDS = 30, 40, 10
SETTINGS = ProtocolSettings(negatives=9)
CODES = 8
QUICK: dict[str, Any] = {"batch_size": 16, "learning_rate": 0.005}
CONFIG: dict[str, Any] = {
    "backbone": small_t5(),
    "pseudo_queries": {
        "backbone": small_t5(),
        "queries_per_item": 2,
        "most_query_tokens": 6,
        "training": {"epochs": 1, "batch_size": 64},
    },
    "queries_per_item": 0,
    "codes": CODES,
    "positions": 2,
    "enough_alone": 1.0,
    "cluster_starts": 2,
    "first_warm_up": QUICK | {"epochs": 30},
    "warm_up": QUICK | {"epochs": 15},
    "main": QUICK | {"epochs": 30},
    "final": QUICK | {"epochs": 120, "validate_every": 0},
}
SHORT: dict[str, Any] = {
    stage: QUICK | {"epochs": 2} for stage in ("first_warm_up", "warm_up", "main", "final")
}


def planted_dataset() -> Dataset:
    return searched_things(USERS, ROUNDS, str)


@pytest.fixture(scope="module")
def planted() -> Planted:
    return planted_in(planted_dataset(), SETTINGS, "search")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("artifacts")
    return folder


def make(folder: Path, artifacts: Path, **changes: Any) -> GenRet:
    config = GenRet.Config(**{**CONFIG, **changes})
    return GenRet(config, RunContext(SEED, folder, ArtifactStore(artifacts)))


@pytest.fixture(scope="module")
def fitted(planted: Planted, artifacts: Path, tmp_path_factory: Any) -> GenRet:
    system = make(tmp_path_factory.mktemp("system"), artifacts)
    system.fit(planted[2])
    return system


@pytest.fixture(scope="module")
def short(planted: Planted, artifacts: Path, tmp_path_factory: Any) -> GenRet:
    """One that learned for a few steps only."""
    system = make(tmp_path_factory.mktemp("short"), artifacts, **SHORT)
    system.fit(planted[2])
    return system


# --------------------------------------------------------------------------------------- the system


@pytest.mark.training
def test_it_learns_which_item_a_query_means(planted: Planted, fitted: GenRet) -> None:
    dataset, task, _ = planted
    expect(hit_rate(fitted, dataset, task), above=0.9)


def test_saved_and_loaded_it_scores_the_same(
    planted: Planted, fitted: GenRet, artifacts: Path, tmp_path: Path
) -> None:
    dataset, task, view = planted
    fitted.save(tmp_path)
    loaded = make(tmp_path / "elsewhere", artifacts)
    loaded.load(tmp_path, view.corpus)
    requests = task.requests(dataset, "test")
    fitted.make_inputs(view.corpus)  # forgets what it computed in other batches
    np.testing.assert_array_equal(loaded.score(requests), fitted.score(requests))
    assert loaded.identifier_quality() == fitted.identifier_quality()
    assert {"tail_items", "entropy_1", "fan_out_2"} <= loaded.identifier_quality()["learned"].keys()
    assert loaded.number_of_parameters() == fitted.number_of_parameters()


@pytest.mark.training
def test_learned_positions_tell_more_and_more_items_apart(fitted: GenRet) -> None:
    codes = fitted.targets[1:] - CODES * np.arange(3)
    assert (codes >= 0).all() and (codes < CODES).all()
    shares = [len(np.unique(codes[:, :positions], axis=0)) for positions in (1, 2, 3)]
    assert CODES // 2 < shares[0] < shares[1] <= shares[2] == ITEMS
    quality = fitted.identifier_quality()["learned"]
    assert quality["sharing"] == 0.0
    expect(quality["codebook_use_1"], above=0.5)
    _, group, members = np.unique(codes[:, :2], axis=0, return_inverse=True, return_counts=True)
    assert quality["sharing_before"] == np.mean(members[group.reshape(-1)] > 1)
    expect(quality["balance_1"], above=0.5)
    assert quality["balance_1"] <= 1.0


def test_no_more_positions_than_are_needed(
    planted: Planted, artifacts: Path, tmp_path: Path
) -> None:
    system = make(tmp_path, artifacts, positions=3, enough_alone=0.0, **SHORT)
    system.fit(planted[2])
    assert system.targets.shape[1] == 1  # the counter alone
    assert len(system.network.tables.codebooks) == 1


@pytest.mark.parametrize("killed_in", ["position-1", "position-2-warm-up", "final"])
def test_killed_in_any_stage_it_ends_the_same(
    killed_in: str,
    planted: Planted,
    short: GenRet,
    artifacts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And positions that were finished are not learned again."""
    dataset, task, view = planted
    requests = task.requests(dataset, "test")
    trained: list[str] = []
    train = genret.train

    def dies(*arguments: Any, name: str, **named: Any) -> Any:
        trained.append(name)
        if trained.count(killed_in) == 1 and name == killed_in:
            raise KeyboardInterrupt
        return train(*arguments, name=name, **named)

    monkeypatch.setattr(genret, "train", dies)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, artifacts, **SHORT).fit(view)
    resumed = make(tmp_path, artifacts, **SHORT)
    resumed.fit(view)
    np.testing.assert_array_equal(resumed.score(requests), short.score(requests))
    assert trained.count("position-1") == (2 if killed_in == "position-1" else 1)
    assert trained.count("position-2-warm-up") == (1 if killed_in != "position-2-warm-up" else 2)
    assert not (tmp_path / "checkpoint" / "positions").exists()


def test_codes_of_finished_positions_stay(
    planted: Planted, artifacts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so do their codebooks; a stage trains the T5, the inputs so far and its own codebook."""
    before: dict[str, dict[str, torch.Tensor]] = {}
    train = genret.train

    def noted(network: GenRetNetwork, *arguments: Any, name: str, **named: Any) -> Any:
        start = {key: weight.clone() for key, weight in network.state_dict().items()}
        result = train(network, *arguments, name=name, **named)
        before[name] = {
            key: weight
            for key, weight in network.state_dict().items()
            if not torch.equal(weight, start[key])
        }
        return result

    monkeypatch.setattr(genret, "train", noted)
    system = make(tmp_path, artifacts, **SHORT)
    system.fit(planted[2])
    tables = {
        name: sorted(key.removeprefix("tables.") for key in changed if key.startswith("tables."))
        for name, changed in before.items()
    }
    assert tables == {
        "position-1-warm-up": ["inputs.0"],
        "position-1": ["codebooks.0", "inputs.0"],
        "position-2-warm-up": ["inputs.0", "inputs.1"],
        "position-2": ["codebooks.1", "inputs.0", "inputs.1"],
        "final": ["codebooks.2", "inputs.0", "inputs.1", "inputs.2"],
    }
    assert all("t5.shared.weight" in changed for changed in before.values())


def test_the_final_stage_can_go_through_all_pairs(
    planted: Planted, short: GenRet, artifacts: Path, tmp_path: Path
) -> None:
    dataset, task, view = planted
    pairs = make(tmp_path, artifacts, **SHORT, final_instances="pairs", real_pairs="every_event")
    pairs.fit(view)
    np.testing.assert_array_equal(pairs.targets[:, :1], short.targets[:, :1])
    requests = task.requests(dataset, "test")
    assert (pairs.score(requests) != short.score(requests)).any()


def test_without_searches_it_says_so(planted: Planted, artifacts: Path, tmp_path: Path) -> None:
    view = TrainingView(planted[0], {"search": planted[1]}, SETTINGS)
    view._events = {}
    with pytest.raises(SystemFailure, match="no search events"):
        make(tmp_path, artifacts).fit(view)


# --------------------------------------------------------------------------------------- the losses


@pytest.fixture
def network() -> GenRetNetwork:
    torch.manual_seed(0)
    sizes = {"vocab_size": 16, "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
    return GenRetNetwork(Seq2Seq.of_config(sizes | {"dropout_rate": 0.0}).t5, 4, 3)


def batch_of(codes: list[list[int]]) -> dict[str, torch.Tensor]:
    ids = torch.randint(1, 16, (len(codes), 5), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids, dtype=torch.bool)
    return {
        "text_ids": ids,
        "text_mask": mask,
        "query_ids": ids.flip(1),
        "query_mask": mask,
        "codes": torch.tensor(codes, dtype=torch.long).reshape(len(codes), -1),
    }


def test_the_first_position_has_no_earlier_codes_to_keep(network: GenRetNetwork) -> None:
    terms = network.terms(batch_of([[], [], []]))
    assert float(terms.earlier) == 0.0 and float(terms.retrieval.detach()) > 0.0
    assert float(network.terms(batch_of([[1], [2], [3]])).earlier.detach()) > 0.0


def test_the_total_weighs_the_terms() -> None:
    one, two, three, four = torch.tensor([1.0, 2.0, 3.0, 4.0])
    terms = LossTerms(one, two, three, four)
    weights = LossWeights(retrieval=0.5, commitment=1.0, reconstruction=0.25)
    assert float(terms.total(weights)) == 3.5


def test_a_position_sees_the_codes_before_it_only(network: GenRetNetwork) -> None:
    network.eval()
    batch = batch_of([[1, 2], [1, 3]])
    ids, mask = batch["text_ids"][:1].expand(2, -1), batch["text_mask"]
    states = network(ids, mask, batch["codes"])
    torch.testing.assert_close(states[0, :2], states[1, :2])
    assert (states[0, 2] - states[1, 2]).abs().max() > 1e-3


def test_the_final_stage_learns_every_position_by_text_and_query(network: GenRetNetwork) -> None:
    """One more position than learned codes, which the released stage stumbles over."""
    loss = network.whole_loss(batch_of([[1, 2, 3], [0, 1, 2]]))
    loss.backward()
    for codebook in network.tables.codebooks:
        assert codebook.grad is not None and codebook.grad.abs().max() > 0
    uniform = 2 * np.log(4)
    assert 0.3 * uniform < float(loss.detach()) < 10 * uniform


def test_code_one_does_not_end_an_identifier(network: GenRetNetwork) -> None:
    """With T5's end of a text, 1, the original's search loses all of these but the last."""
    network.eval()
    codes = np.array([[1, 0, 2], [1, 1, 1], [0, 1, 3], [2, 3, 1]])
    tokens = tokens_of_codes(codes, 4)[1:]
    assert tokens.tolist() == [[1, 4, 10], [1, 5, 9], [0, 5, 11], [2, 7, 9]]
    batch = batch_of([[], []])
    writer = CodeWriter(network)
    with torch.inference_mode():
        encoded = encode(writer, {"input_ids": batch["query_ids"]}, batch["query_mask"])
        found = candidate_scores(writer, encoded, np.stack([tokens, tokens]), beam_size=4)
        for row, code in enumerate(codes):
            prefix = torch.from_numpy(np.stack([code[:-1]] * 2))
            states = network(batch["query_ids"], batch["query_mask"], prefix)
            logs = network.tables.logits(states).log_softmax(dim=2)
            torch.testing.assert_close(
                found[:, row], logs[:, np.arange(3), code].sum(dim=1), rtol=1e-4, atol=1e-5
            )


# ---------------------------------------------------------------------------------------- the codes


def test_balanced_codes_are_spread_where_the_highest_scores_are_not() -> None:
    """All rows like code 0 best; they get the codes that they like more than the others do."""
    scores = torch.full((4, 4), 0.0)
    scores[:, 0] = 5.0
    scores += torch.eye(4)
    assert scores.argmax(dim=1).tolist() == [0, 0, 0, 0]
    assert balanced_codes(scores).tolist() == [0, 1, 2, 3]
    shares = balanced_shares(scores)
    torch.testing.assert_close(shares.sum(dim=0), torch.full((4,), 0.25, dtype=torch.float64))


def test_states_of_every_prefix_get_the_common_mean() -> None:
    states = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    prefixes = np.repeat([[0, 1], [2, 0], [0, 2]], 4, axis=0)
    centred = centred_by_prefix(states, prefixes)
    for group in range(3):
        own = slice(4 * group, 4 * group + 4)
        np.testing.assert_allclose(centred[own].mean(axis=0), states.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(
            centred[own] - centred[own][0], states[own] - states[own][0], atol=1e-5
        )


@pytest.mark.parametrize(
    ("rows", "codes", "expected"),
    [(500, 16, (4, 32)), (12_101, 256, (23, 512)), (700, 16, (4, 66)), (20, 16, (0, 32))],
)
def test_cluster_sizes_can_hold_all_items(rows: int, codes: int, expected: tuple[int, int]) -> None:
    smallest, largest = size_bounds(rows, codes)
    assert (smallest, largest) == expected
    assert smallest * codes <= rows <= largest * codes


def test_the_last_code_counts_equal_items_from_one_and_begins_anew() -> None:
    codes = np.array([[2], [1], [2], [2], [2]])
    assert with_last_code(codes, 4)[:, 1].tolist() == [1, 1, 2, 3, 0]
    assert with_last_code(codes, 3)[:, 1].tolist() == [1, 1, 2, 0, 1]


def test_balance_is_one_for_even_use_and_falls_with_heaps() -> None:
    assert balance(np.array([0, 1, 2, 0, 1, 2]), 3) == 1.0
    assert balance(np.array([0, 0, 0, 0, 0, 0]), 3) == pytest.approx(1 - 8 / 12)


# ---------------------------------------------------------------------------------------- instances


def instances(prefixes: np.ndarray[Any, Any], without_queries: tuple[int, ...] = ()) -> ItemBatches:
    """Items whose text is their number and whose queries are 100 and 200 more."""
    items = len(prefixes)
    offsets = np.arange(items + 2)
    texts = Tokens(np.arange(items + 1, dtype=np.int32), offsets, 0)
    asking = np.array([i for i in range(1, items + 1) if i not in without_queries])
    ids = np.concatenate([100 + np.arange(items + 1), 200 + np.arange(items + 1)])
    tokens = Tokens(ids.astype(np.int32), np.arange(len(ids) + 1), 0)
    row = np.concatenate([asking, items + 1 + asking])
    queries = ItemQueries.of_pairs(tokens, row, np.tile(asking, 2), items)
    return ItemBatches(texts, queries, prefixes, prefixes, 1)


def test_a_batch_holds_items_of_one_prefix() -> None:
    prefixes = np.repeat([[0], [1], [2]], 20, axis=0)
    random = np.random.default_rng(0)
    some = instances(prefixes)
    batches = some.batches(8, random)
    assert len(batches) == some.steps(8) == 60 // 8
    for rows in batches:
        assert len(np.unique(rows)) == 8
        assert len(np.unique(prefixes[rows])) == 1
    first = [rows.tolist() for _ in range(50) for rows in some.batches(8, random)]
    assert len(set(np.concatenate(first).tolist())) == 60


def test_a_small_prefix_is_whole_and_others_fill_the_batch() -> None:
    prefixes = np.array([[0]] * 3 + [[1]] * 30)
    some = instances(prefixes)
    found = some._around(1, 8, np.random.default_rng(0))
    assert len(np.unique(found)) == 8 and {0, 1, 2} <= set(found.tolist())
    everything = some._around(1, 33, np.random.default_rng(0))
    assert sorted(everything.tolist()) == list(range(33))


def test_without_a_prefix_an_epoch_is_a_shuffle() -> None:
    some = instances(np.zeros((30, 0), dtype=np.int64))
    batches = some.batches(8, np.random.default_rng(0))
    rows = np.concatenate(batches)
    assert [len(batch) for batch in batches] == [8, 8, 8] and len(np.unique(rows)) == 24
    assert len(some.batches(100, np.random.default_rng(0))[0]) == 30


def test_every_pair_comes_once_an_epoch() -> None:
    some = instances(np.arange(6)[:, None], without_queries=(2, 5))
    pairs = PairBatches(some.texts, some.queries, np.arange(6)[:, None], 1)
    batch = pairs.batch(np.arange(len(pairs)), np.random.default_rng(0))
    texts, queries = batch["text_ids"][:, 0], batch["query_ids"][:, 0]
    assert texts.tolist() == [1, 1, 3, 3, 4, 4, 6, 6]
    assert queries.tolist() == [101, 201, 103, 203, 104, 204, 106, 206]
    assert batch["codes"][:, 0].tolist() == [0, 0, 2, 2, 3, 3, 5, 5]


def test_each_item_comes_with_its_text_and_one_of_its_queries() -> None:
    some = instances(np.zeros((6, 0), dtype=np.int64), without_queries=(2, 5))
    assert some.items.tolist() == [1, 3, 4, 6]
    seen = set()
    for seed in range(10):
        batch = some.batch(np.arange(4), np.random.default_rng(seed))
        assert batch["text_ids"].tolist() == [[1, 1], [3, 1], [4, 1], [6, 1]]
        drawn = batch["query_ids"][:, 0].numpy()
        assert (drawn % 100 == some.items).all()
        seen.update(drawn.tolist())
    assert len(seen) == 8
