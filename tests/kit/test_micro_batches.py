"""Parts of a step: what they hold, what they weigh, and how many instances fit."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError, SystemFailure
from benchmark.kit.language_models.prompt_instances import TokenPairs
from benchmark.kit.language_models.seq2seq import ScratchSize, Seq2Seq
from benchmark.kit.modules import copy_of_state
from benchmark.kit.text.pieces import IGNORED
from benchmark.kit.text.tokens import Tokens
from benchmark.kit.training import Batch, Part, TrainingSettings, graphs, micro_batches, train
from benchmark.kit.training import loop as training
from benchmark.kit.training.micro_batches import (
    ALONE,
    Limit,
    PartCosts,
    Process,
    cuts,
    kept_bytes,
    loss_weights,
    measured_costs,
    room_for_parts,
    room_of,
)
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from tests.training import SEED

TOKENS, END, PAIRS = 60, 1, 50
SIZE = ScratchSize(width=16, layers=2, heads=2, head_width=8, feed_forward=32, dropout=0.0)
LIMITS = {
    "one part": Limit(),
    "seven at once": Limit(instances=7),
    "one at once": Limit(instances=1),
    "by memory": Limit(room=4000.0, costs=PartCosts((0.0, 10.0, 1.0, 20.0, 0.0, 0.0))),
    "fixed shapes": Limit(instances=16, fixed_shapes=True),
}


def pairs(group: int | None = 8, seed: int = SEED) -> TokenPairs:
    """Prompts of 1 to 30 tokens; a tenth of the targets are long."""
    random = np.random.default_rng(seed)
    lengths = np.concatenate(
        [random.integers(1, 31, size=PAIRS), np.where(random.random(PAIRS) < 0.1, 25, 3)]
    )
    ids = random.integers(2, TOKENS, size=int(lengths.sum())).astype(np.int32)
    tokens = Tokens(ids, np.concatenate([[0], np.cumsum(lengths)]), 0)
    return TokenPairs(
        tokens,
        np.arange(PAIRS)[:, None],
        PAIRS + np.arange(PAIRS)[:, None],
        END,
        loss_group_size=group,
    )


def tiny(dropout: float = 0.0) -> Seq2Seq:
    torch.manual_seed(SEED)
    return Seq2Seq.of_size(SIZE.model_copy(update={"dropout": dropout}), TOKENS)


def parts_of(instances: TokenPairs, limit: Limit, process: Process = ALONE) -> list[Part]:
    return instances.parts(np.arange(PAIRS), np.random.default_rng(3), limit, process)


def gradients(
    instances: TokenPairs, limit: Limit, process: Process = ALONE
) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss and the gradients of one step."""
    model, total = tiny(), 0.0
    for batch, share in parts_of(instances, limit, process):
        loss = model(batch) * share
        loss.backward()
        total += float(loss.detach())
    found = {name: weight.grad for name, weight in model.named_parameters()}
    return total, {name: grad for name, grad in found.items() if grad is not None}


def by_hand(instances: TokenPairs, group: int) -> float:
    """The mean of the mean token losses of the groups, each computed alone."""
    random = np.random.default_rng(3)
    rows, model, means = np.arange(PAIRS), tiny(), []
    order = random.permutation(PAIRS)
    for start in range(0, PAIRS, group):
        own = order[start : start + group]
        loss = float(model(instances.batch(rows[own], random)).detach())
        means.append(loss * len(own) / PAIRS)
    return sum(means)


@pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS.keys())
@pytest.mark.parametrize("group", [None, 8])
def test_a_step_is_the_same_whatever_is_computed_at_once(group: int | None, limit: Limit) -> None:
    loss, expected = gradients(pairs(group), Limit())
    other, found = gradients(pairs(group), limit)
    assert other == pytest.approx(loss, rel=1e-5)
    assert expected.keys() == found.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("number", [2, 3, 8, PAIRS + 1])
@pytest.mark.parametrize("group", [None, 8])
def test_a_step_is_the_same_however_many_processes_share_it(group: int | None, number: int) -> None:
    """The mean over processes, as data parallelism takes it, is what one process has."""
    loss, expected = gradients(pairs(group), Limit(instances=7))
    found = [
        gradients(pairs(group), Limit(instances=7), Process(index, number))
        for index in range(number)
    ]
    assert np.mean([own for own, _ in found]) == pytest.approx(loss, rel=1e-5)
    for name, gradient in expected.items():
        mean = torch.stack([own[name] for _, own in found]).mean(dim=0)
        torch.testing.assert_close(mean, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS.keys())
def test_in_bf16_the_weights_of_instances_stay_exact(limit: Limit) -> None:
    """Only products of the network are rounded: the logged loss does not move with the parts."""

    def loss_in(own: Limit) -> float:
        model, total = tiny(), 0.0
        with torch.autocast("cpu", dtype=torch.bfloat16):
            for batch, share in parts_of(pairs(), own):
                part = model(batch)
                assert part.dtype == torch.float32
                total += float(part.detach()) * share
        return total

    assert loss_in(limit) == pytest.approx(loss_in(Limit()), rel=1e-3)


def test_the_loss_of_a_step_is_the_mean_of_the_groups_means() -> None:
    loss, _ = gradients(pairs(8), Limit(instances=5))
    assert loss == pytest.approx(by_hand(pairs(8), 8), rel=1e-5)
    whole, _ = gradients(pairs(None), Limit(instances=5))
    assert whole == pytest.approx(by_hand(pairs(None), PAIRS), rel=1e-5)
    assert abs(whole - loss) > 1e-3, "the two losses cannot be told apart here"


@pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS.keys())
def test_every_instance_is_in_one_part(limit: Limit) -> None:
    found = []
    for batch, _ in parts_of(pairs(), limit):
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
            found.append(tuple(ids[mask].tolist()))
    whole = pairs().batch(np.arange(PAIRS), np.random.default_rng(0))
    expected = [
        tuple(ids[mask].tolist())
        for ids, mask in zip(whole["input_ids"], whole["attention_mask"], strict=True)
    ]
    fillers = len(found) - PAIRS if limit.fixed_shapes else 0
    assert sorted(found) == sorted([*expected, *[(0,)] * fillers])


def test_weights_of_groups_sum_to_one_and_weigh_a_groups_tokens_alike() -> None:
    targets = np.random.default_rng(0).integers(1, 20, size=70)
    weights = loss_weights(targets, 32, np.random.default_rng(1))
    assert float((weights * targets).sum()) == pytest.approx(1.0, rel=1e-6)
    values, counts = np.unique(weights, return_counts=True)
    assert sorted(counts) == [6, 32, 32]
    for value in values:
        own = weights == value
        assert value == pytest.approx(own.sum() / 70 / targets[own].sum(), rel=1e-6)
    alone = loss_weights(targets, None, np.random.default_rng(1))
    np.testing.assert_allclose(alone, 1.0 / targets.sum(), rtol=1e-6)


def test_long_targets_weigh_as_in_shuffled_groups_and_not_as_in_sorted_ones() -> None:
    """One target in fifty has 120 tokens, the others have 6; groups are of 64."""
    random, group = np.random.default_rng(0), 64
    targets = np.where(random.random(6400) < 0.02, 120, 6)
    is_long = targets == 120

    def share_of_long(order: NDArray[np.int64]) -> float:
        parts = [order[start : start + group] for start in range(0, len(order), group)]
        return float(np.mean([targets[o][is_long[o]].sum() / targets[o].sum() for o in parts]))

    released = np.mean([share_of_long(random.permutation(6400)) for _ in range(50)])
    ours = np.mean(
        [(loss_weights(targets, group, random) * targets)[is_long].sum() for _ in range(50)]
    )
    by_length = share_of_long(np.argsort(targets, kind="stable"))
    assert ours == pytest.approx(released, rel=0.01)
    assert by_length < 0.15 * ours


def test_parts_keep_to_the_room_and_fill_it() -> None:
    random = np.random.default_rng(0)
    inputs, targets = random.integers(1, 200, size=400), random.integers(1, 60, size=400)
    costs = PartCosts((5.0, 3.0, 0.5, 7.0, 0.25, 0.125))
    room = 40_000.0
    found = list(cuts(inputs, targets, Limit(room=room, costs=costs)))
    np.testing.assert_array_equal(np.sort(np.concatenate([cut.rows for cut in found])), range(400))
    for cut, following in zip(found, [*found[1:], None], strict=True):
        assert cut.inputs == inputs[cut.rows].max() and cut.targets == targets[cut.rows].max()
        shape = np.array([cut.inputs]), np.array([cut.targets])
        assert cut.size == len(cut.rows)
        assert cut.size == 1 or cut.size * costs.of(*shape)[0] <= room
        if following is not None:  # one more would have been too much
            more = following.rows[:1]
            larger = np.maximum(shape[0], inputs[more]), np.maximum(shape[1], targets[more])
            assert (cut.size + 1) * costs.of(*larger)[0] > room


def test_fixed_shapes_are_few_and_as_large_as_their_lengths_allow() -> None:
    random = np.random.default_rng(0)
    costs = PartCosts((0.0, 1.0, 0.0, 1.0, 0.0, 0.0))
    limit = Limit(room=3000.0, costs=costs, fixed_shapes=True)
    shapes = set()
    for _ in range(30):
        inputs, targets = random.integers(40, 130, size=500), random.integers(5, 8, size=500)
        for cut in cuts(inputs, targets, limit):
            shapes.add((cut.size, cut.inputs, cut.targets))
            assert cut.inputs >= inputs[cut.rows].max() and cut.size >= len(cut.rows)
            assert cut.size % 8 == 0
    assert len(shapes) <= 5  # prompts of 48, 64, 96, 128 and 192 tokens
    assert len({shape[1:] for shape in shapes}) == len(shapes), "one size for each pair of lengths"


def test_lengths_beyond_the_ladder_have_a_shape_too() -> None:
    (cut,) = cuts(np.array([2050]), np.array([5000]), Limit(fixed_shapes=True))
    assert (cut.inputs, cut.targets) == (4096, 6144)


# ------------------------------------------------------------------------------------------ memory


def test_kept_bytes_count_each_tensor_once_and_no_weights() -> None:
    weight = torch.ones(4, 4, requires_grad=True)
    x = torch.ones(2, 4)

    def forward() -> torch.Tensor:
        y = x @ weight  # keeps x, and the weight, which is not counted
        z = y.exp()  # keeps its result ...
        return (z * z).sum()  # ... which is kept already

    assert kept_bytes(forward, [weight]) == 4 * (x.numel() + 2 * 4)


def test_measured_costs_foretell_what_a_t5_keeps() -> None:
    model, instances = tiny(dropout=0.1), pairs()
    model.train()

    def forward(number: int, inputs: int, targets: int) -> torch.Tensor:
        found: torch.Tensor = model(instances.probe(number, inputs, targets))
        return found

    costs = measured_costs(model, forward)

    def bytes_of(number: int, inputs: int, targets: int) -> int:
        return kept_bytes(lambda: forward(number, inputs, targets), model.parameters())

    for number, inputs, targets in ((5, 40, 9), (3, 100, 60), (16, 12, 4)):
        # What does not grow with the instances, such as the bias of places, is not theirs.
        more = bytes_of(number, inputs, targets) - bytes_of(1, inputs, targets)
        foretold = costs.of(np.array([inputs]), np.array([targets]))[0]
        assert foretold == pytest.approx(more / (number - 1), rel=1e-6)


def test_the_room_is_a_share_of_the_device_without_weights_and_optimiser(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = torch.nn.Linear(10, 10, bias=False)
    assert room_for_parts(model, torch.device("cpu")) == 2 * 2**30
    assert room_of(10_000, model) == pytest.approx(0.6 * (10_000 - 16 * 100))
    with pytest.raises(SystemFailure, match=r"^its weights and their optimiser do not fit"):
        room_of(1600, model)

    @dataclass
    class Card:
        total_memory: int

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Card(20_000))
    assert room_for_parts(model, torch.device("cuda:1")) == room_of(20_000, model)


def context_of(folder: Path, **changes: Any) -> RunContext:
    return RunContext(seed=SEED, folder=folder, artifacts=ArtifactStore(folder / "a"), **changes)


SETTINGS = TrainingSettings(
    epochs=2, batch_size=20, learning_rate=0.01, validate_every=0, patience=None
)


class Recorded(TokenPairs):
    """Notes what is computed at once."""

    def parts(self, *given: Any) -> Any:
        found = super().parts(*given)
        SEEN.append([len(batch["labels"]) for batch, _ in found])
        return found


SEEN: list[list[int]] = []


def trained(folder: Path, loss: Any = None, **changes: Any) -> tuple[Any, list[list[int]], Any]:
    """Weights, the sizes of the parts of each batch that was built, and the history."""
    SEEN.clear()
    model = tiny()
    settings = SETTINGS.model_copy(update=changes)
    instances = Recorded(**vars(pairs()))
    history = train(model, instances, loss(model) if loss else model, settings, context_of(folder))
    return copy_of_state(model), list(SEEN), history


def test_auto_takes_what_fits_and_learns_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, sizes, _ = trained(tmp_path / "whole", micro_batch_size="auto")
    assert sorted(sizes[:3]) == [[10], [20], [20]] and len(sizes) == 6
    monkeypatch.setattr(micro_batches, "ROOM_ON_CPU", 300_000)
    cut, sizes, _ = trained(tmp_path / "cut", micro_batch_size="auto")
    assert all(sum(parts) in (10, 20) for parts in sizes) and max(map(len, sizes)) > 3
    assert len({size for parts in sizes for size in parts}) > 1, "short ones come in larger parts"
    for name, weight in whole.items():
        torch.testing.assert_close(cut[name], weight, rtol=1e-3, atol=1e-4)


def runs_out(at: int, times: int) -> Any:
    """A loss that has no memory for its calls from ``at`` on, ``times`` times."""

    def of(model: Seq2Seq) -> Any:
        calls = 0

        def loss(batch: Batch) -> torch.Tensor:
            nonlocal calls
            calls += 1
            if at <= calls - PROBES < at + times:
                raise torch.OutOfMemoryError("no memory")
            found: torch.Tensor = model(batch)
            return found

        return loss

    return of


PROBES = 12
"""Small passes by which memory is measured."""


def test_a_part_that_does_not_fit_is_halved_and_its_step_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(micro_batches, "ROOM_ON_CPU", 600_000)
    plain, before, history = trained(tmp_path / "plain", micro_batch_size="auto")
    with caplog.at_level(logging.WARNING, "benchmark"):
        short, after, others = trained(tmp_path / "short", runs_out(2, 2), micro_batch_size="auto")
    assert (
        caplog.messages
        == [
            "training: the parts of step 0 did not fit into memory; they are half as large from "
            "here on"
        ]
        * 2
    )
    assert after[0] == before[0] and len(after) == len(before) + 2
    assert sum(map(len, after[2:])) > 2 * sum(map(len, before))
    assert [row["loss"] for row in others.rows] == pytest.approx(
        [row["loss"] for row in history.rows], rel=1e-4
    )
    for name, weight in plain.items():
        torch.testing.assert_close(short[name], weight, rtol=1e-3, atol=1e-4)


def test_halved_parts_stay_halved_after_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(micro_batches, "ROOM_ON_CPU", 600_000)
    changes = {"micro_batch_size": "auto", "checkpoint_seconds": 0}
    expected, _, _ = trained(tmp_path / "whole", runs_out(2, 1), **changes)

    class Stopped(Exception):
        pass

    def stops(model: Seq2Seq) -> Any:
        inner, steps = runs_out(2, 1)(model), training._Loop._note

        def note(loop: Any, number: int, total: torch.Tensor) -> None:
            steps(loop, number, total)
            if loop.step == 3:
                raise Stopped

        monkeypatch.setattr(training._Loop, "_note", note)
        return inner

    with pytest.raises(Stopped):
        trained(tmp_path / "stopped", stops, **changes)
    monkeypatch.undo()
    monkeypatch.setattr(micro_batches, "ROOM_ON_CPU", 600_000)
    found, _, history = trained(tmp_path / "stopped", **changes)
    assert history.resumed
    for name, weight in expected.items():
        assert torch.equal(found[name], weight), name


def test_with_a_size_of_ones_own_a_lack_of_memory_is_told(tmp_path: Path) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        trained(tmp_path, runs_out(1 - PROBES, 1), micro_batch_size=5)


def test_auto_gives_up_where_not_even_one_instance_fits(tmp_path: Path) -> None:
    with pytest.raises(SystemFailure, match=r"^training: not even one instance fits into the dev"):
        trained(tmp_path, runs_out(1, 10**9), micro_batch_size="auto")


def test_a_cpu_without_memory_is_helped_by_smaller_parts_too(tmp_path: Path) -> None:
    def of(model: Seq2Seq) -> Any:
        def loss(batch: Batch) -> torch.Tensor:
            if len(batch["labels"]) > 10:
                raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
            found: torch.Tensor = model(batch)
            return found

        return loss

    _, sizes, _ = trained(tmp_path, of, micro_batch_size="auto")
    assert max(sizes[-1]) <= 10


def test_other_errors_of_a_loss_are_not_taken_for_a_lack_of_memory(tmp_path: Path) -> None:
    def of(model: Seq2Seq) -> Any:
        def loss(batch: Batch) -> torch.Tensor:
            if len(batch["labels"]) > 2:  # more than in the passes that measure
                raise RuntimeError("shapes do not match")
            found: torch.Tensor = model(batch)
            return found

        return loss

    with pytest.raises(RuntimeError, match="shapes do not match"):
        trained(tmp_path, of, micro_batch_size="auto")


def test_auto_and_graphs_are_refused_where_batches_are_no_prompts(tmp_path: Path) -> None:
    from tests.kit.test_training import ExactPoints, seeded_model, square_error

    for changes, key in (
        ({"micro_batch_size": "auto"}, "micro_batch_size"),
        ({"compiled": True}, "compiled"),
    ):
        model = seeded_model()
        with pytest.raises(BenchmarkError, match=rf"^training\.{key}: "):
            train(
                model,
                ExactPoints(),
                square_error(model),
                SETTINGS.model_copy(update=changes),
                context_of(tmp_path),
            )


# ------------------------------------------------------------------------------------------ graphs


def test_graphs_meet_few_shapes_and_learn_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch's compiler is replaced by one that keeps no graph but demands what graphs demand."""
    shapes: list[tuple[int, ...]] = []
    places: dict[int, int] = {}

    def compiled(module: torch.nn.Module, *, mode: str, dynamic: bool) -> Any:
        assert mode == "reduce-overhead" and dynamic is False

        def run(batch: Batch) -> torch.Tensor:
            shapes.append((*batch["input_ids"].shape, batch["labels"].shape[1]))
            for number, weight in enumerate(module.parameters()):
                assert weight.grad is not None, "a graph adds to gradients that are there"
                assert places.setdefault(number, weight.grad.data_ptr()) == weight.grad.data_ptr()
            found: torch.Tensor = module(batch)
            return found

        return run

    plain, _, _ = trained(tmp_path / "plain", micro_batch_size=8)
    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setattr(graphs, "_has_graphs", lambda device: True)
    monkeypatch.setattr(graphs, "what_graphs_lack", lambda: "")
    found, _, _ = trained(tmp_path / "graphs", micro_batch_size=8, compiled=True)
    assert {shape[0] for shape in shapes} == {8}
    assert len(set(shapes)) <= 8 < len(shapes)
    for name, weight in plain.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-3, atol=1e-4)


def test_graphs_need_triton_and_a_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(graphs, "find_spec", lambda name: None)
    assert graphs.what_graphs_lack() == "Triton"
    monkeypatch.setattr(graphs, "find_spec", lambda name: name)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert graphs.what_graphs_lack() == "C compiler"
    monkeypatch.undo()

    plain, _, _ = trained(tmp_path / "plain", micro_batch_size=8)
    monkeypatch.setattr(torch, "compile", lambda *arguments, **options: pytest.fail("compiled"))
    monkeypatch.setattr(graphs, "_has_graphs", lambda device: True)
    monkeypatch.setattr(graphs, "what_graphs_lack", lambda: "Triton")
    with caplog.at_level(logging.WARNING, "benchmark"):
        found, _, _ = trained(tmp_path / "asked", micro_batch_size=8, compiled=True)
    assert [message for message in caplog.messages if "there is no Triton here" in message]
    for name, weight in plain.items():
        assert torch.equal(found[name], weight), name


def test_a_cpu_computes_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda *arguments, **options: pytest.fail("compiled"))
    plain, _, _ = trained(tmp_path / "plain", micro_batch_size=8)
    asked, _, _ = trained(tmp_path / "asked", micro_batch_size=8, compiled=True)
    for name, weight in plain.items():
        assert torch.equal(asked[name], weight)


def test_fillers_weigh_nothing() -> None:
    *_, (last, _) = parts_of(pairs(), Limit(instances=16, fixed_shapes=True))
    filler = last["weights"] == 0
    assert filler.any() and (last["labels"][filler] == IGNORED).all()
    assert torch.isfinite(tiny()(last))


@pytest.mark.slow
def test_torch_makes_one_graph_of_the_loss() -> None:
    """What CUDA graphs need; the compiler itself is left out."""
    model = tiny()
    *_, (batch, _) = parts_of(pairs(), Limit(instances=16, fixed_shapes=True))
    graph = torch.compile(model, backend="eager", fullgraph=True, dynamic=False)
    torch.testing.assert_close(graph(batch), model(batch))
