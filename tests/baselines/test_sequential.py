"""The sequential systems: they learn, they score anybody, and they leave the process alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from baselines.catalog import ENTRIES
from baselines.sequential.base import AllPositionTargets, LastPositionTargets, SequentialSystem
from baselines.sequential.gru4rec import GRU4Rec
from baselines.sequential.recbole_classes import USER_TABLES, model_class
from baselines.sequential.recbole_model import MODELS, RecBoleModel
from baselines.sequential.sasrec import SASRec
from baselines.sequential.sasrec_bce import SASRecBCE
from benchmark.errors import BenchmarkError, SystemFailure
from benchmark.kit.modules import copy_of_state
from benchmark.kit.training import TrainingSettings
from benchmark.protocol.requests import Requests
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import build_tasks
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.systems.view import TrainingView
from tests.baselines.checks import check_scores_are_the_same, hit_rate, loaded_into
from tests.baselines.planted import Planted, along_one_cycle, dataset_of_sequences, planted_in
from tests.golden.loading import requests_for
from tests.training import SEED, expect

ITEMS, USERS, EVENTS = 120, 100, 12
SETTINGS = ProtocolSettings(negatives=19)

# One item of an unknown user, an empty history, a full window, two items.
HISTORIES = np.array([[5, 0, 0, 0], [0, 0, 0, 0], [7, 3, 9, 11], [2, 4, 0, 0]])
ASKING_USERS = np.array([0, 1, 2, USERS])
EMPTY, NOT_EMPTY = 1, [0, 2, 3]


@pytest.fixture(scope="module")
def planted() -> Planted:
    return planted_in(along_one_cycle(USERS, ITEMS, EVENTS), SETTINGS)


def make(kind: Any, folder: Path, **config: Any) -> SequentialSystem:
    return kind(kind.Config(**config), RunContext(SEED, folder, ArtifactStore(folder)))


QUICK = TrainingSettings(epochs=15, batch_size=64, learning_rate=0.01, validate_every=0)
ONE_EPOCH = TrainingSettings(epochs=1, batch_size=256, validate_every=0)
SMALL_GRU = {"embedding_size": 32, "hidden_size": 32, "history_length": 8}
SMALL_SASREC = {"hidden_size": 32, "inner_size": 32, "n_layers": 1, "history_length": 8}
SMALL_SASREC |= {"hidden_dropout_prob": 0.1, "attn_dropout_prob": 0.1}
SMALL_BCE = {"hidden_units": 32, "num_blocks": 1, "dropout_rate": 0.1, "history_length": 10}

LEARNERS = {
    "gru4rec": (GRU4Rec, SMALL_GRU),
    "gru4rec, sequences": (GRU4Rec, SMALL_GRU | {"training_instances": "sequences"}),
    "sasrec": (SASRec, SMALL_SASREC),
    "sasrec, sequences": (SASRec, SMALL_SASREC | {"training_instances": "sequences"}),
    "sasrec-bce": (SASRecBCE, SMALL_BCE),
    "sasrec-bce, pre-norm": (SASRecBCE, SMALL_BCE | {"norm_first": True}),
}


@pytest.mark.training
@pytest.mark.parametrize("name", LEARNERS)
def test_the_planted_next_item_is_learned(name: str, planted: Planted, tmp_path: Path) -> None:
    kind, config = LEARNERS[name]
    training = QUICK
    if kind is SASRecBCE:  # a step of eight users holds about as many targets
        training = QUICK.model_copy(update={"batch_size": 8})
    dataset, task, view = planted
    system = make(kind, tmp_path, **config, training=training)
    system.fit(view)
    expect(hit_rate(system, dataset, task), above=0.9)


@pytest.mark.training
@pytest.mark.parametrize("name", ["gru4rec", "sasrec, sequences"])
def test_the_planted_next_item_is_learned_by_pairs(
    name: str, planted: Planted, tmp_path: Path
) -> None:
    """One negative of 120 items says less than the whole softmax, so the bar is HR@5."""
    kind, config = LEARNERS[name]
    system = make(kind, tmp_path, **config, loss="BPR", training=QUICK)
    dataset, task, view = planted
    system.fit(view)
    expect(hit_rate(system, dataset, task, cutoff=5), above=0.9)


@pytest.mark.parametrize("name", ["gru4rec", "sasrec", "sasrec-bce"])
def test_a_loaded_system_scores_alike_to_the_bit(
    name: str, planted: Planted, tmp_path: Path
) -> None:
    dataset, task, view = planted
    system = trained_briefly(name, tmp_path / "run", view)
    kind, config = LEARNERS[name]
    empty = make(kind, tmp_path / "other", **config, training=ONE_EPOCH)
    loaded = loaded_into(empty, system, tmp_path, view.corpus)
    asked = task.requests(dataset, "test"), requests_of_anybody()
    check_scores_are_the_same(system, loaded, *asked)


def trained_briefly(name: str, folder: Path, view: TrainingView) -> SequentialSystem:
    kind, config = LEARNERS[name]
    system = make(kind, folder, **config, training=ONE_EPOCH)
    system.fit(view)
    return system


def requests_of_anybody() -> Requests:
    """The histories above, with the whole catalogue as candidates."""
    everything = np.tile(np.arange(1, ITEMS + 1), (len(HISTORIES), 1))
    return requests_for(HISTORIES, everything, ASKING_USERS)


@pytest.mark.parametrize("name", ["gru4rec", "sasrec", "sasrec-bce"])
def test_an_empty_history_is_answered_with_popularity(
    name: str, planted: Planted, tmp_path: Path
) -> None:
    _, _, view = planted
    scores = trained_briefly(name, tmp_path, view).score(requests_of_anybody())
    assert np.isfinite(scores).all()
    counts = np.bincount(view.log.item, minlength=ITEMS + 1)[1:]
    np.testing.assert_array_equal(scores[EMPTY], counts)
    assert not any(np.array_equal(scores[row], counts) for row in NOT_EMPTY)


@pytest.mark.parametrize("kind", [GRU4Rec, SASRec])
@pytest.mark.parametrize("loss", ["CE", "BPR"])
def test_the_loss_of_a_sequence_is_the_sum_of_its_prefixes(
    kind: Any, loss: str, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    sequences = [random.permutation(30)[:length].tolist() for length in (4, 6, 9, 3)]
    dataset = dataset_of_sequences([[item + 1 for item in one] for one in sequences], 30)
    tasks = build_tasks(dataset, ProtocolSettings(negatives=5))
    view = TrainingView(dataset, tasks, ProtocolSettings(negatives=5))
    dropout = {name: 0.0 for name in kind.Config.model_fields if "dropout" in name}
    system = make(kind, tmp_path, history_length=8, loss=loss, **dropout)
    system.model = system.seeded_build(view.corpus)

    prefixes, windows = LastPositionTargets(view, 8), AllPositionTargets(view, 8)
    by_prefix = prefixes.batch(np.arange(len(prefixes)), random)
    by_window = windows.batch(np.arange(len(windows)), random)
    for batch in (by_prefix, by_window):
        # A negative that is a function of the target, so that both batches hold the same.
        batch["negatives"] = torch.where(batch["targets"] > 0, batch["targets"] % 30 + 1, 0)
    targets = [int((batch["targets"] > 0).sum()) for batch in (by_prefix, by_window)]
    assert targets[0] == targets[1] == len(prefixes) == 1 + 3 + 6 + 0

    losses, gradients = [], []
    for batch in (by_prefix, by_window):
        system.model.zero_grad()
        value = system.loss(batch)
        value.backward()
        losses.append(value.item())
        gradients.append({k: p.grad.clone() for k, p in system.model.named_parameters()})
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for name in gradients[0]:
        torch.testing.assert_close(gradients[0][name], gradients[1][name], rtol=1e-4, atol=1e-6)


def test_a_step_holds_equally_many_targets_in_both_modes(
    planted: Planted,
) -> None:
    _, _, view = planted
    random = np.random.default_rng(0)
    windows = AllPositionTargets(view, 8)
    batches = windows.batches(100, random)
    assert len(batches) == windows.steps(100)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(windows)))
    sizes = [int((windows.batch(rows, random)["targets"] > 0).sum()) for rows in batches]
    assert sum(sizes) == len(LastPositionTargets(view, 8))
    assert max(sizes) < 100 + 8


def test_equal_seeds_give_equal_weights(planted: Planted, tmp_path: Path) -> None:
    """SINE draws its weights by numpy's global generator, BERT4Rec its masks by Python's."""
    _, _, view = planted
    for model in ("SINE", "BERT4Rec"):
        states = []
        for attempt in ("one", "two"):
            np.random.seed(len(attempt) + len(states))
            folder = tmp_path / model / attempt
            system = make(RecBoleModel, folder, model=model, history_length=8, training=ONE_EPOCH)
            system.fit(view)
            states.append(copy_of_state(system.model))
        for name in states[0]:
            torch.testing.assert_close(states[0][name], states[1][name], rtol=0, atol=0)


@pytest.mark.parametrize("model", MODELS)
def test_every_recbole_model_trains_and_scores(
    model: str, planted: Planted, tmp_path: Path
) -> None:
    dataset, task, view = planted
    three_steps = TrainingSettings(epochs=1, batch_size=270, validate_every=0)
    config = {"model": model, "history_length": 8, "training": three_steps}
    system = make(RecBoleModel, tmp_path / "run", **config)
    before = copy_of_state(system.seeded_build(view.corpus))
    system.fit(view)
    after = copy_of_state(system.model)
    assert any(not torch.equal(before[name], after[name]) for name in before)

    requests = requests_of_anybody()
    scores = system.score(requests)
    assert np.isfinite(scores).all()
    saved = tmp_path / "saved"
    saved.mkdir()
    system.save(saved)
    loaded = make(RecBoleModel, tmp_path / "other", **config)
    loaded.load(saved, view.corpus)
    np.testing.assert_array_equal(loaded.score(requests), scores)
    np.testing.assert_array_equal(
        loaded.score(task.requests(dataset, "test")), system.score(task.requests(dataset, "test"))
    )


@pytest.mark.parametrize("model", ["Caser", "FOSSIL", "FPMC", "SHAN", "TransRec"])
def test_the_unknown_users_vector_is_zero(model: str, planted: Planted, tmp_path: Path) -> None:
    three_steps = TrainingSettings(epochs=1, batch_size=270, validate_every=0)
    system = make(RecBoleModel, tmp_path, model=model, history_length=8, training=three_steps)
    system.fit(planted[2])
    network: Any = system.model.network
    (table,) = [getattr(network, name) for name in USER_TABLES if hasattr(network, name)]
    assert not table.weight[0].any() and table.weight[1:].any(dim=1).all()


@pytest.mark.parametrize(
    "model", [m for m in MODELS if m not in ("CORE", "GRU4RecCPR", "SASRecCPR")]
)
def test_scores_are_those_of_recboles_predict(model: str, planted: Planted, tmp_path: Path) -> None:
    """CORE's ``predict`` forgets a normalisation; the CPR models have none."""
    from recbole.data.interaction import Interaction

    _, _, view = planted
    system: Any = make(RecBoleModel, tmp_path, model=model, history_length=8)
    system.model = system.seeded_build(view.corpus).eval()
    histories, users = HISTORIES[NOT_EMPTY], ASKING_USERS[NOT_EMPTY]
    candidates = np.tile(np.arange(1, 11), (len(histories), 1))
    scores = system.score(requests_for(histories, candidates, users))
    wide = torch.from_numpy(np.pad(np.repeat(histories, 10, axis=0), ((0, 0), (0, 4))))
    lengths = (wide > 0).sum(dim=1)
    shift = torch.stack([row.roll(8 - int(n)) for row, n in zip(wide, lengths, strict=True)])
    fields = {
        "user_id": torch.from_numpy(np.repeat(users, 10)),
        "item_id_list": wide,
        "Inverse_item_id_list": shift,
        "item_length": lengths,
        "item_id": torch.from_numpy(candidates.reshape(-1)),
    }
    with torch.inference_mode():
        expected = system.model.network.predict(Interaction(fields)).view(len(histories), 10)
    np.testing.assert_allclose(scores, expected.numpy(), atol=2e-5)


def test_the_index_page_lists_these_recbole_models() -> None:
    row = next(entry for entry in ENTRIES if entry.name == "recbole")
    assert row.variants == MODELS
    for name in (*MODELS, *row.refused_variants):
        assert model_class(name).__name__ == name


def test_a_model_that_needs_side_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="unknown model 'S3Rec'"):
        make(RecBoleModel, tmp_path, model="S3Rec")


def test_an_unknown_parameter_is_refused(planted: Planted, tmp_path: Path) -> None:
    system = make(RecBoleModel, tmp_path, model="NARM", parameters={"hidden_sise": 8})
    with pytest.raises(BenchmarkError, match="did you mean 'hidden_size'"):
        system.fit(planted[2])


def test_a_parameter_changes_the_model(planted: Planted, tmp_path: Path) -> None:
    system = make(RecBoleModel, tmp_path, model="NARM", parameters={"hidden_size": 8})
    assert system.build(planted[2].corpus).network.hidden_size == 8


def test_a_catalogue_too_small_for_a_model_is_refused(tmp_path: Path) -> None:
    dataset = dataset_of_sequences([[1, 2, 3, 4, 5]], 9)
    tasks = build_tasks(dataset, ProtocolSettings(negatives=2))
    view = TrainingView(dataset, tasks, ProtocolSettings(negatives=2))
    with pytest.raises(BenchmarkError, match="only 9 items"):
        make(RecBoleModel, tmp_path, model="SASRecCPR").fit(view)


@pytest.mark.parametrize("kind", [GRU4Rec, SASRec, SASRecBCE, RecBoleModel])
def test_nothing_to_learn_from_is_a_failure(kind: Any, tmp_path: Path) -> None:
    dataset = dataset_of_sequences([[1, 2, 3], [4, 5, 6]], 20)
    tasks = build_tasks(dataset, ProtocolSettings(negatives=5))
    view = TrainingView(dataset, tasks, ProtocolSettings(negatives=5))
    with pytest.raises(SystemFailure, match="no training instances"):
        make(kind, tmp_path).fit(view)


def test_heads_that_do_not_divide_the_size_are_refused(planted: Planted, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="SASRec"):
        make(SASRec, tmp_path, hidden_size=10, n_heads=3).build(planted[2].corpus)


def test_building_a_model_leaves_the_process_alone(
    planted: Planted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import yaml

    model_class("SASRec")  # the import itself loads scikit-learn, which sets KMP_* variables
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    monkeypatch.setattr(sys, "argv", ["benchmark", "--hidden_size=8", "--gpu_id=7", "nonsense"])
    environment, argv = dict(os.environ), list(sys.argv)
    numpy_names, numpy_state = set(vars(np)), np.random.get_state()[1].copy()
    resolvers = {key: list(value) for key, value in yaml.FullLoader.yaml_implicit_resolvers.items()}

    system = make(RecBoleModel, tmp_path / "run", model="SASRec")
    network = system.build(planted[2].corpus).network
    make(RecBoleModel, tmp_path / "run", model="FEARec").build(planted[2].corpus)

    assert network.hidden_size == 64
    assert dict(os.environ) == environment
    assert sys.argv == argv
    assert list(empty.iterdir()) == []
    assert set(vars(np)) == numpy_names
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert {k: list(v) for k, v in yaml.FullLoader.yaml_implicit_resolvers.items()} == resolvers
    assert capsys.readouterr().out == ""


def test_recbole_is_imported_late_and_leaves_anomaly_detection_off() -> None:
    """RecBole's sine.py turns it on, which slows down every later training of the process."""
    code = """
import sys, torch
import baselines.sequential.gru4rec, baselines.sequential.sasrec, baselines.sequential.sasrec_bce
import baselines.sequential.recbole_model
assert not any(name.partition(".")[0] == "recbole" for name in sys.modules)
from baselines.sequential.recbole_classes import model_class
model_class("SINE")
assert not torch.is_anomaly_enabled()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
