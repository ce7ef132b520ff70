"""Killed, interrupted, failed and doubled runs of the real command."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.jobs.record import find_run_folders, read_run
from tests.run.conftest import ProjectCopy

TRAINED = '''
"""A trained system that kills its process at the moments that the environment names."""
import os, signal
from pathlib import Path
import torch
from torch import nn
from benchmark.kit.modules import TorchSystem
from benchmark.kit.training import Instances, TrainingSettings, train
from benchmark.systems.contract import SystemConfig


class AddedConfig(SystemConfig):
    training: TrainingSettings = TrainingSettings(
        epochs=4, batch_size=64, learning_rate=0.05, checkpoint_seconds=0
    )


def die_once(moment):
    marker = Path(os.environ.get("MARKERS", "/nonexistent")) / moment
    if os.environ.get("DIE_AT") == moment and not marker.exists():
        marker.write_text("died here")
        worker = os.getppid()
        if os.environ["WHO"] == "suite":
            os.kill(int(Path(f"/proc/{worker}/stat").read_text().split()[3]), signal.SIGKILL)
        if os.environ["WHO"] == "worker":
            os.kill(worker, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


class Pairs(Instances):
    def __init__(self, view):
        self.examples = view.examples("recommendation")

    def __len__(self):
        return len(self.examples)

    def batch(self, rows, random):
        part = self.examples.select(rows)
        return {
            "last": torch.from_numpy(part.history(1, "recommendation").items[:, 0]).long(),
            "target": torch.from_numpy(part.target).long(),
        }


class Added(TorchSystem):
    Config = AddedConfig

    def build(self, corpus):
        size = corpus.number_of_items + 1
        return nn.Sequential(nn.Embedding(size, 8), nn.Dropout(0.3), nn.Linear(8, size))

    def fit(self, view):
        self.model = self.seeded_build(view.corpus)
        self.steps = 0

        def loss(batch):
            self.steps += 1
            if self.steps == 5:
                die_once("training")
            return nn.functional.cross_entropy(self.model(batch["last"]), batch["target"])

        validate = lambda: view.validate(self, ("recommendation",))
        train(self.model, Pairs(view), loss, self.config.training, self.context, validate)

    def score_batch(self, requests):
        die_once("scoring")
        last = torch.from_numpy(requests.history(1, "recommendation").items[:, 0]).long()
        return self.model(last).gather(1, torch.from_numpy(requests.candidates).long())

    def save(self, folder):
        die_once("saving")
        super().save(folder)

    def load(self, folder, corpus):
        super().load(folder, corpus)
        die_once("loading")
'''

BROKEN = """
import numpy as np
from benchmark.systems.contract import System


class Added(System):
    def fit(self, view): pass
    def score(self, requests): return np.{expression}
    def save(self, folder): pass
    def load(self, folder, corpus): pass
"""


def _metrics(results: Path, system: str) -> bytes:
    folders = [f for f in find_run_folders(results / "runs") if f.parent.name == system]
    assert len(folders) == 1
    names = ("metrics.json", "ranks.parquet", "scores.parquet")
    return b"".join((folders[0] / name).read_bytes() for name in names)


@pytest.mark.parametrize("who", ["suite", "worker", "job"])
@pytest.mark.parametrize("moment", ["training", "saving", "loading", "scoring"])
def test_a_killed_run_ends_with_the_bytes_of_an_undisturbed_one(
    moment: str,
    who: str,
    project: ProjectCopy,
    run_tiny: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    project.add_system("dying", TRAINED)
    undisturbed = run_tiny("--systems", "dying", "--results", "calm")
    assert undisturbed.returncode == 0, undisturbed.stderr

    environment = {"DIE_AT": moment, "WHO": who, "MARKERS": str(tmp_path)}
    killed = run_tiny("--systems", "dying", **environment)
    assert (tmp_path / moment).exists()
    if who == "suite":
        assert killed.returncode == -signal.SIGKILL
        if moment == "training":
            assert list(project.root.glob("results/work/*/checkpoint/*/step-*/manifest.json"))
        assert not find_run_folders(project.root / "results" / "runs")
        resumed = run_tiny("--systems", "dying", **environment)
        assert resumed.returncode == 0, resumed.stderr
    else:
        assert killed.returncode == 0, killed.stderr
        assert "its process was ended by SIGKILL; it is tried again" in killed.stderr
    calm, after_kill = project.root / "calm", project.root / "results"
    assert _metrics(calm, "dying") == _metrics(after_kill, "dying")
    assert not list((project.root / "results" / "work").iterdir())


def test_a_second_call_computes_nothing(
    project: ProjectCopy, run_tiny: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    systems = "popularity,bm25,query-item-prior"
    assert run_tiny("--systems", systems).returncode == 0
    before = {f: f.stat().st_mtime_ns for f in (project.root / "results/runs").rglob("*")}
    again = run_tiny("--systems", systems)
    assert again.returncode == 0
    assert "0 jobs run" in again.stderr
    assert "Popularity" in again.stdout
    after = {f: f.stat().st_mtime_ns for f in (project.root / "results/runs").rglob("*")}
    assert before == after
    dry = run_tiny("--systems", systems, "--dry-run")
    assert dry.stdout.count("done") == 3
    fresh = run_tiny("--systems", systems, "--fresh")
    assert "3 jobs run" in fresh.stderr


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("full(requests.candidates.shape, np.nan, np.float32)", "which is not finite"),
        ("zeros((len(requests), 3), np.float32)", "have shape"),
        ("zeros(requests.candidates.shape, np.int64)", "not float32"),
        ("no_such_function()", "AttributeError"),
    ],
)
def test_a_broken_system_is_recorded_and_the_suite_goes_on(
    expression: str,
    complaint: str,
    project: ProjectCopy,
    run_tiny: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    project.add_system("broken", BROKEN.replace("{expression}", expression))
    ran = run_tiny("--systems", "broken,popularity")
    assert ran.returncode == 1
    assert complaint in ran.stderr
    assert "Traceback" not in ran.stderr
    status = {
        read_run(folder).record.system.name: read_run(folder).record.status
        for folder in find_run_folders(project.root / "results" / "runs")
    }
    assert status == {"broken": "failed", "popularity": "finished"}
    tables = "".join(p.read_text() for p in (project.root / "results/tables").glob("*.tex"))
    assert r"\dagger" in tables
    again = run_tiny("--systems", "broken,popularity")
    assert "0 jobs run" in again.stderr and "1 done before, 1 failed before." in again.stderr
    assert again.returncode == 1
    retried = run_tiny("--systems", "broken,popularity", "--retry-failed")
    assert "1 job run" in retried.stderr


def test_ctrl_c_says_that_the_same_command_goes_on(project: ProjectCopy) -> None:
    source = BROKEN.replace("np.{expression}", "__import__('time').sleep(600)").replace(
        "def fit(self, view): pass",
        "def fit(self, view): open('fitting', 'w').close()",
    )
    project.add_system("slow", source)
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmark.run", "--dataset", "tiny", "--systems", "slow"],
        cwd=project.root,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # A shell starts background commands, such as these tests, with the signal ignored, and
        # children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 300  # a busy machine takes long to import
        while not (project.root / "fitting").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "the same command goes on from there" in errors
    assert "Traceback" not in errors


def test_two_runs_on_one_folder_do_every_job_once(project: ProjectCopy) -> None:
    counting = BROKEN.replace(
        "np.{expression}", "np.zeros(requests.candidates.shape, np.float32)"
    ).replace(
        "def fit(self, view): pass",
        "def fit(self, view):\n"
        "        import os, time\n"
        "        open(f'fitted-{os.getpid()}', 'w').close()\n"
        "        time.sleep(3)",
    )
    project.add_system("counting", counting)
    command = [sys.executable, "-m", "benchmark.run", "--dataset", "tiny", "--systems", "counting"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen(
            command,
            cwd=project.root,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    results = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    assert len(list(project.root.glob("fitted-*"))) == 1


def test_jobs_in_processes_give_the_same_bytes_and_blame_the_job_that_dies(
    project: ProjectCopy, run_tiny: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    systems = "popularity,history-copy,query-item-prior"
    assert run_tiny("--systems", systems).returncode == 0
    parallel = run_tiny("--systems", systems, "--jobs", "2", "--results", "parallel")
    assert parallel.returncode == 0, parallel.stderr
    for system in systems.split(","):
        serial = _metrics(project.root / "results", system)
        assert serial == _metrics(project.root / "parallel", system)
    killer = BROKEN.replace(
        "np.{expression}", "__import__('os').kill(__import__('os').getpid(), 9)"
    )
    project.add_system("killer", killer)
    ran = run_tiny("--systems", "killer,popularity,random", "--jobs", "2", "--results", "deadly")
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
    status = {
        read_run(folder).record.system.name: read_run(folder).record.status
        for folder in find_run_folders(project.root / "deadly" / "runs")
    }
    assert status == {"killer": "failed", "popularity": "finished", "random": "finished"}


def test_a_full_disk_is_one_sentence_and_keeps_what_is_finished(
    project: ProjectCopy, run_tiny: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    assert run_tiny("--systems", "popularity").returncode == 0
    before = _metrics(project.root / "results", "popularity")
    limited = subprocess.run(
        [sys.executable, "-m", "benchmark.run", "--dataset", "tiny", "--systems", "history-copy"],
        cwd=project.root,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        preexec_fn=lambda: (
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
            resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700)),
        ),
    )
    assert limited.returncode == 2, limited.stderr
    assert "cannot be written" in limited.stderr
    assert "Traceback" not in limited.stderr
    assert _metrics(project.root / "results", "popularity") == before
    assert run_tiny("--systems", "popularity,history-copy").returncode == 0


def test_a_flipped_bit_in_a_run_is_found_and_the_job_redone(
    project: ProjectCopy, run_tiny: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    assert run_tiny("--systems", "popularity").returncode == 0
    (folder,) = find_run_folders(project.root / "results" / "runs")
    path = folder / "metrics.json"
    good = path.read_bytes()
    path.write_bytes(good.replace(b"HR@1", b"HR@2", 1))
    ran = run_tiny("--systems", "popularity")
    assert ran.returncode == 0
    assert "1 job run" in ran.stderr
    assert path.read_bytes() == good


def test_the_record_says_what_ran(
    project: ProjectCopy, run_tiny: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    ran = run_tiny("--systems", "history-copy", "--set", "protocol.negatives=20")
    assert ran.returncode == 0, ran.stderr
    (folder,) = find_run_folders(project.root / "results" / "runs")
    record = json.loads((folder / "run.json").read_text())
    assert record["protocol"]["name"] == "custom:paper"
    assert record["protocol"]["settings"]["negatives"] == 20
    assert record["system"]["configuration"] == {"history_length": 50}
    assert record["environment"]["numpy"]
    assert record["cost"]["peak_memory_bytes"] > 0


def with_another_negative(run_file: Path, folder: Path) -> None:
    """Put another item in place of one negative of the first list."""
    lines = run_file.read_text().splitlines(keepends=True)
    event = lines[0].split()[0]
    qrels = (folder / "recommendation.qrels").read_text().splitlines()
    target = next(line.split()[2] for line in qrels if line.split()[0] == event)
    own = {line.split()[2] for line in lines if line.split()[0] == event}
    new = next(line.split()[2] for line in lines if line.split()[2] not in own)
    row = next(i for i, line in enumerate(lines) if line.split()[2] != target)
    lines[row] = lines[row].replace(lines[row].split()[2], new, 1)
    run_file.write_text("".join(lines))


def test_lists_from_outside_are_used_and_named(
    project: ProjectCopy, run_tiny: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    exported = project.run("export", "tiny", "--out", "lists", module="benchmark.protocol")
    assert exported.returncode == 0, exported.stderr
    same = run_tiny("--systems", "popularity", "--candidates", "lists")
    assert same.returncode == 0, same.stderr
    assert "0 jobs run" in run_tiny("--systems", "popularity").stderr  # they are the same lists

    others = project.root / "others"
    shutil.copytree(project.root / "lists", others)
    (others / "recommendation.parquet").unlink()
    with_another_negative(others / "recommendation.candidates.trec", others)
    other = run_tiny("--systems", "popularity", "--candidates", "others")
    assert other.returncode == 0, other.stderr
    assert "1 job run" in other.stderr
    assert "protocol custom:paper" in " ".join(other.stdout.split())

    (project.root / "lists" / "search.parquet").unlink()
    (project.root / "lists" / "recommendation.parquet").unlink()
    run_file = project.root / "lists" / "recommendation.candidates.trec"
    lines = run_file.read_text().splitlines(keepends=True)
    first_list = [line for line in lines if line.split()[0] == lines[0].split()[0]]
    kept = [line for line in lines if line not in first_list]
    swapped = [line.replace(line.split()[0], kept[0].split()[0], 1) for line in first_list]
    run_file.write_text("".join(kept + swapped))
    broken = run_tiny("--systems", "popularity", "--candidates", "lists")
    assert broken.returncode == 2
    assert "recommendation.candidates.trec" in broken.stderr
