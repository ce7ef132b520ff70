"""`report --trec` and `protocol evaluate`: exported runs give the figures of both views' tables.

The whole suite is trained once for it, on 60 users.
"""

from __future__ import annotations

import json
from pathlib import Path

import ir_measures
import numpy as np
import pytest

from benchmark.data import load
from benchmark.errors import BenchmarkError
from benchmark.files import build_folder, write_json
from benchmark.jobs.record import (
    BEST_FILE,
    RANKS_FILE,
    SCORES_FILE,
    Run,
    find_run_folders,
    read_run,
)
from benchmark.jobs.scores import read_scores
from benchmark.protocol.__main__ import main as protocol
from benchmark.protocol.kept_tasks import load_tasks
from benchmark.protocol.metrics import (
    CUTOFFS,
    METRIC_NAMES,
    VIEWS,
    Ranks,
    every_metric,
    gains,
    ranks_of_targets,
)
from benchmark.protocol.settings import PRESETS
from benchmark.report.__main__ import main as report
from benchmark.report.reading.ranks import read_ranks
from benchmark.systems.catalogue import entries
from tests.run.conftest import ProjectCopy

# Ties, candidates that were pruned, and events of which every candidate was.
PRUNING = """
import numpy as np
from benchmark.systems.contract import System

class Added(System):
    def fit(self, view): pass
    def score(self, requests):
        scores = (requests.candidates * 7919 % 13).astype(np.float32) / 3
        scores[requests.candidates % 4 == 0] = -np.inf
        scores[requests.user % 5 == 0] = -np.inf
        return scores
    def save(self, folder): pass
    def load(self, folder, corpus): pass
"""
SUITE = [name for name, row in entries().items() if row.in_suite]
SEED = 2024
THEIR_NAMES = {"HR": "Success", "NDCG": "nDCG", "MRR": "RR", "Recall": "R"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with runs of every system of the suite, and of one that prunes."""
    from tests.run import conftest

    project: ProjectCopy = conftest.project.__wrapped__(tmp_path_factory.mktemp("trec"))
    project.add_system("pruning", PRUNING, tasks='("recommendation", "search")')
    systems = ",".join([*SUITE, "pruning"])
    done = project.run("--dataset", "tiny", "--preset", "smoke", "--systems", systems)
    assert done.returncode == 0, done.stderr
    done = project.run("--trec", module="benchmark.report")
    assert done.returncode == 0, done.stderr
    assert "not exported" not in done.stderr
    return project.root


def runs_of(root: Path) -> list[Run]:
    return [read_run(folder) for folder in find_run_folders(root / "results" / "runs")]


def trec_folder(root: Path) -> Path:
    return root / "results" / "trec" / "tiny-paper-smoke"


def evaluated(
    root: Path, task: str, run: Path, capsys: pytest.CaptureFixture[str], *changes: str
) -> list[float]:
    """The figures that the command prints."""
    prepared = str(root / "datasets" / "prepared")
    recipe = str(root / "datasets" / "tiny.yaml")
    given = ["evaluate", recipe, "--prepared", prepared, "--task", task, "--run", str(run)]
    place = ["--results", str(root / "evaluated")]
    assert protocol([*given, *place, *changes]) == 0
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines()[3:])
    return [float(printed[name]) for name in METRIC_NAMES]


def test_evaluate_gives_the_tables_figures(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = runs_of(exported)
    assert len(runs) == len(SUITE) + 1
    for run in runs:
        for task, figures in run.metrics.items():
            tag = f"{run.record.system.name}-{SEED}-{task}.trec"
            found = evaluated(exported, task, trec_folder(exported) / tag, capsys)
            assert found == pytest.approx([figures[name] for name in METRIC_NAMES], abs=1e-6), tag


def test_runs_under_a_changed_protocol_make_the_round(
    project: ProjectCopy, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ["--set", "protocol.split=global-time", "--set", "protocol.negatives=30"]
    done = project.run("--dataset", "tiny", "--systems", "history-copy", *changes)
    assert done.returncode == 0, done.stderr
    done = project.run("--trec", module="benchmark.report")
    assert done.returncode == 0, done.stderr
    (run,) = runs_of(project.root)
    for task, figures in run.metrics.items():
        (path,) = (project.root / "results" / "trec").rglob(f"*-{SEED}-{task}.trec")
        found = evaluated(project.root, task, path, capsys, *changes)
        assert found == pytest.approx([figures[name] for name in METRIC_NAMES], abs=1e-6)


def outside_gains(qrels: Path, run: Path, metrics: tuple[str, ...]) -> np.ndarray:
    """(events, metrics) as ir_measures has them, in the order of the qrels."""
    measures = [
        ir_measures.parse_measure(f"{THEIR_NAMES[name]}@{cutoff}")
        for name, _, cutoff in (metric.partition("@") for metric in metrics)
    ]
    relevant = list(ir_measures.read_trec_qrels(str(qrels)))
    rows = {one.query_id: row for row, one in enumerate(relevant)}
    values = np.full((len(rows), len(metrics)), np.nan)
    ranked = ir_measures.read_trec_run(str(run))
    for found in ir_measures.iter_calc(measures, relevant, ranked):
        values[rows[found.query_id], measures.index(found.measure)] = found.value
    return values


@pytest.mark.parametrize("view", VIEWS)
def test_an_outside_evaluator_agrees_where_nothing_is_tied(exported: Path, view: str) -> None:
    """Event by event, at every cut-off: HR, NDCG, MRR and Recall of every system of the suite."""
    metrics = every_metric(CUTOFFS[view])
    folder = trec_folder(exported)
    agreed = set()
    for run in runs_of(exported):
        for task, found in read_ranks(run.folder / RANKS_FILE)[view].items():
            ranks: Ranks = found.ranks.placed(view)
            # What a beam left out of a list is tied with nothing: it is not there.
            untied = (ranks.tied == 0) | ~ranks.returned
            tag = f"{run.record.system.name}-{SEED}-{task}"
            path = folder / f"{tag}{'' if view == 'lists' else '-all-items'}.trec"
            theirs = outside_gains(folder / f"{task}.qrels", path, metrics)
            ours = np.stack([gains(ranks, metric) for metric in metrics], axis=1)
            assert np.isfinite(theirs).all(), tag
            assert np.abs(theirs - ours)[untied].max(initial=0.0) < 1e-9, tag
            assert ours.mean(axis=0) == pytest.approx(
                [run.metrics_of(view)[task][metric] for metric in metrics], abs=1e-9
            )
            if untied.any():
                agreed.add(run.record.system.name)
    all_tied = {"bm25", "bm25-reversed", "known-pair", "history-copy"}
    assert set(SUITE) - all_tied <= agreed
    assert view == "all-items" or "pruning" in agreed  # of all items it has a dozen scores only


def test_best_items_have_the_lists_scores(exported: Path) -> None:
    """An item that stands in both files of a run has one score, whatever it was scored beside."""
    compared = 0
    for run in runs_of(exported):
        if run.record.system.left_out.get("recommendation", 1.0) > 0.0:
            continue
        found = [
            {tuple(line.split()[:3:2]): float(line.split()[4]) for line in path.open()}
            for path in (
                trec_folder(exported) / f"{run.record.system.name}-{SEED}-recommendation{view}.trec"
                for view in ("", "-all-items")
            )
        ]
        for key in found[0].keys() & found[1].keys():
            assert found[0][key] == pytest.approx(found[1][key], rel=1e-5, abs=1e-5)
            compared += 1
    assert compared > 10_000


def test_the_files_hold_the_ids_of_the_exported_lists(exported: Path, tmp_path: Path) -> None:
    recipe, prepared = exported / "datasets" / "tiny.yaml", exported / "datasets" / "prepared"
    out = tmp_path / "lists"
    assert protocol(["export", str(recipe), "--prepared", str(prepared), "--out", str(out)]) == 0
    for task in ("recommendation", "search"):
        ours = (trec_folder(exported) / f"{task}.qrels").read_bytes()
        assert ours == (out / f"{task}.qrels").read_bytes()
        lists = [
            {tuple(line.split()[:3]) for line in path.read_text(encoding="utf-8").splitlines()}
            for path in (
                out / f"{task}.candidates.trec",
                trec_folder(exported) / f"random-{SEED}-{task}.trec",
            )
        ]
        assert lists[0] == lists[1]


def test_a_damaged_file_of_scores_is_one_sentence(exported: Path, tmp_path: Path) -> None:
    run = runs_of(exported)[0]
    content = bytearray((run.folder / SCORES_FILE).read_bytes())
    content[len(content) // 3] ^= 255
    (tmp_path / SCORES_FILE).write_bytes(content)
    with pytest.raises(BenchmarkError, match="is not a table of scores"):
        read_scores(tmp_path / SCORES_FILE, next(iter(run.metrics)))
    with pytest.raises(BenchmarkError, match="holds no scores of the other task"):
        read_scores(run.folder / SCORES_FILE, "other")


def test_runs_on_other_lists_are_not_exported(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The record names lists that its protocol does not give here, as those from outside."""
    run = next(run for run in runs_of(exported) if run.record.system.name == "random")
    record = json.loads((run.folder / "run.json").read_text(encoding="utf-8"))
    record["protocol"]["candidates"]["search"] = "others"

    def fill(folder: Path) -> None:
        write_json(folder / "run.json", record)
        for name in ("metrics.json", RANKS_FILE, SCORES_FILE, BEST_FILE):
            (folder / name).write_bytes((run.folder / name).read_bytes())

    build_folder(tmp_path / "runs" / "one", fill)
    given = ["--from", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--trec"]
    assert report([*given, "--prepared", str(exported / "datasets" / "prepared")]) == 0
    assert "ranked other search lists than its protocol gives here" in capsys.readouterr().err
    files = {path.name for path in (tmp_path / "out" / "trec").rglob("*") if path.is_file()}
    tag = f"random-{SEED}-recommendation"
    assert files == {f"{tag}.trec", f"{tag}-all-items.trec", "recommendation.qrels"}


def test_the_ranks_follow_from_the_scores(exported: Path) -> None:
    prepared = exported / "datasets" / "prepared"
    dataset = load(exported / "datasets" / "tiny.yaml", root=prepared)
    tasks = load_tasks(dataset, PRESETS["paper"], prepared)
    for run in runs_of(exported):
        for task, kept in read_ranks(run.folder / RANKS_FILE)["lists"].items():
            ranks = kept.ranks
            scores = read_scores(run.folder / SCORES_FILE, task)
            assert scores.dtype == np.float32
            assert run.record.protocol.list_lengths[task] == scores.shape[1]
            found = ranks_of_targets(scores, tasks[task].test_candidates.target_column)
            for name in ("above", "tied", "returned"):
                assert np.array_equal(getattr(found, name), getattr(ranks, name))
