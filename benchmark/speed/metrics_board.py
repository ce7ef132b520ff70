"""The board's lines on metrics: HR and NDCG of lists of a hundred scores, by other libraries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.protocol.metrics import mean_metrics, ranks_of_targets
from benchmark.speed.contest import Line, Peer, Task, Way, race, sizes_up_to
from benchmark.speed.measure import processor_seconds

TOPIC = "metrics"
CANDIDATES = 100
CUTOFFS = (1, 5, 10)
RANX = Peer("ranx", TOPIC, ("ranx",), "ranx", "pip install ranx")
IR_MEASURES = Peer("ir-measures", TOPIC, ("ir_measures",), "ir_measures", "pip install ir-measures")
TORCHMETRICS = Peer(
    "torchmetrics", TOPIC, ("torchmetrics",), "torchmetrics", "pip install torchmetrics"
)

Scores = NDArray[np.float32]
Targets = NDArray[np.int64]


def by_ranx(scores: Scores, target: Targets) -> dict[str, float]:
    """Its dictionaries are made of the scores too, since it takes nothing else."""
    from ranx import Qrels, Run, evaluate

    qrels, run = _dictionaries(scores, target)
    names = [f"{name}@{k}" for name in ("hit_rate", "ndcg") for k in CUTOFFS]
    found = evaluate(Qrels(qrels), Run(run), names)
    return _named([float(found[name]) for name in names])


def by_ir_measures(scores: Scores, target: Targets) -> dict[str, float]:
    """By its default provider."""
    import ir_measures
    from ir_measures import Success, nDCG

    wanted = [measure @ k for measure in (Success, nDCG) for k in CUTOFFS]
    qrels, run = _dictionaries(scores, target)
    found = ir_measures.calc_aggregate(wanted, qrels, run)
    return _named([float(found[one]) for one in wanted])


def by_torchmetrics(scores: Scores, target: Targets) -> dict[str, float]:
    """Its retrieval metrics, one object for each measure and cut-off."""
    import torch
    from torchmetrics.retrieval import RetrievalHitRate, RetrievalNormalizedDCG

    events, candidates = scores.shape
    is_target = torch.from_numpy(np.arange(candidates) == target[:, None]).flatten()
    event = torch.arange(events).repeat_interleave(candidates)
    values = []
    for kind in (RetrievalHitRate, RetrievalNormalizedDCG):
        for k in CUTOFFS:
            metric = kind(top_k=k)
            metric.update(torch.from_numpy(scores).flatten(), is_target, indexes=event)
            values.append(float(metric.compute()))
    return _named(values)


def by_ours(scores: Scores, target: Targets) -> dict[str, float]:
    """As the suite does."""
    return mean_metrics(ranks_of_targets(scores, target), names=_names())


_Metrics = Callable[[Scores, Targets], dict[str, float]]
OTHERS: dict[Peer, tuple[_Metrics, int]] = {
    RANX: (by_ranx, 10_000),
    IR_MEASURES: (by_ir_measures, 10_000),
    TORCHMETRICS: (by_torchmetrics, 1_000),
}
"""Libraries, and the most events that they are given: they need minutes for more."""
PEERS = tuple(OTHERS)


def scores_of(events: int) -> tuple[Scores, Targets]:
    """Scores (events, candidates) without ties in a list, and the column of each target."""
    random = np.random.default_rng(events)
    scores = random.random((events, CANDIDATES), dtype=np.float32)
    return scores, random.integers(CANDIDATES, size=events)


def lines(largest: int) -> Iterator[Line]:
    """All that are installed, at growing numbers of events."""
    installed = {peer: row for peer, row in OTHERS.items() if peer.missing() is None}
    for events in sizes_up_to(largest):
        scores, target = scores_of(events)

        def way(name: str, by: _Metrics, is_ours: bool, scores: Scores, target: Targets) -> Way:
            return Way(name, partial(processor_seconds, partial(by, scores, target)), is_ours)

        ways = [
            way(peer.title(), by, False, scores, target)
            for peer, (by, most) in installed.items()
            if events <= most
        ]
        ways.append(way("counts above and tied (ours)", by_ours, True, scores, target))
        what = f"HR and NDCG at 1, 5 and 10 of lists of {CANDIDATES}"
        yield race(Task(TOPIC, what, events, "events", events, "events"), ways)


def _names() -> list[str]:
    return [f"{name}@{k}" for name in ("HR", "NDCG") for k in CUTOFFS]


def _named(values: list[float]) -> dict[str, float]:
    return dict(zip(_names(), values, strict=True))


def _dictionaries(scores: Scores, target: Targets) -> tuple[dict[str, Any], dict[str, Any]]:
    names = [str(number) for number in range(scores.shape[1])]
    run = {
        str(event): dict(zip(names, row, strict=True)) for event, row in enumerate(scores.tolist())
    }
    return {str(event): {names[place]: 1} for event, place in enumerate(target.tolist())}, run
