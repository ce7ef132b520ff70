"""Runs that follow a report bring the page up to date that lies beside the tables."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from tests.run.conftest import ProjectCopy

RunTiny = Callable[..., subprocess.CompletedProcess[str]]


def test_a_page_is_made_anew_where_one_lies(project: ProjectCopy, run_tiny: RunTiny) -> None:
    page = project.root / "results" / "report.html"
    assert run_tiny("--systems", "random").returncode == 0
    assert not page.exists()
    assert project.run("--html", module="benchmark.report").returncode == 0
    assert "Popularity" not in page.read_text(encoding="utf-8")
    assert run_tiny("--systems", "popularity").returncode == 0
    assert "Popularity" in page.read_text(encoding="utf-8")
