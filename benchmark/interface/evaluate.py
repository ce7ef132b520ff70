"""A ranker of one's own on the suite's lists, in memory: no catalogue row and no run folder."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmark.data.dataset import BEHAVIOURS, Dataset
from benchmark.data.prepare import PREPARED_ROOT
from benchmark.data.prepare import load as load_dataset
from benchmark.errors import BenchmarkError, unknown_value
from benchmark.interface.frames import COLUMNS, intervals, metric_rows
from benchmark.jobs.evaluation import evaluate as ranked
from benchmark.protocol.all_items import scores_in_blocks
from benchmark.protocol.kept_tasks import load_tasks
from benchmark.protocol.metrics import VIEWS, every_metric, gains
from benchmark.protocol.requests import Requests
from benchmark.protocol.settings import DEFAULT_PRESET, configure_protocol
from benchmark.systems.view import TrainingView

if TYPE_CHECKING:
    import pandas as pd


class Ranker(Protocol):
    """What is evaluated: anything with these two methods.

    A third one, ``score_all_items(requests)``, ranks the catalogue faster than list by list: see
    :meth:`benchmark.systems.contract.System.score_all_items`.
    """

    def fit(self, view: TrainingView) -> None:
        """Learn from the training view."""

    def score(self, requests: Requests) -> NDArray[np.float32]:
        """Scores (requests, candidates), higher is better."""
        ...


def evaluate(
    ranker: Ranker,
    dataset: str | Path | Dataset = "ml-100k",
    task: str | None = None,
    *,
    protocol: str = DEFAULT_PRESET,
    name: str | None = None,
    prepared: str | Path = PREPARED_ROOT,
) -> pd.DataFrame:
    """Fit a ranker and rank the test events in both views, as every system of the suite is.

    Args:
        ranker: an object with ``fit`` and ``score``.
        dataset: a recipe's name or file, or the data itself.
        task: "recommendation" or "search"; all that the data set has if absent.
        protocol: "paper", "released" or "clean".
        name: what the rows call it; its class's name if absent.
        prepared: where prepared data lie.

    Returns:
        Rows like those of :func:`benchmark.results`, so that both can be put below each other.

    Raises:
        BenchmarkError: the data, the task or the protocol cannot be had, or ``ranker`` has not both
            methods.
        SystemFailure: the scores have a wrong shape or are not finite.
    """
    label = name or (ranker if isinstance(ranker, type) else type(ranker)).__name__
    for method in ("fit", "score"):
        if isinstance(ranker, type) or not callable(getattr(ranker, method, None)):
            raise BenchmarkError(
                f"{label}: must be an object with the methods fit(view) and score(requests), "
                f"and no class."
            )
    data = dataset if isinstance(dataset, Dataset) else load_dataset(dataset, root=Path(prepared))
    protocol_name, settings = configure_protocol(protocol, {})
    tasks = load_tasks(data, settings, Path(prepared))
    if task is not None and task not in tasks:
        allowed = tasks if task in BEHAVIOURS else BEHAVIOURS
        raise unknown_value("task", task, allowed, f"data set {data.name}")
    ranker.fit(TrainingView(data, tasks, settings))
    rows: list[dict[str, Any]] = []
    for own in [task] if task else list(tasks):
        with TemporaryDirectory(prefix="benchmark-") as folder:
            views = ranked(
                _InBothViews(ranker),
                label,
                data,
                tasks[own],
                settings,
                Path(folder),
                identity="",
                progress=lambda message: None,
            )
        for view in VIEWS:
            metrics = every_metric(settings.cutoffs_of(view))
            common = {
                "system": label,
                "label": label,
                "family": "outside",
                "dataset": data.name,
                "protocol": protocol_name,
                "task": own,
                "view": view,
                "status": "finished",
            }
            ranks = views[view].ranks.placed(view)
            values = np.stack([gains(ranks, metric, settings.ties) for metric in metrics], axis=1)
            users = data.log.user[tasks[own].test.position]
            bounds = intervals(values, users, own, view)
            means = dict(zip(metrics, values.mean(axis=0).tolist(), strict=True))
            rows += metric_rows(
                common, means, dict(zip(metrics, bounds.tolist(), strict=True)), len(values)
            )
    import pandas as pd

    return pd.DataFrame(rows, columns=list(COLUMNS))


class _InBothViews:
    """A ranker that scores all items too, block by block unless it knows a way of its own."""

    def __init__(self, ranker: Ranker) -> None:
        self.score = ranker.score
        self._all: Any = getattr(ranker, "score_all_items", None)

    def score_all_items(self, requests: Requests) -> NDArray[np.float32]:
        """Scores (requests, items + 1)."""
        if self._all is None:
            return scores_in_blocks(self.score, requests)
        found: NDArray[np.float32] = self._all(requests)
        return found
