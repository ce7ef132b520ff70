"""Files that change while a command runs: no number is stored under another code's identity."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.jobs.record import RunRecord, find_run_folders, read_run
from tests.run.conftest import ProjectCopy

CONSTANT = """
import time
from pathlib import Path
import numpy as np
from benchmark.systems.contract import System


class Added(System):
    def fit(self, view):
        {fit}
    def score(self, requests):
        {score}
        return np.zeros(requests.candidates.shape, np.float32)
    def save(self, folder): pass
    def load(self, folder, corpus): pass
"""
EDIT = """
        if not Path("edited").exists():
            path = Path("baselines/{file}.py")
            path.write_text(path.read_text() + "CHANGED = True\\n")
            Path("edited").touch()
"""
WAIT = """
        while not Path("edited").exists():
            time.sleep(0.05)
"""
RunTiny = Callable[..., "subprocess.CompletedProcess[str]"]


def source(fit: str = "pass", score: str = "pass") -> str:
    return CONSTANT.replace("{fit}", fit.strip()).replace("{score}", score.strip())


def stored(project: ProjectCopy) -> dict[str, RunRecord]:
    folders = find_run_folders(project.root / "results" / "runs")
    records = [read_run(folder).record for folder in folders]
    assert len({record.system.name for record in records}) == len(records)
    return {record.system.name: record for record in records}


def work(project: ProjectCopy) -> list[Path]:
    return list((project.root / "results" / "work").iterdir())


@pytest.mark.parametrize(("jobs", "file"), [(1, "helper"), (2, "helper"), (2, "extra_last")])
def test_code_edited_before_a_job_began_is_refused(
    jobs: int, file: str, project: ProjectCopy, run_tiny: RunTiny
) -> None:
    """With two processes the second job keeps its own busy until the first has edited.

    One process has loaded the systems themselves since it planned, so they stay what they were.
    """
    (project.root / "baselines" / "helper.py").write_text("VALUE = 1\n")
    project.add_system("first", source(fit=EDIT.replace("{file}", file)))
    project.add_system("second", source(fit=WAIT))
    project.add_system("last", source(score="from baselines.helper import VALUE"))
    arguments = ("--systems", "first,second,last", "--jobs", str(jobs))
    ran = run_tiny(*arguments)
    assert ran.returncode == 2, ran.stderr
    (sentence,) = [line for line in ran.stderr.splitlines() if line.startswith("error:")]
    assert "last on tiny" in sentence
    assert f"baselines.{file} changed after the job was planned" in sentence
    assert "Traceback" not in ran.stderr
    before = stored(project)
    assert "last" not in before

    again = run_tiny(*arguments)
    assert again.returncode == 0, again.stderr
    after = stored(project)
    assert after.keys() == {"first", "second", "last"}
    assert all(after[name] == record for name, record in before.items())
    assert after["last"].code
    assert len({record.code for record in after.values()}) == 3
    assert work(project) == []


@pytest.mark.parametrize("where", ["fit", "score"])
def test_code_loaded_after_it_was_edited_is_refused(
    where: str, project: ProjectCopy, run_tiny: RunTiny
) -> None:
    edit = EDIT.replace("{file}", "helper") + "        from baselines.helper import VALUE\n"
    (project.root / "baselines" / "helper.py").write_text("VALUE = 1\n")
    project.add_system("lazy", source(**{where: edit}))
    ran = run_tiny("--systems", "lazy")
    assert ran.returncode == 2, ran.stderr
    assert "baselines.helper changed after the job was planned" in ran.stderr
    assert stored(project) == {}
    assert work(project) == []
    assert run_tiny("--systems", "lazy").returncode == 0
    assert stored(project).keys() == {"lazy"}


def test_an_edit_of_what_is_loaded_already_harms_no_run(
    project: ProjectCopy, run_tiny: RunTiny
) -> None:
    text = source(fit=EDIT.replace("{file}", "extra_editor"))
    project.add_system("editor", text)
    assert run_tiny("--systems", "editor").returncode == 0
    identity = stored(project)["editor"].identity
    changed = run_tiny("--systems", "editor", "--dry-run")
    assert identity[:16] not in changed.stdout
    (project.root / "baselines" / "extra_editor.py").write_text(text)
    back = run_tiny("--systems", "editor", "--dry-run")
    assert identity[:16] in back.stdout
    assert "done" in back.stdout
