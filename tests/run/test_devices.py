"""Which GPU a job is given, and that training keeps to it; no GPU is needed to see that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmark.errors import BenchmarkError
from benchmark.jobs.machine import chosen_device, least_held, visible_cuda_devices
from benchmark.jobs.store import JobSpec
from benchmark.kit.training.accelerator import accelerator_of
from benchmark.run import workers
from benchmark.run.worker import Order
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.tune import crew as tuning

JOB = JobSpec(
    *("0" * 64, {}, "tiny", "tiny", "", "paper", {}, None, "random", "Random", {}, {}, "smoke"),
    *(1, "cuda", "fp32", 1, (), ""),
)


@pytest.mark.parametrize(
    ("variable", "devices"),
    [("0,1,2", ["0", "1", "2"]), ("3, GPU-aa", ["3", "GPU-aa"]), ("1,-1,2", ["1"]), ("", [])],
)
def test_visible_devices_are_read_as_cuda_reads_them(
    variable: str, devices: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible_cuda_devices() == devices


def test_a_device_that_fewest_hold_comes_next() -> None:
    assert least_held(["0", "1", "2"], ["0", "2"]) == "1"
    assert least_held(["0", "1"], ["0", "1", "0"]) == "1"
    assert least_held([], ["0"]) is None


def _visible_to(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """What each process that a crew starts from now on is told that it may see."""
    seen: list[str | None] = []

    def popen(*_: object, env: dict[str, str], **__: object) -> SimpleNamespace:
        seen.append(env.get("CUDA_VISIBLE_DEVICES"))
        return SimpleNamespace(wait=lambda *_: 0, terminate=lambda: None)

    monkeypatch.setattr("subprocess.Popen", popen)
    return seen


def test_each_job_at_the_same_time_sees_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5,7")
    seen = _visible_to(monkeypatch)
    with workers.Crew(4, workers.devices_of([JOB], 4)) as crew:
        for _ in range(4):
            crew.give(Order(JOB))
        assert seen == ["2", "5", "7", "2"]
        crew.dismiss(crew.workers[1])  # one that died is replaced on its own device
        crew.give(Order(JOB))
    assert seen[4:] == ["5"]


def test_each_trial_at_the_same_time_sees_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    seen = _visible_to(monkeypatch)
    unused: Any = None
    crew = tuning.Crew({"s": {}}, unused, unused, unused, workers.devices_of([JOB], 2))
    for _ in range(2):
        crew.hire()
    crew.dismiss()
    assert seen == ["2", "5"]


@pytest.mark.parametrize(("device", "jobs"), [("cuda", 1), ("cuda:1", 2), ("cpu", 2)])
def test_a_job_alone_or_on_a_device_that_was_asked_for_sees_what_its_suite_sees(
    device: str, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    seen = _visible_to(monkeypatch)
    job = replace(JOB, device=device)
    with workers.Crew(jobs, workers.devices_of([job], jobs)) as crew:
        crew.give(Order(job))
    assert seen == ["2,5"]


@pytest.mark.parametrize(("device", "chosen"), [("cuda:3", ["cuda:3"]), ("cuda", []), ("cpu", [])])
def test_training_keeps_to_the_device_that_was_asked_for(
    device: str, chosen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accelerate's own device is torch's current one, which is what must be set."""
    current: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    context = RunContext(1, tmp_path, ArtifactStore(tmp_path), device=device)
    accelerator_of(context)
    assert current == chosen


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert chosen_device("cuda:1") == "cuda:1"
    with pytest.raises(BenchmarkError, match=r"--device cuda:2: the CUDA devices here are 0 to 1"):
        chosen_device("cuda:2")
    with pytest.raises(BenchmarkError, match=r"cuda:x.*cuda:N"):
        chosen_device("cuda:x")
