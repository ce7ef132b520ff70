"""Arithmetic: what makes it portable is set before libraries load, and is part of the identity."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.errors import BenchmarkError
from benchmark.files import read_json
from benchmark.jobs.record import RUN_FILE
from benchmark.run.__main__ import main
from benchmark.systems import arithmetic as module
from benchmark.systems.arithmetic import NATIVE, PORTABLE, VARIABLES, arithmetic, use
from tests.run.conftest import ProjectCopy

SYSTEM = """
import torch
from benchmark.systems.contract import System, SystemConfig

class Added(System):
    Config = SystemConfig
    def fit(self, view):
        assert torch.backends.cpu.get_cpu_capability() == "AVX2", "not portable"
    def score(self, requests):
        return torch.zeros(requests.candidates.shape)
    def save(self, folder):
        (folder / "nothing").touch()
    def load(self, folder, view):
        pass
"""


def without_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in VARIABLES}


def test_it_is_portable_if_every_variable_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert arithmetic() == NATIVE
    for name, value in VARIABLES.items():
        assert arithmetic() == NATIVE
        monkeypatch.setenv(name, value)
    assert arithmetic() == PORTABLE
    monkeypatch.setenv("MKL_CBWR", "AUTO")
    assert arithmetic() == NATIVE


def test_native_asks_for_nothing() -> None:
    assert use(NATIVE, None) is None and use(NATIVE, "cuda:1") == "cuda:1"


def test_what_cannot_be_had_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BenchmarkError, match="is for the CPU, not for --device cuda:1"):
        use(PORTABLE, "cuda:1")
    # Here numpy is loaded, so that its variable would come too late.
    words = ["--arithmetic", "portable", "--results", str(tmp_path / "results")]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "--arithmetic portable: numpy is loaded already" in told and told.count("\n") == 1
    assert not (tmp_path / "results").exists()
    monkeypatch.setattr(module.platform, "machine", lambda: "arm64")
    with pytest.raises(BenchmarkError, match="needs an x86-64 processor with AVX2"):
        use(PORTABLE, "cpu")


def test_jobs_compute_portably_and_are_others(project: ProjectCopy) -> None:
    project.add_system("asks", SYSTEM)
    tiny = ("--dataset", "tiny", "--preset", "smoke", "--systems", "asks", "--device", "cpu")
    done = project.run(*tiny, "--arithmetic", "portable")
    assert done.returncode == 0, done.stderr
    (path,) = (project.root / "results" / "runs").rglob(RUN_FILE)
    assert read_json(path)["environment"]["arithmetic"] == "portable"
    native = project.run(*tiny)  # not done yet, and in vain: the system wants it portable
    assert native.returncode == 1 and "not portable" in native.stderr + native.stdout


TRAINING = """
import hashlib
import torch
from benchmark.kit.training.optimizers import make_optimizer
from benchmark.kit.training import TrainingSettings

torch.manual_seed(1)
torch.set_num_threads(1)
embedding = torch.nn.Embedding(300, 64)
encoder = torch.nn.TransformerEncoderLayer(64, 2, 128, batch_first=True, norm_first=True)
recurrence = torch.nn.GRU(64, 64, batch_first=True)
weights = [p for module in (embedding, encoder, recurrence) for p in module.parameters()]
optimizer = make_optimizer(weights, TrainingSettings(optimizer="adam"))
items, targets = torch.randint(0, 300, (2, 16, 20))
for _ in range(20):
    states, _ = recurrence(encoder(embedding(items)))
    logits = states @ embedding.weight.T
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    optimizer.step()
digest = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in weights))
print(digest.hexdigest())
"""


@pytest.mark.slow
def test_emulated_processors_train_the_same_weights() -> None:
    """Intel's and AMD's, as QEMU emulates them in user mode (Debian's package qemu-user)."""
    emulator = shutil.which("qemu-x86_64")
    assert emulator, "install qemu-user for this test"
    python = [str(Path(sys.executable).resolve()), "-c", TRAINING]
    environment = {
        **without_variables(),
        **VARIABLES,
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
    }
    commands = [python, *([emulator, "-cpu", cpu, *python] for cpu in ("Haswell", "EPYC", "max"))]
    trained = {
        subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout.split()[-1]
        for command in commands
    }
    assert len(trained) == 1
