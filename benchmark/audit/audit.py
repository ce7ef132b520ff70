"""The audit of a data set under a protocol: diagnostics D1 to D20, rankers in two views, verdicts.

An audit is saved as a record of its own (:mod:`benchmark.audit.record`); the report shows those
that belong to the data sets of its runs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmark.audit import rankers as ranking
from benchmark.audit import trained
from benchmark.audit.diagnostics import Figures, diagnose
from benchmark.audit.rankers import COMPARED, Ranker
from benchmark.audit.record import TITLES, Audit, RankerResult
from benchmark.audit.verdicts import judge
from benchmark.data.dataset import Dataset
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task


def audit(
    dataset: Dataset,
    tasks: dict[str, Task],
    protocol: str,
    settings: ProtocolSettings,
    *,
    catalogue_events: int | None = None,
    runs: Path | None = None,
) -> Audit:
    """Compute everything.

    Args:
        catalogue_events: test events of each task that are ranked against the whole catalogue; if
            absent all, or a sample of 500 where that would be more than 20 million scores.
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
        sample = catalogue_events or ranking.affordable_sample(dataset, task)
        rows = ranking.sampled_rows(task, sample, settings.seed)
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
    judgement = judge(dataset, tasks, settings)
    for number, of_number in judgement.figures.items():
        values = {name: share.value for name, share in of_number.items()}
        found[number] = {**found.get(number, {}), **values}
    return Audit(
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        protocol=protocol,
        settings=settings.model_dump(mode="json"),
        test_events={name: len(task.test) for name, task in tasks.items()},
        catalogue_events=sizes,
        diagnostics={number: found[number] for number in TITLES if found.get(number)},
        rankers=results,
        intervals={
            number: {name: (share.low, share.high) for name, share in of_number.items()}
            for number, of_number in judgement.figures.items()
        },
        verdicts=tuple(judgement.verdicts),
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
