"""One rule for words that no training query holds: a query is read as if they were not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from baselines.joint.jsr import JSR
from baselines.joint.sesrec import SESRec
from baselines.joint.unifiedssr import UnifiedSSR
from baselines.joint.unisar import UniSAR
from baselines.personalized_search.copps import CoPPS
from baselines.personalized_search.qem import QEM
from baselines.personalized_search.tem import TEM
from benchmark.data.dataset import Queries
from benchmark.data.sources.generated import make_dataset
from benchmark.kit.training import TrainingSettings
from benchmark.protocol.requests import Requests
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import build_tasks
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext
from benchmark.systems.view import TrainingView

ONE_EPOCH = TrainingSettings(epochs=1, batch_size=128, validate_every=0)
JOINT = {"form": "joint_framework"}
SYSTEMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "qem": (QEM, {}),
    "qem, joint framework": (QEM, JOINT),
    "tem": (TEM, {}),
    "tem, joint framework": (TEM, JOINT),
    "copps": (CoPPS, {}),
    "jsr": (JSR, {}),
    "jsr, item text": (JSR, {"item_text": True}),
    "unisar": (UniSAR, {"contrastive_negatives": 16}),
    "unifiedssr": (UnifiedSSR, {"pretraining": ONE_EPOCH, "history_length": 5}),
    "sesrec": (SESRec, {"search_head": True, "alignment_negatives": 16}),
}


def test_every_system_whose_words_are_a_vocabulary_is_here() -> None:
    folder = Path(__file__).parents[2] / "baselines"
    users = [
        path
        for path in folder.glob("*/*.py")
        if "benchmark.kit.text.words import" in path.read_text("utf-8")
    ]
    # QEM, TEM and CoPPS build on the modules that their family shares, UniSAR on its family's.
    shared = {"base", "prodsearch", "joint_framework", "batches"}
    assert {path.stem for path in users} - shared == {"jsr", "sesrec", "unifiedssr", "unisar"}


@pytest.mark.parametrize("name", SYSTEMS)
def test_an_unknown_word_leaves_the_scores_as_they_are(name: str, tmp_path: Path) -> None:
    dataset = make_dataset(users=30, items=80, events_per_user=12, seed=5)
    texts, known = list(dataset.queries.text), len(dataset.queries)
    words = texts[1].split()
    # New queries, so that no table of query ids tells any two of them apart.
    texts += [" ".join(words[::-1] + words), " ".join([*words[::-1], "qzxwv", *words])]
    texts += [f"qzxwv {' '.join(words[::-1] + words)}", "", "qzxwv jkqzz"]
    dataset = replace(dataset, queries=Queries(texts))
    settings = ProtocolSettings(negatives=19)
    tasks = build_tasks(dataset, settings)
    kind, config = SYSTEMS[name]
    config = kind.Config(**config, training=ONE_EPOCH)
    system = kind(config, RunContext(0, tmp_path, ArtifactStore(tmp_path)))
    system.fit(TrainingView(dataset, tasks, settings))

    def scores(query: int) -> np.ndarray:
        log = replace(dataset.log, query=np.full_like(dataset.log.query, query))
        events = tasks["search"].test
        # Histories too would be of the query; a stranger has none.
        nothing = np.zeros_like(events.seen_search)
        strangers = replace(events, seen_recommendation=nothing, seen_search=nothing)
        lists = tasks["search"].test_candidates.items
        found: np.ndarray = system.score(Requests("search", log, strangers, texts, lists))
        return found

    plain, inside, in_front, empty, unknown = (scores(known + number) for number in range(1, 6))
    np.testing.assert_allclose(inside, plain, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(in_front, plain, rtol=1e-5, atol=1e-6)
    assert np.isfinite(unknown).all()
    np.testing.assert_allclose(unknown, empty, rtol=1e-5, atol=1e-6)
    assert name.startswith("sesrec") or np.abs(plain - empty).max() > 1e-6
