"""Two processes that ``torchrun`` starts fit each system together."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmark.jobs.record import find_run_folders
from tests.run.conftest import TINY_RECIPE, ProjectCopy
from tests.run.test_resume import TRAINED

AFTER_AN_ARTIFACT = '''
"""The trained system, behind an artifact that is itself a training."""
import os
from pathlib import Path
from torch import nn
from baselines.extra_dying import Added as Dying, Pairs
from benchmark.files import write_text
from benchmark.kit.training import train


class Added(Dying):
    def fit(self, view):
        def build(folder):
            self.model = self.seeded_build(view.corpus)
            def loss(batch):
                return nn.functional.cross_entropy(self.model(batch["last"]), batch["target"])
            train(self.model, Pairs(view), loss, self.config.training, self.context, name="first")
            write_text(folder / "done", "done")

        self.context.artifacts.get("first-stage", {"part": "of the test"}, build)
        marks = Path(os.environ["MARKS"])
        write_text(marks / ("fits-" + os.environ["RANK"]), str(self.context.folder))
        super().fit(view)
'''

BROKEN = '''
"""It cannot learn."""
from benchmark.errors import SystemFailure
from benchmark.systems.contract import System


class Added(System):
    def fit(self, view): raise SystemFailure("there is nothing to learn here.")
    def score(self, requests): return requests.candidates.astype("float32")
    def save(self, folder): pass
    def load(self, folder, corpus): pass
'''


def _run(
    project: ProjectCopy, systems: str, results: str, *more: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    (project.root / "tiny.yaml").write_text(TINY_RECIPE, encoding="utf-8")
    torchrun = "--standalone", "--nproc-per-node", "2", "-m", "benchmark.run"
    ours = "--dataset", "tiny.yaml", "--systems", systems, "--results", results, "--device", "cpu"
    return project.run(*torchrun, *ours, *more, module="torch.distributed.run", **environment)


def _published(results: Path) -> dict[str, bytes]:
    files = ("metrics.json", "ranks.parquet")
    return {
        f"{folder.parent.name}/{name}": (folder / name).read_bytes()
        for folder in find_run_folders(results / "runs")
        for name in files
        if (folder / name).exists()
    }


def test_both_processes_fit_and_the_first_one_records(project: ProjectCopy, tmp_path: Path) -> None:
    project.add_system("dying", TRAINED)
    project.add_system("staged", AFTER_AN_ARTIFACT)
    project.add_system("broken", BROKEN)
    marks = tmp_path / "marks"
    marks.mkdir()
    systems = "popularity,broken,staged"
    calm = _run(project, systems, "calm", MARKS=str(marks))
    assert "there is nothing to learn here." in calm.stderr
    folders = {path.name: Path(path.read_text()) for path in marks.iterdir()}
    assert set(folders) == {"fits-0", "fits-1"}
    assert folders["fits-0"].is_relative_to(project.root / "calm")
    assert not folders["fits-1"].exists()
    runs = find_run_folders(project.root / "calm" / "runs")
    records = {folder.parent.name: json.loads((folder / "run.json").read_text()) for folder in runs}
    states = {name: record["status"] for name, record in records.items()}
    assert states == {"popularity": "finished", "broken": "failed", "staged": "finished"}
    assert records["staged"]["environment"]["processes"] == "2"
    assert not list((project.root / "calm" / "work").iterdir())

    # The artifact is there when the killed run starts again, the system is half trained.
    environment = {"DIE_AT": "training", "MARKERS": str(tmp_path), "MARKS": str(marks)}
    killed = _run(project, "staged", "results", **environment)
    assert killed.returncode != 0 and (tmp_path / "training").exists()
    assert list(project.root.glob("results/artifacts/first-stage-*/manifest.json"))
    assert list(project.root.glob("results/work/*/checkpoint/*/step-*/manifest.json"))
    assert not find_run_folders(project.root / "results" / "runs")
    resumed = _run(project, "staged", "results", **environment)
    assert resumed.returncode == 0, resumed.stderr
    after_kill = _published(project.root / "results")
    assert after_kill and after_kill.items() <= _published(project.root / "calm").items()


@pytest.mark.parametrize(
    ("systems", "more", "sentence"),
    [
        ("popularity", ("--jobs", "2"), "--jobs must be 1 under torchrun"),
        ("no-such-system", (), "unknown system 'no-such-system'"),
    ],
)
def test_bad_input_is_one_sentence(
    systems: str, more: tuple[str, ...], sentence: str, project: ProjectCopy
) -> None:
    refused = _run(project, systems, "results", *more)
    assert refused.returncode != 0
    assert sentence in refused.stderr
    assert "benchmark/run/__main__.py" not in refused.stderr
