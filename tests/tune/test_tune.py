"""The command: what it writes, kills and crashes, processes that share it, and bad options."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark.jobs.record import find_run_folders, read_run
from benchmark.tune.__main__ import main
from benchmark.tune.journal import JOURNAL
from tests.run.conftest import ProjectCopy

SYSTEM = """
import ctypes, gc, os, sys
from pathlib import Path
from typing import ClassVar
import numpy as np
import torch
from torch import nn
from benchmark.kit.modules import TorchSystem
from benchmark.kit.training import Instances, TrainingSettings, train
from benchmark.systems.contract import SystemConfig
from benchmark.systems.space import Choice, Real, UntilPatience


class AddedConfig(SystemConfig):
    size: int = 4
    training: TrainingSettings = TrainingSettings(
        epochs=3, batch_size=64, learning_rate=0.05, patience=1
    )
    search_space: ClassVar = {
        "size": Choice((4, 8)),
        "training.learning_rate": Real(0.001, 0.5, log=True),
        "training.epochs": UntilPatience(6),
    }


class Pairs(Instances):
    def __init__(self, view):
        self.examples = view.examples("recommendation")

    def __len__(self):
        return len(self.examples)

    def batch(self, rows, random):
        part = self.examples.select(rows)
        last = part.history(1, "recommendation").items[:, 0]
        return {
            "last": torch.from_numpy(last).long(), "target": torch.from_numpy(part.target).long()
        }


class Added(TorchSystem):
    Config = AddedConfig

    def build(self, corpus):
        rows = corpus.number_of_items + 1
        size = self.config.size
        return nn.Sequential(nn.Embedding(rows, size), nn.Linear(size, rows))

    def fit(self, view):
        {before}
        self.model = self.seeded_build(view.corpus)

        def build(folder):
            np.save(folder / "counts.npy", np.bincount(view.log.item))

        self.context.artifacts.get("counts", {"view": view.fingerprint}, build)

        def loss(batch):
            return nn.functional.cross_entropy(self.model(batch["last"]), batch["target"])

        train(
            self.model, Pairs(view), loss, self.config.training, self.context,
            lambda: view.validate(self, ("recommendation",)),
        )
        {after}

    def score_batch(self, requests):
        last = torch.from_numpy(requests.history(1, "recommendation").items[:, 0]).long()
        return self.model(last).gather(1, torch.from_numpy(requests.candidates).long())
"""


def system(before: str = "pass", after: str = "pass") -> str:
    return SYSTEM.replace("{before}", before).replace("{after}", after)


def arguments(results: str, systems: str = "toy", trials: int = 7, **more: Any) -> list[str]:
    options = {
        "dataset": "tiny",
        "systems": systems,
        "preset": "smoke",
        "trials": trials,
        "results": results,
        "device": "cpu",
        **more,
    }
    return [part for key, value in options.items() for part in (f"--{key}", str(value))]


def tune(project: ProjectCopy, *words: str) -> subprocess.CompletedProcess[str]:
    return project.run(*words, module="benchmark.tune")


def start(project: ProjectCopy, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "benchmark.tune", *words],
        cwd=project.root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def preset_of(project: ProjectCopy, results: str) -> Path:
    return project.root / results / "presets" / "tuned" / "tiny.yaml"


def trials_in(folder: Path) -> list[dict[str, Any]]:
    """The outcomes in a journal, by the number of their trials, one a line of it."""
    numbers: list[int] = []
    found = []
    for line in (folder / JOURNAL).read_text().splitlines():
        log = json.loads(line)
        if log["op_code"] == 4:  # a new trial; it has its number from the beginning
            numbers.append(log["user_attrs"]["number"])
        if "outcome" in log.get("user_attr", {}):
            number = numbers[log["trial_id"]]
            found.append({"number": number, **log["user_attr"]["outcome"]})
    return found


def test_it_writes_a_preset_a_table_and_a_plot_and_runs_take_the_preset(
    project: ProjectCopy,
) -> None:
    project.add_system("toy", system())
    done = tune(project, *arguments("one"))
    assert done.returncode == 0, done.stderr
    assert "toy: 7 trials" in done.stdout
    path = preset_of(project, "one")
    preset = yaml.safe_load(path.read_text())
    assert preset["extends"] == "smoke"
    assert preset["systems"]["toy"]["training"]["epochs"] == 6
    tuning = preset["tuning"]["toy"]
    assert (tuning["trials"], tuning["most_trials"], tuning["seed"]) == (7, 7, 2024)
    folder = project.root / "one" / "tuning" / "tiny"
    trials = trials_in(folder)
    values = {one["number"]: one["value"] for one in trials if one["value"] is not None}
    assert sorted(one["number"] for one in trials) == list(range(7))
    assert tuning["validation"] == max(values.values()) == values[tuning["best_trial"]]
    assert tuning["published"] == values[0]
    minutes = json.loads(path.with_suffix(".minutes.json").read_text())
    own = sum(one["own"]["cpu"] for one in trials)
    shared = {n: e["cpu"] for one in trials for n, e in one["artifacts"].items()}
    assert len(shared) == 1
    assert minutes["toy"] == pytest.approx((own + sum(shared.values())) / 60, abs=6e-4)
    for suffix in (".md", ".tex", ".csv", ".png", ".pdf"):
        assert (folder / f"tuning{suffix}").is_file()
    assert "| Toy | 7 |" in (folder / "tuning.md").read_text()
    assert not list((folder / "work").iterdir())
    assert not (project.root / "one" / "runs").exists() or not find_run_folders(
        project.root / "one" / "runs"
    )

    again = tune(project, *arguments("one"))
    assert again.returncode == 0
    assert len(trials_in(folder)) == 7

    run = project.run(
        "--dataset", "tiny", "--systems", "toy,popularity", "--results", "one",
        "--preset", "one/presets/tuned/tiny.yaml",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    records = [read_run(f).record for f in find_run_folders(project.root / "one" / "runs")]
    record = next(one for one in records if one.system.name == "toy")
    assert record.system.configuration["training"]["epochs"] == 6
    assert record.settings is not None and record.settings.chosen == "tuned"
    assert record.settings.tuning is not None
    assert record.settings.tuning.minutes == minutes["toy"]
    (table,) = (project.root / "one" / "tables").glob("*-recommendation.md")
    said = f"tuned on validation lists of tiny with 7 trials in {minutes['toy']:.1f} CPU minutes"
    assert said in table.read_text()


@pytest.mark.slow
def test_killed_at_ten_random_moments_the_command_ends_with_the_same_bytes(
    project: ProjectCopy,
) -> None:
    project.add_system("toy", system())
    project.add_system("other", system())
    words = {"systems": "toy,other", "trials": 6}
    started = time.monotonic()
    assert tune(project, *arguments("whole", **words)).returncode == 0
    duration = time.monotonic() - started
    random_moments, kills = random.Random(11), 0
    for _ in range(10):
        process = start(project, *arguments("killed", **words))
        time.sleep(random_moments.uniform(0, 0.9 * duration))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    done = tune(project, *arguments("killed", **words))
    assert done.returncode == 0, done.stderr
    assert preset_of(project, "killed").read_bytes() == preset_of(project, "whole").read_bytes()
    folder = project.root / "killed" / "tuning" / "tiny"
    ended = sorted(one["number"] for one in trials_in(folder))
    assert ended == sorted([*range(6), *range(6)])
    assert not list((folder / "work").iterdir())
    assert not list((project.root / "killed").rglob(".partial-*"))
    assert kills >= 5


def test_two_commands_share_the_studies(project: ProjectCopy) -> None:
    project.add_system("toy", system())
    both = [start(project, *arguments("shared", trials=8)) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    ended = trials_in(project.root / "shared" / "tuning" / "tiny")
    assert sorted(one["number"] for one in ended) == list(range(8))
    preset = yaml.safe_load(preset_of(project, "shared").read_text())
    assert preset["tuning"]["toy"]["trials"] == 8
    best = max(one["value"] for one in ended if one["value"] is not None)
    assert preset["tuning"]["toy"]["validation"] == best


def test_two_processes_of_one_command_share_the_trials(project: ProjectCopy) -> None:
    project.add_system("toy", system())
    done = tune(project, *arguments("jobs", trials=6, jobs=2))
    assert done.returncode == 0, done.stderr
    ended = trials_in(project.root / "jobs" / "tuning" / "tiny")
    assert sorted(one["number"] for one in ended) == list(range(6))


LOOKS = """
from benchmark.data.dataset import Dataset, EventLog
from benchmark.protocol.candidates import Candidates
from benchmark.protocol.histories import EventSet
from benchmark.protocol.task import Task
gc.collect()
seen = [type(one).__name__ for one in gc.get_objects() if isinstance(one, (Dataset, Task))]
logs = [len(one.item) for one in gc.get_objects() if isinstance(one, EventLog)]
lists = [len(one.target_column) for one in gc.get_objects() if isinstance(one, Candidates)]
import json; Path("LOOKED").write_text(json.dumps([sorted(seen), max(logs), lists]))
"""


def test_a_system_that_would_look_finds_no_test_event_in_its_process(project: ProjectCopy) -> None:
    """It goes through all objects of the interpreter, which no promise of the contract covers."""
    before = f"exec({LOOKS!r}, {{'gc': gc, 'Path': Path}})"
    project.add_system("toy", system(before=before))
    scored = "Path('SCORED').open('a').write(f'{len(requests)} ')"
    source = project.root / "baselines" / "extra_toy.py"
    text = source.read_text().replace(
        "def score_batch(self, requests):", f"def score_batch(self, requests):\n        {scored}"
    )
    source.write_text(text)
    done = tune(project, *arguments("looked", trials=1))
    assert done.returncode == 0, done.stderr
    from benchmark.data.prepare import load
    from benchmark.protocol.kept_tasks import load_tasks
    from benchmark.protocol.settings import PRESETS

    recipe, prepared = project.root / "datasets" / "tiny.yaml", project.root / "datasets/prepared"
    dataset = load(str(recipe), root=prepared)
    tasks = load_tasks(dataset, PRESETS["paper"], prepared)
    tests = sum(len(task.test) for task in tasks.values())
    seen, longest, lists = json.loads((project.root / "LOOKED").read_text())
    assert seen == []
    # Validation histories hold all events but the test's, and no other log is there.
    assert longest <= len(dataset.log.item) - tests
    # The lists of validation, one a task, and none of the test.
    assert sorted(lists) == sorted(len(task.valid) for task in tasks.values())
    sizes = set(map(int, (project.root / "SCORED").read_text().split()))
    assert sizes == {len(tasks["recommendation"].valid)}


def test_a_system_that_fails_or_crashes_ends_its_trials_only(project: ProjectCopy) -> None:
    project.add_system("fails", system(before="raise ValueError('too [bold] wide')"))
    project.add_system("crashes", system(before="ctypes.string_at(0)"))
    project.add_system("toy", system())
    done = tune(project, *arguments("failed", systems="fails,crashes,toy", trials=2))
    assert done.returncode == 1
    assert "fails: 2 trials" in done.stdout and "too [bold] wide" in done.stdout
    assert "its process was ended by signal 11 twice" in done.stdout
    preset = yaml.safe_load(preset_of(project, "failed").read_text())
    assert list(preset["systems"]) == list(preset["tuning"]) == ["toy"]


def test_what_stood_in_the_preset_of_other_systems_stays(project: ProjectCopy) -> None:
    for name in ("toy", "other"):
        project.add_system(name, system())
    assert tune(project, *arguments("apart", systems="other", trials=2)).returncode == 0
    assert tune(project, *arguments("apart", systems="toy", trials=2)).returncode == 0
    assert tune(project, *arguments("together", systems="toy,other", trials=2)).returncode == 0
    apart, together = (preset_of(project, name).read_bytes() for name in ("apart", "together"))
    assert apart == together
    refused = tune(project, *arguments("apart", preset="laptop", trials=2))
    assert refused.returncode == 2
    assert "extends 'smoke'" in refused.stderr and refused.stderr.count("\n") == 1


def test_the_minutes_end_a_study(project: ProjectCopy) -> None:
    busy = "end = os.times()[0] + 1.2\n        while os.times()[0] < end: pass"
    project.add_system("toy", system(after=busy))
    done = tune(project, *arguments("minutes", trials=50, minutes=0.05))
    assert done.returncode == 0, done.stderr
    trials = trials_in(project.root / "minutes" / "tuning" / "tiny")
    own = [one["own"]["cpu"] for one in trials]
    assert sum(own[:-1]) < 3.0 <= sum(own)
    assert len(trials) < 50


BAD: dict[str, tuple[list[str], str]] = {
    "no trials": (["--trials", "0"], "--trials 0: must be from 1 to"),
    "no minutes": (["--minutes", "0"], "--minutes 0.0: must be a number above 0."),
    "odd minutes": (["--minutes", "nan"], "--minutes nan: must be a number above 0."),
    "endless minutes": (["--minutes", "inf"], "--minutes inf: must be a number above 0."),
    "no jobs": (["--jobs", "0"], "--jobs 0: must be at least 1."),
    "negative seed": (["--seed", "-1"], "--seed -1: must be from 0"),
    "unknown system": (["--systems", "gru5rec"], "unknown system 'gru5rec' (did you mean"),
    "no system": (["--systems", ","], "--systems: names no system."),
    "twice": (["--systems", "qem,qem"], "--systems: 'qem' stands twice."),
    "nothing to tune": (["--systems", "bm25"], "'bm25' has nothing to tune"),
    "unknown preset": (["--preset", "huge"], "unknown preset 'huge'"),
    "two data sets": (["--dataset", "a,b"], "--dataset a,b: tuning is of one dataset"),
    "unknown protocol": (["--protocol", "fair"], "unknown protocol"),
    "unknown device": (["--device", "tpu"], "--device: unknown device 'tpu'"),
    "no threads": (["--threads", "-1"], "--threads -1: must be at least 1."),
    "another system's value": (["--set", "tem.dropout=0.1"], "--set: unknown system of this"),
    "no value": (["--set", "qem.dropout"], "must look like system.key=value"),
    "unknown value": (
        ["--set", "qem.droput=0.1"],
        "droput: there is no such key (did you mean 'dropout'?).",
    ),
    "unknown recipe": (["--dataset", "nowhere"], "nowhere"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, sentence = BAD[case]
    (tmp_path / "tiny.yaml").write_text(
        "name: tiny\nsource: {kind: generated, users: 60, items: 150, seed: 3}\n"
        "search: {kind: own}\n"
    )
    given = arguments(str(tmp_path / "results"), systems="qem", dataset=tmp_path / "tiny.yaml")
    assert main([*given, "--prepared", str(tmp_path / "prepared"), *words]) == 2
    said = capsys.readouterr()
    assert sentence in said.err and said.err.startswith("error: ")
    assert said.err.count("\n") == 1 and said.out == ""
    assert not (tmp_path / "results" / "presets").exists()


def test_a_missing_optuna_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmark.tune.__main__.find_spec", lambda name: None)
    assert main(arguments(str(tmp_path / "results"))) == 2
    assert "needs Optuna: pip install" in capsys.readouterr().err


def test_help_and_bad_numbers_import_neither_optuna_nor_torch() -> None:
    code = (
        "import sys; from benchmark.tune.__main__ import main; main(['--trials', '0']); "
        "sys.exit(bool({'optuna', 'torch'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
