"""What is counted of a training step without an accelerator."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from baselines import training_speed
from benchmark.kit.training.micro_batches import Limit, cuts, room_of
from benchmark.speed import passes
from benchmark.speed.passes import (
    H200_BYTES,
    KernelCounter,
    Passes,
    costs_of,
    measured_passes,
    operations,
)


def test_what_computes_is_counted_and_views_are_not() -> None:
    x = torch.ones(4, 3, requires_grad=True)
    with KernelCounter() as counter:
        y = (x.T.reshape(2, 6)[:1] * 2).exp()  # a copy, a product, an exponential
        y.detach()
    assert counter.kernels == 3


def test_a_pass_of_more_layers_has_more_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    one = measured_passes(1)
    fewer = passes.NARROW.model_copy(update={"layers": 3})
    monkeypatch.setattr(passes, "NARROW", fewer)
    half = measured_passes(1)
    assert 1000 < one.kernels < 4000 and 0.45 < half.kernels / one.kernels < 0.65
    assert one.host_seconds > 0 and one.update_host_seconds > 0


def test_operations_are_those_of_the_products() -> None:
    """Six layers of a T5-small and its output layer, forward and twice backward."""
    inputs, targets, width, inner, hidden = 40, 6, 512, 512, 2048
    encoder = inputs * (4 * width * inner + 2 * width * hidden) + 2 * inputs**2 * inner
    decoder = targets * (6 * width * inner + 2 * width * hidden) + 2 * targets**2 * inner
    decoder += inputs * 2 * width * inner + 2 * inputs * targets * inner
    output = targets * width * passes.TOKENS
    expected = 3 * 2 * (6 * (encoder + decoder) + output)
    assert operations(inputs, targets) == pytest.approx(expected, rel=0.02)


def test_parts_by_memory_take_an_eighth_of_the_kernels_of_parts_of_64() -> None:
    """Prompts of 12 to 130 tokens, as on Skin Care, and an H200's memory."""
    random = np.random.default_rng(0)
    inputs, targets = random.integers(12, 131, size=8192), np.full(8192, 6)
    costs = costs_of()
    room = room_of(H200_BYTES, torch.nn.Linear(training_speed.WEIGHTS, 1, device="meta"))
    parts = list(cuts(inputs, targets, Limit(room=room, costs=costs)))
    before = list(cuts(inputs, targets, Limit(instances=64)))
    assert len(before) == 128 and len(parts) <= 128 / 8


def test_hours_are_said_to_be_computed_and_follow_the_formula(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work = training_speed.Workload("one", 1_000_000, 10, 1000, 10, 5, validations=2)
    monkeypatch.setattr(training_speed, "WORKLOADS", (work,))
    monkeypatch.setattr(training_speed, "operations", lambda inputs, targets, tokens: 1e9 * targets)
    of = Passes(kernels=1, update_kernels=1, host_seconds=0.8, update_host_seconds=0.2)
    costs = passes.PartCosts((1e6, 0.0, 0.0, 0.0, 0.0, 0.0))
    said, line, *together = training_speed._hours(of, costs, 1e12)
    assert "COMPUTED" in said and "not timed on a GPU" in said
    host = 10 * 1_000_000 / 1000 * 1.0 / 3600
    scored = 2 * 10_000 * 50e9 / (989e12 * 0.1) / 3600
    assert f"host {host:.1f} h" in line
    assert f"{max(host, 10e6 * 5e9 / (989e12 * 0.1) / 3600) + scored:.1f}, " in line
    assert len(together) == len(training_speed.SHARES_OF_PEAK)
    measured = training_speed.hours_of(work, of, costs, 1e12, 0.1)
    assert f"{measured.all_told:.1f} h" in together[0]


class Few(training_speed._Fixed):
    """An epoch of 1,000 instances."""

    def __len__(self) -> int:
        return 1000


def test_timed_steps_go_on_over_epochs() -> None:
    first = training_speed._First(Few(), 9)
    sizes = list(map(len, first.batches(256, np.random.default_rng(0))))
    assert sizes == [256, 256, 256, 232, 256, 256, 256, 232, 256]


@pytest.mark.parametrize("a_step", [0.0001, 0.3, 100.0])
def test_the_steps_of_a_timing_fill_its_seconds(a_step: float) -> None:
    steps = training_speed._steps_that_fill(30.0, lambda number: (0.5 + number * a_step, 1))
    assert steps == 2 or 20.0 < steps * a_step < 31.0
