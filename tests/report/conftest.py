"""Invented run folders, written as a real run writes them: record, metrics, manifest last."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.files import build_folder, sha256_of_json, write_json, write_text
from benchmark.jobs.ranks import write_ranks
from benchmark.jobs.record import (
    METRICS_FILE,
    RANKS_FILE,
    RUN_FILE,
    CostPart,
    DatasetPart,
    ProtocolPart,
    Run,
    RunRecord,
    SystemPart,
    read_run,
)
from benchmark.protocol.metrics import CUTOFFS, Ranks, every_metric, mean_metrics
from benchmark.protocol.settings import PRESETS
from benchmark.report.tables.grid import Grid
from benchmark.report.tables.printed import side_by_side
from benchmark.report.whole import make_report

BOTH = ("recommendation", "search")
MakeRun = Callable[..., Run]


def figures(level: float) -> dict[str, float]:
    """Figures that one true item an event can give, all from one number below 0.5."""
    return {
        "HR@1": level,
        "HR@5": 1.5 * level,
        "HR@10": 1.8 * level,
        "NDCG@5": 1.3 * level,
        "NDCG@10": 1.4 * level,
    }


def drawn_ranks(level: float, events: int = 400, seed: int = 0, sharpness: float = 6.0) -> Ranks:
    """Ranks among 100 of a system about as good as ``level``, the same events hard for everyone."""
    hardness = np.random.default_rng(1).normal(size=events)
    noise = np.random.default_rng([seed, int(level * 1e6)]).normal(scale=0.4, size=events)
    above = np.clip(99 / (1 + np.exp(-(hardness + noise + 1 - sharpness * level))) - 8, 0, 99)
    tied = np.where(np.arange(events) % 11 == 0, 1, 0)
    above = np.minimum(above.astype(np.int32), 98)
    return Ranks(above, tied.astype(np.int32), np.arange(events) % 50 != 49)


def among_all(ranks: Ranks, factor: int = 8) -> Ranks:
    """Ranks among all items that go with those among candidates: so many times as many above."""
    return Ranks(ranks.above * factor, ranks.tied, ranks.returned)


def _as_metrics(value: float | Mapping[str, float] | Ranks) -> dict[str, float]:
    if isinstance(value, Ranks):
        return mean_metrics(value, names=every_metric(CUTOFFS["lists"]))
    return dict(value) if isinstance(value, Mapping) else figures(value)


def write_run(
    root: Path,
    system: str = "alpha",
    *,
    display_name: str | None = None,
    family: str = "sequential",
    recommendation: float | Mapping[str, float] | Ranks | None = None,
    search: float | Mapping[str, float] | Ranks | None = None,
    tasks: tuple[str, ...] | None = None,
    error: str | None = None,
    seed: int = 1,
    dataset: str = "tiny",
    fingerprint: str = "f0",
    protocol: str = "paper",
    settings: Mapping[str, Any] | None = None,
    candidates: str = "c0",
    preset: str = "laptop",
    configuration: Mapping[str, Any] | None = None,
    stand_ins: tuple[str, ...] = (),
    finished_at: str = "2026-01-01T00:00:00+00:00",
    cost: CostPart | None = None,
    environment: Mapping[str, str] | None = None,
    curve: Sequence[float] = (),
    users: Mapping[str, np.ndarray] | None = None,
    all_items: Mapping[str, Ranks] | None = None,
    others: int | np.ndarray = 999,
    ranking_of_all_items: str = "",
) -> Run:
    """Write a run folder below ``root`` and read it back.

    ``recommendation`` and ``search`` are a level for :func:`figures`, the metrics themselves, or
    ranks, which are written too; the tasks of the system are those given, or ``tasks``. ``users``
    are those of each task's events, one each where they are not given. ``all_items`` are the
    ranks among all items, of tasks that have ranks, ``others`` how many each target is ranked
    against.
    """
    given = {"recommendation": recommendation, "search": search}
    metrics = {task: _as_metrics(v) for task, v in given.items() if v is not None}
    ranks = {task: v for task, v in given.items() if isinstance(v, Ranks)}
    all_items = dict(all_items or {})
    if settings is None:
        settings = PRESETS.get(protocol, PRESETS["paper"]).model_dump(mode="json")
    of_job = {
        "system": system,
        "seed": seed,
        "data": [dataset, fingerprint, candidates],
        "protocol": [protocol, dict(settings)],
        "preset": preset,
        "configuration": dict(configuration or {}),
        "finished_at": finished_at,
    }
    record = RunRecord(
        identity=sha256_of_json(of_job),
        status="finished" if error is None else "failed",
        error=error,
        dataset=DatasetPart(
            name=dataset,
            fingerprint=fingerprint,
            users=943,
            items=1682,
            queries=50,
            recommendation_events=5000,
            search_events=4000,
        ),
        protocol=ProtocolPart(
            name=protocol,
            settings=dict(settings),
            candidates={task: f"{candidates}-{task}" for task in BOTH},
            test_events={"recommendation": 900, "search": 800},
            all_items=dict.fromkeys(all_items, float(np.mean(others)) + 1.0),
        ),
        system=SystemPart(
            name=system,
            display_name=display_name or system.title(),
            family=family,
            tasks=tasks or tuple(metrics),
            reference="",
            configuration=dict(configuration or {}),
            stand_ins=stand_ins,
            ranking_of_all_items=ranking_of_all_items,
            left_out={task: float(np.mean(~of.returned)) for task, of in all_items.items()},
        ),
        preset=preset,
        seed=seed,
        cost=cost or CostPart(),
        environment=dict(environment or {}),
        finished_at=finished_at,
    )

    def write(folder: Path) -> None:
        write_json(folder / RUN_FILE, record.model_dump(mode="json"))
        if error is None:
            names = every_metric(CUTOFFS["all-items"])
            of_all = {
                task: mean_metrics(of.placed("all-items"), names=names)
                for task, of in all_items.items()
            }
            write_json(folder / METRICS_FILE, {"lists": metrics, "all-items": of_all})
        if ranks:
            of_events = {task: np.arange(1, len(of_task) + 1) for task, of_task in ranks.items()}
            views = {"lists": ranks} | ({"all-items": all_items} if all_items else {})
            numbers = {"lists": 99, "all-items": others}
            of_views = {
                view: {task: np.broadcast_to(numbers[view], len(of)) for task, of in tasks.items()}
                for view, tasks in views.items()
            }
            write_ranks(folder / RANKS_FILE, views, of_views, {**of_events, **(users or {})})
        if curve:
            lines = (
                {"epoch": i + 1, "loss": 1 / (i + 1), "validation": {"search": {"NDCG@5": value}}}
                for i, value in enumerate(curve)
            )
            write_text(
                folder / "training.jsonl", "".join(json.dumps(line) + "\n" for line in lines)
            )

    folder = root / record.identity[:16]
    build_folder(folder, write)
    return read_run(folder)


@pytest.fixture
def runs_root(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def make_run(runs_root: Path) -> MakeRun:
    return partial(write_run, runs_root)


@pytest.fixture(scope="session")
def suite_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where :func:`suite` lies. Shared by all tests, hence only to be read."""
    return tmp_path_factory.mktemp("suite") / "runs"


def _of_suite(rec: float | None, src: float | None, seed: int) -> dict[str, Ranks]:
    ranks = {}
    if rec is not None:
        ranks["recommendation"] = drawn_ranks(rec + 0.004 * (seed - 2))
    if src is not None:
        ranks["search"] = drawn_ranks(src + 0.003 * (2 - seed), 300)
    return ranks


@pytest.fixture(scope="session")
def suite(suite_root: Path) -> list[Run]:
    """A suite as it may look: references, systems of one task and of both, one failure."""
    rows: list[tuple[str, str, float | None, float | None]] = [
        ("Random", "references", 0.022, 0.023),
        ("Popularity", "references", 0.118, 0.052),
        ("History copy", "references", 0.031, 0.171),
        ("BM25", "references", None, 0.124),
        ("BM25 reversed", "references", None, 0.355),
        ("Query-item prior", "references", None, 0.263),
        ("GRU4Rec", "sequential", 0.201, None),
        ("SASRec", "sequential", 0.224, None),
        ("FMLP-Rec", "sequential", 0.219, None),
        ("LRURec", "sequential", 0.228, None),
        ("P5-CID", "generative-recommendation", 0.171, None),
        ("TIGER", "generative-recommendation", 0.214, None),
        ("LC-Rec", "generative-recommendation", 0.222, None),
        ("QEM", "personalized-search", None, 0.198),
        ("TEM", "personalized-search", None, 0.246),
        ("CoPPS", "personalized-search", None, 0.251),
        ("E5", "dense-retrieval", None, 0.148),
        ("BGE", "dense-retrieval", None, 0.156),
        ("DSI-QG", "generative-retrieval", None, 0.221),
        ("GenRet", "generative-retrieval", None, 0.229),
        ("WebUltron", "generative-retrieval", None, 0.217),
        ("JSR", "joint", 0.187, 0.204),
        ("SESRec", "joint", 0.231, None),
        ("UnifiedSSR", "joint", 0.226, 0.262),
        ("UniSAR", "joint", 0.239, 0.281),
        ("UniSAR (KuaiSAR)", "joint", 0.236, 0.283),
        ("GenSAR", "gensar", 0.257, 0.279),
        ("GenSAR no balance", "gensar", 0.252, 0.268),
        ("GenSAR one identifier", "gensar", 0.243, 0.274),
        ("GenSAR no warm-up", "gensar", 0.249, 0.277),
    ]
    runs = [
        write_run(
            suite_root,
            name.lower().replace(" ", "-"),
            display_name=name,
            family=family,
            **(ranks := _of_suite(rec, src, seed)),
            all_items={task: among_all(of) for task, of in ranks.items()},
            ranking_of_all_items="a beam of 100 identifiers" if name == "TIGER" else "",
            cost=CostPart(
                parameters=int(1e5 * (1 + (rec or 0) + (src or 0))),
                fit_seconds=0.0 if family == "references" else 10.0 * len(name),
                score_seconds={"search": 1.0},
                events_per_second={"search": 300.0},
                peak_memory_bytes=2**29,
            ),
            curve=() if family == "references" or src is None else (0.1, 0.8 * src, src),
            environment={"processor": "Invented CPU", "threads": "1", "torch": "2.13.0"},
            seed=seed,
            stand_ins=("A small encoder stands in for BGE.",) if name in ("BGE", "GenSAR") else (),
        )
        for name, family, rec, src in rows
        for seed in (1, 2, 3)
    ]
    runs += [
        write_run(
            suite_root,
            "zam",
            display_name="ZAM",
            family="personalized-search",
            tasks=("search",),
            error="The loss is not finite at step 120.",
            seed=seed,
        )
        for seed in (1, 2, 3)
    ]
    return runs


FIGURES = ("tradeoff", "bars", "ranks", "cost", "curves", "codebooks", "views")


def without_figures(patched: pytest.MonkeyPatch) -> None:
    """Reports without figures, which take half of the time."""
    for name in FIGURES:
        patched.setattr(f"benchmark.report.group.{name}_figure", lambda *given: None)


@pytest.fixture(scope="session")
def suite_grids(suite: list[Run], suite_root: Path) -> list[Grid]:
    """Every table of a whole report: main, intervals, cost, data sets, side by side, published."""
    with pytest.MonkeyPatch.context() as patched:
        without_figures(patched)
        report = make_report(suite_root)
    views = [view for group in report.groups for view in group.views.values()]
    main = [table for view in views for table in view.main.values()]
    grids = [grid for group in report.groups for grid in group.grids]
    beside = [side_by_side([table, table]) for table in main]
    return [*grids, *report.grids, *report.published, *(g for grids in beside for g in grids)]
