"""Exported runs, read by an outside evaluator."""

from __future__ import annotations

from pathlib import Path

import ir_measures
import numpy as np
import pytest

from benchmark.protocol.metrics import METRIC_NAMES, Ranks, mean_metrics
from benchmark.report.__main__ import main
from benchmark.report.reference import write_references
from benchmark.report.trec import write_trec
from tests.report.test_statistics import random_ranks

MEASURES = {
    name: ir_measures.parse_measure(name.replace("HR", "Success").replace("NDCG", "nDCG"))
    for name in METRIC_NAMES
}


def outside_metrics(folder: Path, system: str, task: str) -> list[float]:
    qrels = ir_measures.read_trec_qrels(str(folder / f"{task}.qrels"))
    run = ir_measures.read_trec_run(str(folder / f"{system}-1-{task}.trec"))
    found = ir_measures.calc_aggregate(list(MEASURES.values()), qrels, run)
    return [found[measure] for measure in MEASURES.values()]


def untied_ranks(seed: int) -> Ranks:
    ranks = random_ranks(seed, events=100)
    return Ranks(ranks.above, np.zeros_like(ranks.tied), ranks.returned)


def test_an_outside_evaluator_finds_our_metrics(make_run, runs_root: Path, tmp_path: Path) -> None:
    run = make_run("alpha", search=untied_ranks(0), recommendation=untied_ranks(1))
    write_trec(runs_root, tmp_path)
    for task in ("search", "recommendation"):
        ours = [run.metrics[task][name] for name in METRIC_NAMES]
        theirs = outside_metrics(tmp_path / "tiny-paper-laptop", "alpha", task)
        assert ours == pytest.approx(theirs, abs=1e-6)


def test_ties_come_out_as_the_pessimistic_rule(make_run, runs_root: Path, tmp_path: Path) -> None:
    ranks = random_ranks(1, events=100)
    make_run("alpha", search=ranks)
    write_trec(runs_root, tmp_path)
    theirs = outside_metrics(tmp_path / "tiny-paper-laptop", "alpha", "search")
    assert list(mean_metrics(ranks, "pessimistic").values()) == pytest.approx(theirs, abs=1e-6)


def test_reference_runs_can_be_exported_too(make_run, runs_root: Path, tmp_path: Path) -> None:
    run = make_run("alpha", search=untied_ranks(2))
    write_references(runs_root, tmp_path / "reference")
    write_trec(tmp_path / "reference", tmp_path / "out")
    theirs = outside_metrics(tmp_path / "out" / "tiny-paper-laptop", "alpha", "search")
    assert [run.metrics["search"][n] for n in METRIC_NAMES] == pytest.approx(theirs, abs=1e-6)


def test_the_command_writes_them(make_run, runs_root: Path, tmp_path: Path, capsys) -> None:
    make_run("alpha", search=random_ranks(3))
    make_run("failed", tasks=("search",), error="No.")
    assert main(["--from", str(runs_root), "--out", str(tmp_path), "--trec"]) == 0
    names = {path.name for path in (tmp_path / "trec" / "tiny-paper-laptop").iterdir()}
    assert names == {"alpha-1-search.trec", "search.qrels"}
    assert "search.qrels" in capsys.readouterr().out
