"""Exported runs: what cannot be exported is said, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.report.__main__ import main
from benchmark.report.reference import write_references
from tests.report.conftest import drawn_ranks


def test_runs_without_scores_are_named_and_not_exported(
    make_run, runs_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run("alpha", search=drawn_ranks(0.3))
    make_run("failed", tasks=("search",), error="No.")
    write_references(runs_root, tmp_path / "reference")
    for source in (runs_root, tmp_path / "reference"):
        given = ["--from", str(source), "--out", str(tmp_path / "out"), "--trec"]
        assert main([*given, "--prepared", str(tmp_path)]) == 0
        told = capsys.readouterr().err
        assert "Without the scores of single candidates, hence not exported: alpha." in told
        assert not (tmp_path / "out" / "trec").exists()


def test_help_says_how_ties_are_treated(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "tied candidates have equal scores there" in shown
    assert "evaluate` counts by the protocol's rule" in shown
    assert "break ties by rules of their own" in shown
