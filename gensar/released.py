"""How the original counts hits, for comparing with figures that its code made.

https://github.com/TengShi-RUC/GenSAR, commit bd1a126, ``finetune/modules/utils.py``: predictions
are compared with the target as strings. Every equal one is a hit, so identifiers that items share
are hits of each other, and a beam that returns one identifier twice can push NDCG above 1. The
suite itself ranks candidates instead (:mod:`benchmark.protocol.metrics`), where equal identifiers
tie and nothing counts twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def released_hits(
    predictions: Sequence[str], scores: Sequence[float], target: str
) -> NDArray[np.int64]:
    """(predictions,) 1 where a prediction is the target, best score first, blanks ignored."""
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    wanted = target.replace(" ", "")
    return np.array([predictions[row].replace(" ", "") == wanted for row in order], dtype=np.int64)


def released_metric(hits: NDArray[np.int64], name: str) -> float:
    """``hit@k`` or ``ndcg@k`` of one event's hits, the latter not held below 1."""
    kind, _, cutoff = name.partition("@")
    first = hits[: int(cutoff)]
    if kind == "hit":
        return float(first.any())
    return float((first / np.log2(np.arange(len(first)) + 2)).sum())
