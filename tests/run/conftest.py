"""A copy of the project that a test may add systems to, and a way to run its commands."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
TINY_RECIPE = """
name: tiny
source: {kind: generated, users: 60, items: 150, seed: 3}
search: {kind: own}
"""


@dataclass(frozen=True)
class ProjectCopy:
    """The packages and recipes below a temporary folder."""

    root: Path

    def add_system(self, name: str, source: str, *, tasks: str = '("recommendation",)') -> None:
        """Write ``baselines/extra_<name>.py`` (its class is ``Added``) and its catalogue row."""
        module = "extra_" + name.replace("-", "_")
        (self.root / "baselines" / f"{module}.py").write_text(source, encoding="utf-8")
        self.add_row(
            f'SystemEntry(name="{name}", display_name="{name.title()}", family="sequential", '
            f'tasks={tasks}, target="baselines.{module}:Added")'
        )

    def add_row(self, row: str) -> None:
        """Append one row to the index page."""
        catalog = self.root / "baselines" / "catalog.py"
        text = catalog.read_text(encoding="utf-8")
        catalog.write_text(f"{text}\nENTRIES += ({row.rstrip().rstrip(',')},)\n", encoding="utf-8")

    def run(
        self, *arguments: str, module: str = "benchmark.run", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run ``python -m module`` in the copy."""
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=self.root,
            env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "160", **environment},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )


@pytest.fixture
def project(tmp_path: Path) -> ProjectCopy:
    root = tmp_path / "project"
    for package in ("benchmark", "baselines", "gensar"):
        shutil.copytree(
            PROJECT / package, root / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    (root / "datasets").mkdir()
    for recipe in (PROJECT / "datasets").glob("*.yaml"):
        shutil.copy2(recipe, root / "datasets" / recipe.name)
    (root / "datasets" / "tiny.yaml").write_text(TINY_RECIPE, encoding="utf-8")
    return ProjectCopy(root)


@pytest.fixture
def run_tiny(project: ProjectCopy) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a suite on the tiny data set."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return project.run("--dataset", "tiny", "--preset", "smoke", *arguments, **environment)

    return run
