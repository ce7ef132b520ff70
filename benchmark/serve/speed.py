"""What ``python -m benchmark.speed serve --runs RUN,RUN`` measures: how long an answer takes.

Each run answers for users of its data set with their own histories, one question at a time and 32
together, as the service asks it; searches are of query texts that the data set lacks, where the
system reads texts. Ranking is all that is measured: neither HTTP nor JSON.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmark.data.prepare import PREPARED_ROOT
from benchmark.randomness import stable_random
from benchmark.serve.loading import load
from benchmark.serve.model import Ask, Model

BATCHES = (1, 32)
WARM_UPS = 3
MEASURED = 100
"""Answers (or batches of them) that are timed for each line."""


def latencies(
    runs: Sequence[Path], prepared: Path = PREPARED_ROOT, measured: int = MEASURED
) -> Iterator[str]:
    """A line a run, task and batch size: the median and the 95th percentile of the milliseconds."""
    for folder in runs:
        model = load(folder, prepared=prepared)
        threads = model.system.context.threads
        for task in model.tasks:
            for size in BATCHES:
                taken = _milliseconds(model, task, size, measured)
                half, most = np.quantile(taken, (0.5, 0.95))
                yield (
                    f"{model.name} on {model.dataset.name} "
                    f"({model.dataset.number_of_items:,} items), {task}, batch {size}: "
                    f"p50 {half:.1f} ms, p95 {most:.1f} ms ({measured} batches, {threads} threads)"
                )


def _milliseconds(model: Model, task: str, size: int, measured: int) -> list[float]:
    """How long each of ``measured`` batches took, after some that are not counted."""
    random = stable_random(0, "latencies", task, size)
    users, texts = model.dataset.users, model.dataset.queries.text
    taken = []
    for number in range(WARM_UPS + measured):
        asked = []
        for user in random.integers(1, len(users), size=size).tolist():
            query = None
            if task == "search":
                first, second = random.integers(1, len(texts), size=2).tolist()
                reads = model.system.reads_query_texts
                query = f"{texts[first]} {texts[second]}" if reads else texts[first]
            asked.append(Ask(user=users[user], query=query))
        started = time.perf_counter()
        model.answer(task, asked, 10)
        if number >= WARM_UPS:
            taken.append(1000 * (time.perf_counter() - started))
    return taken
