"""The training loop: resume to the bit from any step, even after SIGKILL, and its other promises.

Run as a script, this file trains one small model slowly in the folder that it is given, so that a
test can kill it.
"""

from __future__ import annotations

import json
import os
import random as python_random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import nn

from benchmark.errors import SystemFailure
from benchmark.kit.modules import copy_of_state
from benchmark.kit.training import Instances, TrainingHistory, TrainingSettings, train
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from tests.damage import flip_a_bit
from tests.training import SEED, expect

EPOCHS, STEPS_AN_EPOCH = 4, 4
STEPS = EPOCHS * STEPS_AN_EPOCH
NEVER = 1e9

COSINE = TrainingSettings(
    epochs=EPOCHS,
    batch_size=6,
    optimizer="adamw",
    learning_rate=0.05,
    weight_decay=0.1,
    schedule="cosine",
    warmup_steps=3,
    gradient_clip=0.5,
    patience=None,
    checkpoint_seconds=0,
)
PLATEAU = COSINE.model_copy(
    update={"schedule": "plateau", "warmup_steps": 0, "plateau_patience": 0, "plateau_factor": 0.5}
)

State = dict[str, torch.Tensor]
Step = Callable[[int], None]
Loss = Callable[[dict[str, torch.Tensor]], torch.Tensor]


class Stopped(Exception):
    """What stands for a crash."""


class NoisyPoints(Instances):
    """21 points on a line; each batch adds noise, so that the draws of a batch matter."""

    def __len__(self) -> int:
        return 21

    def inputs(self, rows: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.float64]:
        return rows[:, None] / 10.0 + random.normal(scale=0.1, size=(len(rows), 3))

    def batch(
        self, rows: NDArray[np.int64], random: np.random.Generator
    ) -> dict[str, torch.Tensor]:
        return {
            "x": torch.as_tensor(self.inputs(rows, random), dtype=torch.float32),
            "y": torch.as_tensor(np.sin(rows), dtype=torch.float32),
        }


class ExactPoints(NoisyPoints):
    """The same points without noise."""

    def inputs(self, rows: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.float64]:
        return super().inputs(rows, np.random.default_rng(0))


class ExactRows(NoisyPoints):
    """Instances whose values depend on their own row only."""

    def inputs(self, rows: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.float64]:
        return np.stack([rows / 10.0, np.cos(rows), np.sin(2.0 * rows)], axis=1)


def make_model(dropout: float = 0.3) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 1))


def model_in_a_process(own_seed: int) -> nn.Module:
    """The small model with the same weights each time.

    The global random states are set by ``own_seed``, so that they differ as in another process.
    """
    torch.manual_seed(1)
    model = make_model()
    for seeded in (torch.manual_seed, np.random.seed, python_random.seed):
        seeded(own_seed)
    return model


def make_context(folder: Path, **changes: Any) -> RunContext:
    return RunContext(
        seed=3 + SEED, folder=folder, artifacts=ArtifactStore(folder / "art"), **changes
    )


def run_training(
    folder: Path,
    settings: TrainingSettings,
    *,
    own_seed: int = 0,
    before_step: Step = lambda calls: None,
    identity: str = "",
) -> tuple[State, TrainingHistory]:
    """Train the small model, from the same weights each time, in the state of another process.

    ``before_step`` is called with the number of steps that this call has made.
    """
    model = model_in_a_process(own_seed)
    calls = 0

    def loss(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        nonlocal calls
        before_step(calls)
        calls += 1
        return ((model(batch["x"])[:, 0] - batch["y"]) ** 2).mean()

    def validate() -> dict[str, dict[str, float]]:
        with torch.no_grad():
            x = torch.linspace(0, 2, 20)[:, None].expand(20, 3)
            return {"recommendation": {"NDCG@5": float(torch.sigmoid(model(x).sum()))}}

    context = make_context(folder, identity=identity)
    history = train(model, NoisyPoints(), loss, settings, context, validate)
    return copy_of_state(model), history


def stop_at(step: int) -> Step:
    def before_step(calls: int) -> None:
        if calls == step:
            raise Stopped

    return before_step


def stopped_run(folder: Path, settings: TrainingSettings, step: int, own_seed: int = 0) -> None:
    with pytest.raises(Stopped):
        run_training(folder, settings, own_seed=own_seed, before_step=stop_at(step))


def assert_same_run(
    one: tuple[State, TrainingHistory], other: tuple[State, TrainingHistory]
) -> None:
    assert one[0].keys() == other[0].keys()
    for name, tensor in one[0].items():
        assert torch.equal(tensor, other[0][name]), name
    # JSON keeps every bit of a double and tells 1 from 1.0.
    rows, other_rows = (json.dumps(run[1].rows, sort_keys=True) for run in (one, other))
    assert rows == other_rows
    assert (one[1].best_epoch, one[1].best_score) == (other[1].best_epoch, other[1].best_score)


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "checkpoint" / "training").glob("step-*"))


# ---------------------------------------------------------------------------------- exact resume


@pytest.fixture(scope="module", params=[COSINE, PLATEAU], ids=["cosine", "plateau"])
def undisturbed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainingSettings, tuple[State, TrainingHistory]]:
    settings: TrainingSettings = request.param
    whole = run_training(tmp_path_factory.mktemp("whole"), settings)
    return settings, whole


def test_the_runs_that_are_compared_depend_on_every_random_part(
    undisturbed: tuple[TrainingSettings, tuple[State, TrainingHistory]],
) -> None:
    """Otherwise equality after a resume would prove nothing."""
    settings, (state, history) = undisturbed
    assert [row["step"] for row in history.rows] == [4, 8, 12, 16]
    rates = [row["learning_rate"] for row in history.rows]
    assert len(set(rates)) > 1
    best = copy_of_state(make_model())
    assert any(not torch.equal(tensor, best[name]) for name, tensor in state.items())
    assert settings.gradient_clip is not None


@pytest.mark.parametrize("step", range(STEPS))
def test_a_run_stopped_at_any_step_resumes_to_the_bit(
    undisturbed: tuple[TrainingSettings, tuple[State, TrainingHistory]], step: int, tmp_path: Path
) -> None:
    settings, whole = undisturbed
    stopped_run(tmp_path, settings, step)
    assert len(checkpoints(tmp_path)) == min(step, 2)
    calls = []
    resumed = run_training(
        tmp_path,
        settings.model_copy(update={"checkpoint_seconds": NEVER}),
        own_seed=99,
        before_step=calls.append,
    )
    assert len(calls) == STEPS - step, "what was done is not done again"
    assert resumed[1].resumed is (step > 0)
    assert_same_run(resumed, whole)
    assert not (tmp_path / "checkpoint" / "training").exists(), "a finished run needs none"


def test_a_run_stopped_after_every_single_step_resumes_to_the_bit(
    undisturbed: tuple[TrainingSettings, tuple[State, TrainingHistory]], tmp_path: Path
) -> None:
    settings, whole = undisturbed
    for attempt in range(STEPS):
        stopped_run(tmp_path, settings, 1 if attempt else 0, own_seed=attempt)
    assert_same_run(run_training(tmp_path, settings, own_seed=7), whole)


def test_a_run_stopped_in_its_last_validation_resumes_to_the_bit(
    undisturbed: tuple[TrainingSettings, tuple[State, TrainingHistory]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last checkpoint lies before the validation, which is then made again."""
    settings, whole = undisturbed
    with monkeypatch.context() as patched:
        patched.setattr(
            "benchmark.kit.training.loop.selection_score",
            lambda metrics, seen=[]: _third_call_fails(metrics, seen),
        )
        with pytest.raises(Stopped):
            run_training(tmp_path, settings)
    resumed = run_training(tmp_path, settings, own_seed=5)
    assert resumed[1].resumed
    assert_same_run(resumed, whole)


def _third_call_fails(metrics: dict[str, dict[str, float]], seen: list[int]) -> float:
    seen.append(1)
    if len(seen) == EPOCHS:
        raise Stopped
    return metrics["recommendation"]["NDCG@5"]


def test_losses_and_validations_that_use_global_random_states_resume_to_the_bit(
    tmp_path: Path,
) -> None:
    """Foreign model code may draw from the global generators of torch, NumPy and Python."""

    def run(folder: Path, stop: int, own_seed: int) -> tuple[State, TrainingHistory]:
        model = model_in_a_process(own_seed)
        calls = 0

        def loss(batch: dict[str, torch.Tensor]) -> torch.Tensor:
            nonlocal calls
            if calls == stop:
                raise Stopped
            calls += 1
            scale = torch.rand(()) + np.random.random() + python_random.random()
            return ((model(batch["x"])[:, 0] - batch["y"]) ** 2).mean() * scale

        def validate() -> dict[str, dict[str, float]]:
            noise = float(torch.rand(())) + np.random.random() + python_random.random()
            return {"recommendation": {"NDCG@5": noise}}

        history = train(model, NoisyPoints(), loss, COSINE, make_context(folder), validate)
        return copy_of_state(model), history

    whole = run(tmp_path / "whole", -1, 0)
    for stop in (3, 4, 7):
        with pytest.raises(Stopped):
            run(tmp_path / f"{stop}", stop, 1)
        assert_same_run(run(tmp_path / f"{stop}", -1, 2), whole)


def test_a_run_that_was_killed_resumes_to_the_bit(tmp_path: Path) -> None:
    """SIGKILL in another process, in the middle of a step with checkpoints behind it."""
    whole = run_training(tmp_path / "whole", COSINE)
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, __file__, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
    )
    deadline = time.monotonic() + 300  # a busy machine takes long to import
    while not checkpoints(tmp_path)[1:] or checkpoints(tmp_path)[-1].name[-2:] < "05":
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the fault did not take place"
    calls: list[int] = []
    resumed = run_training(tmp_path, COSINE, own_seed=11, before_step=calls.append)
    assert 0 < len(calls) < STEPS - 4
    assert_same_run(resumed, whole)


# --------------------------------------------------------------------------- damaged checkpoints


def damage(checkpoint: Path, file: str) -> None:
    flip_a_bit(checkpoint / file)


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.pt", "progress.json"])
@pytest.mark.parametrize("number", [1, 2])
def test_damaged_checkpoints_are_not_used_and_the_run_ends_equal(
    undisturbed: tuple[TrainingSettings, tuple[State, TrainingHistory]],
    file: str,
    number: int,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The newest damaged: the one before it is used. Both damaged: a start from scratch."""
    settings, whole = undisturbed
    stopped_run(tmp_path, settings, 3)
    for checkpoint in checkpoints(tmp_path)[-number:]:
        damage(checkpoint, file)
    calls: list[int] = []
    rarely = settings.model_copy(update={"checkpoint_seconds": NEVER})
    resumed = run_training(tmp_path, rarely, own_seed=4, before_step=calls.append)
    assert len(calls) == (STEPS - 2 if number == 1 else STEPS)
    assert sum("checkpoint is not used" in line for line in caplog.messages) == number
    assert_same_run(resumed, whole)


def test_checkpoints_of_another_job_are_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stopped_run(tmp_path, COSINE, 3)
    calls: list[int] = []
    other = run_training(tmp_path, COSINE, before_step=calls.append, identity="other")
    assert len(calls) == STEPS
    assert not other[1].resumed
    assert sum("is a checkpoint of another job" in line for line in caplog.messages) == 2


def test_a_damaged_checkpoint_is_replaced_by_a_good_one_of_the_same_step(tmp_path: Path) -> None:
    stopped_run(tmp_path, COSINE, 3)
    for checkpoint in checkpoints(tmp_path):
        damage(checkpoint, "model.safetensors")
    stopped_run(tmp_path, COSINE, 3)
    calls: list[int] = []
    run_training(tmp_path, COSINE, before_step=calls.append)
    assert len(calls) == STEPS - 3


def test_an_unfinished_checkpoint_is_no_checkpoint(
    undisturbed: tuple[TrainingSettings, tuple[State, TrainingHistory]], tmp_path: Path
) -> None:
    settings, whole = undisturbed
    stopped_run(tmp_path, settings, 2)
    newest = checkpoints(tmp_path)[-1]
    (newest / "manifest.json").unlink()
    shutil.copytree(newest, newest.with_name(".partial-0-step-000000000003"))
    calls: list[int] = []
    resumed = run_training(tmp_path, settings, before_step=calls.append)
    assert len(calls) == STEPS - 1
    assert_same_run(resumed, whole)


# ------------------------------------------------------------------------------- what it promises


def stopped_at(stop: int, loss: Loss) -> Loss:
    """The loss, which crashes after so many calls; never if ``stop`` is negative."""
    calls = 0

    def stopping(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        nonlocal calls
        if calls == stop:
            raise Stopped
        calls += 1
        return loss(batch)

    return stopping


def square_error(model: nn.Module) -> Loss:
    return lambda batch: ((model(batch["x"])[:, 0] - batch["y"]) ** 2).mean()


def seeded_model(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(1 + SEED)
    return make_model(dropout)


@pytest.mark.training
def test_the_loss_falls(tmp_path: Path) -> None:
    model = seeded_model()
    settings = TrainingSettings(epochs=60, batch_size=7, learning_rate=0.02)
    history = train(model, ExactRows(), square_error(model), settings, make_context(tmp_path))
    losses = [row["loss"] for row in history.rows]
    expect(losses[-1] / losses[0], below=0.6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_the_systems_failure(value: float, tmp_path: Path) -> None:
    model = seeded_model()
    calls = 0

    def loss(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return square_error(model)(batch) * (value if calls == 6 else 1.0)

    with pytest.raises(SystemFailure, match=r"^sizes: the loss is (nan|inf) at step 5\.$"):
        train(model, ExactPoints(), loss, COSINE, make_context(tmp_path), name="sizes")


def test_a_loss_of_one_element_is_a_loss(tmp_path: Path) -> None:
    """Some of the models that others wrote give a mean of shape (1,)."""
    rows = []
    for number, shape in enumerate([(), (1,)]):
        model = seeded_model()
        loss = square_error(model)
        history = train(
            model,
            ExactRows(),
            lambda batch, loss=loss, shape=shape: loss(batch).reshape(shape),
            COSINE.model_copy(update={"epochs": 1, "micro_batch_size": 4}),
            make_context(tmp_path / str(number)),
        )
        rows.append(history.rows)
    assert rows[0] == rows[1]


def test_no_instances_are_the_systems_failure(tmp_path: Path) -> None:
    class Nothing(ExactPoints):
        def __len__(self) -> int:
            return 0

    model = seeded_model()
    with pytest.raises(SystemFailure, match=r"^training: there are no training instances\.$"):
        train(model, Nothing(), square_error(model), COSINE, make_context(tmp_path))


def test_no_epochs_leave_the_weights_as_they_are(tmp_path: Path) -> None:
    model = seeded_model()
    before = copy_of_state(model)
    settings = COSINE.model_copy(update={"epochs": 0})
    history = train(model, ExactPoints(), square_error(model), settings, make_context(tmp_path))
    assert history.rows == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def scripted(model: nn.Module, scores: list[float], states: list[State]) -> Callable[[], Any]:
    """Validation that answers ``scores`` in turn and notes the weights that it was asked about."""

    def validate() -> dict[str, dict[str, float]]:
        states.append(copy_of_state(model))
        return {"search": {"NDCG@5": scores[len(states) - 1]}}

    return validate


def test_early_stopping_keeps_the_best_weights(tmp_path: Path) -> None:
    model, states = seeded_model(), []
    settings = TrainingSettings(epochs=20, batch_size=7, patience=2)
    validate = scripted(model, [0.1, 0.5, 0.5, 0.2, 0.9], states)
    history = train(
        model, ExactPoints(), square_error(model), settings, make_context(tmp_path), validate
    )
    # An equal score is no improvement, so the third and fourth epoch are two failures.
    assert len(history.rows) == 4
    assert (history.best_epoch, history.best_score) == (2, 0.5)
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in model.state_dict().items())
    assert not torch.equal(states[1]["0.weight"], states[3]["0.weight"])


def test_no_weights_are_the_best_before_the_step_that_was_asked_for(tmp_path: Path) -> None:
    model, states = seeded_model(), []
    settings = TrainingSettings(epochs=5, batch_size=7, patience=1)
    validate = scripted(model, [0.9, 0.8, 0.3, 0.4, 0.2], states)
    history = train(
        model,
        ExactPoints(),
        square_error(model),
        settings,
        make_context(tmp_path),
        validate,
        selected_from=3 * 3,  # of three steps an epoch
    )
    assert (history.best_epoch, history.best_score) == (4, 0.4)
    assert history.best_share == 4 / 5
    assert all(torch.equal(tensor, states[3][name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("own", [None, lambda metrics: -metrics["search"]["NDCG@5"]])
def test_validations_by_the_one_metric_are_told_and_others_are_not(
    own: Callable[[Any], float] | None, tmp_path: Path
) -> None:
    model, told = seeded_model(), []
    settings = TrainingSettings(epochs=3, batch_size=7)
    validate = scripted(model, [0.1, 0.5, 0.4], [])
    context = make_context(tmp_path, validated=told.append)
    loss = square_error(model)
    train(model, ExactPoints(), loss, settings, context, validate, selected_by=own)
    figures = [metrics["search"]["NDCG@5"] for metrics in told]
    assert figures == ([0.1, 0.5, 0.4] if own is None else [])


def test_what_hears_of_a_validation_may_end_the_training(tmp_path: Path) -> None:
    class Enough(BaseException):
        pass

    def enough(metrics: Any) -> None:
        raise Enough

    model = seeded_model()
    context = make_context(tmp_path, validated=enough)
    settings = TrainingSettings(epochs=3, batch_size=7)
    with pytest.raises(Enough):
        train(
            model,
            ExactPoints(),
            square_error(model),
            settings,
            context,
            scripted(model, [0.1], []),
        )


def test_the_patience_that_is_used_up_survives_a_resume(tmp_path: Path) -> None:
    scores = [0.1, 0.5, 0.4, 0.3, 0.9]
    settings = TrainingSettings(epochs=20, batch_size=7, patience=2, checkpoint_seconds=0)
    states: list[State] = []

    def run(scores: list[float], stop: int) -> tuple[nn.Module, TrainingHistory]:
        model = seeded_model()
        loss = stopped_at(stop, square_error(model))
        validate = scripted(model, scores, states)
        context = make_context(tmp_path)
        return model, train(model, ExactPoints(), loss, settings, context, validate)

    with pytest.raises(Stopped):
        run(scores, stop=3 * 3 + 1)  # in the fourth epoch of three steps each
    best = states[1]
    states.clear()
    model, history = run(scores[3:], stop=-1)
    assert len(history.rows) == 4, "one failure before the stop and one after it"
    assert (history.best_epoch, history.best_score) == (2, 0.5)
    assert all(torch.equal(tensor, best[name]) for name, tensor in model.state_dict().items())


def test_without_patience_all_epochs_run_and_the_best_weights_are_kept(tmp_path: Path) -> None:
    model, states = seeded_model(), []
    settings = TrainingSettings(epochs=5, batch_size=7, patience=None, validate_every=2)
    validate = scripted(model, [0.4, 0.3], states)
    history = train(
        model, ExactPoints(), square_error(model), settings, make_context(tmp_path), validate
    )
    assert ["validation" in row for row in history.rows] == [False, True, False, True, False]
    assert history.best_epoch == 2
    assert all(torch.equal(tensor, states[0][name]) for name, tensor in model.state_dict().items())


def test_validation_sees_the_model_in_evaluation_mode(tmp_path: Path) -> None:
    model = seeded_model(dropout=0.5)
    modes = []

    def loss(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        modes.append(model.training)
        return square_error(model)(batch)

    def validate() -> dict[str, dict[str, float]]:
        modes.append(model.training)
        return {"search": {"NDCG@5": 0.0}}

    settings = TrainingSettings(epochs=2, batch_size=21)
    train(model, ExactPoints(), loss, settings, make_context(tmp_path), validate)
    assert modes == [True, False, True, False]


@pytest.mark.parametrize("micro", [1, 4, 21])
def test_micro_batches_equal_one_batch(micro: int, tmp_path: Path) -> None:
    states, losses = [], []
    for number, size in enumerate([None, micro]):
        model = seeded_model()
        settings = COSINE.model_copy(update={"batch_size": 10, "micro_batch_size": size})
        history = train(
            model,
            ExactRows(),
            square_error(model),
            settings,
            make_context(tmp_path / str(number)),
        )
        states.append(copy_of_state(model))
        losses.append([row["loss"] for row in history.rows])
    for name, tensor in states[0].items():
        torch.testing.assert_close(tensor, states[1][name], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def rates_of(settings: TrainingSettings, folder: Path, scores: list[float] | None = None) -> Any:
    """The learning rate in force after each step: one step an epoch."""
    model = seeded_model()
    validate = scripted(model, scores, []) if scores else None
    history = train(
        model, ExactPoints(), square_error(model), settings, make_context(folder), validate
    )
    return [row["learning_rate"] for row in history.rows]


@pytest.mark.parametrize(
    ("schedule", "warmup", "expected"),
    [
        ("constant", 0, [1, 1, 1, 1]),
        ("constant", 2, [1, 1, 1, 1]),
        ("linear", 0, [0.75, 0.5, 0.25, 0]),
        ("linear", 2, [1, 1, 0.5, 0]),
        # cos(pi * t) is sqrt(1/2), 0, -sqrt(1/2), -1 at t = 1/4, 1/2, 3/4, 1.
        ("cosine", 0, [(1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2, 0]),
        ("cosine", 2, [1, 1, 0.5, 0]),
    ],
)
def test_schedules(schedule: str, warmup: int, expected: list[float], tmp_path: Path) -> None:
    settings = TrainingSettings(
        epochs=4, batch_size=21, learning_rate=1.0, schedule=schedule, warmup_steps=warmup
    )
    np.testing.assert_allclose(rates_of(settings, tmp_path), expected, atol=1e-12)


def test_the_first_steps_of_a_warmup_are_small(tmp_path: Path) -> None:
    settings = TrainingSettings(
        epochs=5, batch_size=21, optimizer="sgd", learning_rate=0.8, warmup_steps=4
    )
    assert rates_of(settings, tmp_path) == pytest.approx([0.4, 0.6, 0.8, 0.8, 0.8])


@pytest.mark.parametrize("patience", [1, 4])
def test_a_rate_that_falls_when_training_has_stopped_is_refused(patience: int) -> None:
    with pytest.raises(ValidationError, match=r"patience .*\(plateau_patience 3\).* at least 5"):
        TrainingSettings(schedule="plateau", patience=patience)
    for allowed in (5, None):
        TrainingSettings(schedule="plateau", patience=allowed)
    TrainingSettings(schedule="constant", patience=patience)


@pytest.mark.parametrize(
    ("given", "allowed", "sentence"),
    [
        (
            {"patience": 50, "epochs": 5},
            {"patience": 50, "epochs": 6},
            r"epochs 5 and validate_every 1 .*\(plateau_patience 3\).* epochs to at least 6",
        ),
        (
            {"patience": 50, "epochs": 50, "validate_every": 10},
            {"patience": 50, "epochs": 51, "validate_every": 10},
            r"epochs 50 and validate_every 10 .*epochs to at least 51",
        ),
        ({"validate_every": 0}, {"validate_every": 1}, "validate_every 0 .* at least 1"),
        (
            {"learning_rate": 1e-6},
            {"learning_rate": 2e-6},
            "learning_rate 1e-06, .* not above plateau_minimum 1e-06",
        ),
    ],
)
def test_a_plateau_that_can_never_act_is_refused(
    given: dict[str, Any], allowed: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValidationError, match=f"{sentence}.*or schedule to constant"):
        TrainingSettings(schedule="plateau", **given)
    TrainingSettings(schedule="plateau", **allowed)
    TrainingSettings(schedule="constant", **given)
    TrainingSettings(schedule="plateau", **{**given, "epochs": 0})


@pytest.mark.parametrize(("epochs", "is_lowered"), [(4, False), (5, True)])
def test_the_fewest_epochs_that_a_plateau_needs(
    epochs: int, is_lowered: bool, tmp_path: Path
) -> None:
    settings = TrainingSettings(
        epochs=5, batch_size=21, schedule="plateau", plateau_patience=2, patience=None
    ).model_copy(update={"epochs": epochs})
    rates = rates_of(settings, tmp_path, scores=[0.5, 0.4, 0.3, 0.2, 0.1][:epochs])
    assert (rates[-1] < rates[0]) == is_lowered


def test_the_plateau_schedule_follows_the_validation_score(tmp_path: Path) -> None:
    settings = TrainingSettings(
        epochs=5,
        batch_size=21,
        learning_rate=1.0,
        schedule="plateau",
        plateau_patience=0,
        plateau_factor=0.5,
        plateau_minimum=0.2,
        patience=None,
    )
    # A row shows the rate that its epoch was trained with.
    rates = rates_of(settings, tmp_path, scores=[0.5, 0.4, 0.3, 0.2, 0.1])
    assert rates == pytest.approx([1.0, 1.0, 0.5, 0.25, 0.2])


def test_gradients_are_clipped_to_the_total_norm(tmp_path: Path) -> None:
    model = nn.Linear(3, 1, bias=False)
    nn.init.zeros_(model.weight)
    settings = TrainingSettings(
        epochs=1, batch_size=21, optimizer="sgd", learning_rate=1.0, gradient_clip=0.25
    )
    train(
        model,
        ExactPoints(),
        lambda batch: 100 * square_error(model)(batch),
        settings,
        make_context(tmp_path),
    )
    assert float(model.weight.detach().norm()) == pytest.approx(0.25, rel=1e-3)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "adagrad", "sgd"])
def test_every_optimizer_with_groups_of_parameters_resumes_to_the_bit(
    optimizer: str, tmp_path: Path
) -> None:
    settings = COSINE.model_copy(update={"optimizer": optimizer, "epochs": 2})

    def run(folder: Path, stop: int) -> tuple[State, TrainingHistory]:
        model = seeded_model(dropout=0.5)
        loss = stopped_at(stop, square_error(model))
        groups = [
            {"params": list(model[0].parameters()), "lr": 0.02},
            {"params": list(model[3].parameters())},
        ]
        history = train(
            model, NoisyPoints(), loss, settings, make_context(folder), parameter_groups=groups
        )
        return copy_of_state(model), history

    whole = run(tmp_path / "whole", -1)
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", 5)
    assert_same_run(run(tmp_path / "stopped", -1), whole)


def test_two_trainings_of_one_run_have_checkpoints_and_draws_of_their_own(tmp_path: Path) -> None:
    states = []
    for name in ("first", "second"):
        model = seeded_model(dropout=0.5)
        context = make_context(tmp_path)
        train(model, NoisyPoints(), square_error(model), COSINE, context, name=name)
        states.append(copy_of_state(model))
        assert len((tmp_path / f"{name}.jsonl").read_text().splitlines()) == EPOCHS
    assert not torch.equal(states[0]["0.weight"], states[1]["0.weight"])


def test_another_precision_in_the_same_process_changes_nothing_of_the_others(
    tmp_path: Path,
) -> None:
    states = []
    for number, precision in enumerate(["fp32", "bf16", "fp32"]):
        model = seeded_model()
        context = make_context(tmp_path / str(number), precision=precision)
        train(model, ExactRows(), square_error(model), COSINE, context)
        states.append(copy_of_state(model)["0.weight"])
    assert torch.equal(states[0], states[2])
    assert not torch.equal(states[0], states[1]), "bf16 was not in force"


def test_the_training_log_is_strict_json(tmp_path: Path) -> None:
    _, history = run_training(tmp_path, COSINE)
    lines = (tmp_path / "training.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == history.rows
    assert {"epoch", "step", "loss", "learning_rate", "validation"} == set(history.rows[0])


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    model = seeded_model()
    context = make_context(tmp_path, progress=told.append)
    train(model, ExactPoints(), square_error(model), COSINE, context)
    assert len(told) == EPOCHS and told[0].startswith("training: epoch 1/4, loss ")


def slow_step(calls: int) -> None:
    """Slow enough to be killed, and never at the end before the killer comes."""
    time.sleep(600 if calls == STEPS - 5 else 0.05)


if __name__ == "__main__":
    run_training(Path(sys.argv[1]), COSINE, own_seed=77, before_step=slow_step)
