"""How much the figures of rankers without learning hang on which negatives happened to be drawn.

Measured, by drawing the lists again with other seeds; and exactly, where the negatives of a
recommendation are uniform among the items that the user never touched, from the ranks among all of
those (:mod:`benchmark.protocol.draw`). Systems that learn nothing rank the same under every seed,
so whatever their figures do is the draw alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.table import Column, Table

from benchmark.audit.diagnostics import Figures
from benchmark.audit.rankers import Ranker, catalogue_ranks, no_learning_rankers, on_lists
from benchmark.data.dataset import Dataset
from benchmark.protocol.all_items import eligible_items
from benchmark.protocol.draw import metrics_over_draws
from benchmark.protocol.kept_tasks import load_tasks
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task

_SHOWN = ("HR@1", "HR@10", "NDCG@10")


@dataclass(frozen=True)
class DrawResult:
    """One ranker's figures over list seeds; ``exact`` is empty where no law is known.

    ``exact`` are metric → expectation and standard deviation over all draws.
    """

    display_name: str
    task: str
    measured: tuple[Figures, ...]
    exact: dict[str, tuple[float, float]]

    def mean(self, metric: str) -> float:
        """Over the seeds."""
        return float(np.mean([figures[metric] for figures in self.measured]))

    def deviation(self, metric: str) -> float:
        """The sample standard deviation over the seeds."""
        return float(np.std([figures[metric] for figures in self.measured], ddof=1))


def over_draws(
    dataset: Dataset, settings: ProtocolSettings, root: Path, seeds: Sequence[int]
) -> list[DrawResult]:
    """The references of the catalogue under each list seed, by task.

    Args:
        dataset: the data.
        settings: of the protocol; its seed only fits the rankers.
        root: where lists are kept.
        seeds: two or more.
    """
    tasks = load_tasks(dataset, settings, root)
    rankers = no_learning_rankers(dataset, tasks, settings)
    drawn = [
        load_tasks(dataset, settings.model_copy(update={"seed": seed}), root) for seed in seeds
    ]
    return [
        DrawResult(
            display_name=ranker.display_name,
            task=name,
            measured=tuple(on_lists(ranker, dataset, of_seed[name], settings) for of_seed in drawn),
            exact=_exactly(ranker, dataset, task, settings),
        )
        for name, task in tasks.items()
        for ranker in rankers
        if name in ranker.tasks
    ]


def _exactly(
    ranker: Ranker, dataset: Dataset, task: Task, settings: ProtocolSettings
) -> dict[str, tuple[float, float]]:
    """Metric → expectation and deviation, where the negatives are uniform among the untouched."""
    is_known = (
        task.name == "recommendation"
        and settings.sampler != "released"
        and settings.recommendation_negatives == "uniform"
    )
    if not is_known:
        return {}
    rows = np.arange(len(task.test))
    ranks = catalogue_ranks(ranker, dataset, task, settings, rows)
    eligible = eligible_items(task.barred(dataset, settings), len(rows))
    return metrics_over_draws(ranks.above, ranks.tied, eligible, settings.negatives, settings.ties)


def draws_table(results: Sequence[DrawResult], protocol: str, seeds: int) -> Table:
    """A row a ranker and task: mean and deviation measured, and exactly where they are known."""
    table = Table(
        Column("ranker", overflow="fold"),
        Column("", no_wrap=True),
        *(Column(metric, justify="right", no_wrap=True) for metric in _SHOWN),
        title=escape(f"{protocol}: mean ± deviation over the draw of negatives"),
        caption=f"Measured over {seeds} list seeds; exact where negatives are uniform.",
    )
    for task in dict.fromkeys(result.task for result in results):
        table.add_section()
        table.add_row(f"[bold]{escape(task)}[/bold]")
        for result in (one for one in results if one.task == task):
            found = (_shown(result.mean(m), result.deviation(m)) for m in _SHOWN)
            table.add_row(escape(result.display_name), "measured", *found)
            if result.exact:
                exact = (_shown(*result.exact[metric]) for metric in _SHOWN)
                table.add_row("", "exact", *exact)
    return table


def _shown(mean: float, deviation: float) -> str:
    """Without zeros before the point, so that three fit into a terminal."""
    return f"{mean:.4f} ± {deviation:.4f}".replace("0.", ".")
