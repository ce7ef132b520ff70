"""The audit of a data set under a protocol: its diagnostics D1 to D14, and rankers in two views.

An audit is saved as ``<dataset>-<protocol>.json``; the report shows those that belong to the data
sets of its runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.audit import rankers as ranking
from benchmark.audit import trained
from benchmark.audit.diagnostics import Figures, diagnose
from benchmark.audit.rankers import COMPARED, Ranker
from benchmark.data.dataset import Dataset
from benchmark.errors import BenchmarkError
from benchmark.files import read_json, write_json
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task

SCHEMA_VERSION = 1
AUDIT_FOLDER = Path("results/audit")

TITLES: dict[str, str] = {
    "D1": "Search targets visible among the purchases",
    "D2": "Recommendation targets visible among the purchases",
    "D3": "Recommendation targets visible among the searches",
    "D4": "Purchases with a wrong prefix",
    "D5": "Held-out events with a twin in the other task",
    "D6": "The search target in BM25's list",
    "D7": "Relevant negatives and relevant items of a query",
    "D8": "Popularity under each sampling law (recommendation)",
    "D9": "Items of the history first",
    "D10": "Identifier collisions",
    "D11": "Negatives that are no BM25 hits",
    "D12": "What training has seen",
    "D13": "Agreement of the lists with the whole catalogue",
    "D14": "Targets that a beam pruned",
}
"""What each diagnostic is about, in order."""

CLEAN = ("D1", "D2", "D3", "D4")
"""The diagnostics that are 0 where no event sees its target or the wrong history."""


class RankerResult(BaseModel):
    """What one ranker reached in a task; ``catalogue`` is of the sample of events."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    display_name: str
    learns: bool
    lists: dict[str, float]
    catalogue: dict[str, float]


class Audit(BaseModel):
    """Everything that the audit of one data set under one protocol found."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = SCHEMA_VERSION
    dataset: str
    fingerprint: str
    protocol: str
    settings: dict[str, Any]
    test_events: dict[str, int]
    catalogue_events: dict[str, int]
    diagnostics: dict[str, dict[str, float]]
    rankers: dict[str, list[RankerResult]]

    @property
    def leaks(self) -> dict[str, float]:
        """The largest share of each of D1 to D4."""
        return {name: max(self.diagnostics.get(name, {"": 0.0}).values()) for name in CLEAN}

    def best_for_nothing(self, task: str, metric: str = "HR@1") -> float:
        """The best figure of a ranker that learns nothing, on the lists."""
        return max((r.lists[metric] for r in self.rankers[task] if not r.learns), default=0.0)


def audit(
    dataset: Dataset,
    tasks: dict[str, Task],
    protocol: str,
    settings: ProtocolSettings,
    *,
    catalogue_events: int = 500,
    runs: Path | None = None,
) -> Audit:
    """Compute everything.

    Args:
        catalogue_events: test events of each task that are ranked against the whole catalogue.
        runs: a folder of run folders; fitted systems in it join the rankers.

    Raises:
        SystemFailure: a ranker's scores have a wrong shape or are not finite.
    """
    found: dict[str, Figures] = diagnose(dataset, tasks, settings)
    if "recommendation" in tasks:
        laws = ranking.popularity_under_each_law(dataset, tasks, settings)
        found["D8"] = {
            f"{law} {metric}": value
            for law, figures in laws.items()
            for metric, value in figures.items()
        }
    all_rankers = [(one, False) for one in ranking.no_learning_rankers(dataset, tasks, settings)]
    if runs is not None:
        its_runs = trained.runs_of(runs, dataset, settings)
        found["D10"], found["D14"] = trained.collisions(its_runs), trained.pruned(its_runs)
        known = {ranker.name for ranker, _ in all_rankers}
        all_rankers += [
            (ranker, True)
            for ranker in trained.fitted(its_runs, dataset, runs / "artifacts")
            if ranker.name not in known
        ]
    results: dict[str, list[RankerResult]] = {}
    sizes: dict[str, int] = {}
    for name, task in tasks.items():
        rows = ranking.sampled_rows(task, catalogue_events, settings.seed)
        sizes[name] = len(rows)
        results[name] = [
            _result(ranker, learns, dataset, task, settings, rows)
            for ranker, learns in all_rankers
            if name in ranker.tasks
        ]
    found["D9"] = ranking.copied_histories(dataset, tasks, settings)
    found["D13"] = {}
    for name, of_task in results.items():
        tau = ranking.agreement(
            {result.name: result.lists[COMPARED] for result in of_task},
            {result.name: result.catalogue[COMPARED] for result in of_task},
        )
        if tau is not None:
            found["D13"][f"{name}, Kendall's tau by {COMPARED}"] = tau
    return Audit(
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        protocol=protocol,
        settings=settings.model_dump(mode="json"),
        test_events={name: len(task.test) for name, task in tasks.items()},
        catalogue_events=sizes,
        diagnostics={number: found[number] for number in TITLES if found.get(number)},
        rankers=results,
    )


def _result(
    ranker: Ranker,
    learns: bool,
    dataset: Dataset,
    task: Task,
    settings: ProtocolSettings,
    rows: np.ndarray,
) -> RankerResult:
    return RankerResult(
        name=ranker.name,
        display_name=ranker.display_name,
        learns=learns,
        lists=ranking.on_lists(ranker, dataset, task, settings),
        catalogue=ranking.on_catalogue(ranker, dataset, task, settings, rows),
    )


def audit_file(folder: Path, dataset: str, protocol: str) -> Path:
    """Where an audit is saved."""
    return folder / f"{dataset}-{protocol.replace(':', '-')}.json"


def save_audit(folder: Path, found: Audit) -> Path:
    """Write an audit; returns its file."""
    path = audit_file(folder, found.dataset, found.protocol)
    write_json(path, found.model_dump(mode="json"))
    return path


def read_audits(folder: Path) -> tuple[list[Audit], list[str]]:
    """The audits below ``folder``, and a sentence for each file that is none."""
    audits, sentences = [], []
    for path in sorted(folder.glob("*.json")):
        try:
            audits.append(Audit.model_validate(read_json(path)))
        except (BenchmarkError, ValidationError):
            sentences.append(f"{path}: is not an audit of this version and is left out.")
    return audits, sentences
