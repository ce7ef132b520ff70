"""Systems that build on another one's fitted state."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.check.world import make_world
from benchmark.errors import BenchmarkError
from benchmark.files import read_json, write_json
from benchmark.protocol.requests import Requests
from benchmark.systems import upstream as module
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.catalogue import SystemChoice, SystemEntry
from benchmark.systems.contract import FloatArray, RunContext, System, SystemConfig
from benchmark.systems.upstream import is_upstream, shared_fit, upstream
from benchmark.systems.view import Corpus, TrainingView

FITS: list[float] = []


class Config(SystemConfig):
    scale: float = 1.0


class Counter(System):
    """Knows how many training events it saw, times its scale."""

    Config = Config

    def fit(self, view: TrainingView) -> None:
        FITS.append(self.config.scale)
        self.context.validated({"recommendation": {"NDCG@5": self.config.scale}})
        self.count = len(view.log) * self.config.scale

    def score(self, requests: Requests) -> FloatArray:
        return np.full(requests.candidates.shape, self.count, dtype=np.float32)

    def save(self, folder: Path) -> None:
        write_json(folder / "count.json", self.count)

    def load(self, folder: Path, corpus: Corpus) -> None:
        self.count = read_json(folder / "count.json")


ENTRIES = {
    "counter": SystemEntry("counter", "Counter", "sequential", (), f"{__name__}:Counter"),
    "reader": SystemEntry("reader", "Reader", "sequential", (), "a:B", upstream=("counter",)),
}


@pytest.fixture(autouse=True)
def catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    FITS.clear()
    monkeypatch.setattr(module, "entries", lambda: ENTRIES)
    monkeypatch.setattr(module, "choose", lambda name: SystemChoice(name, name, ENTRIES[name], {}))


def context(folder: Path, seed: int = 1, **configuration: Any) -> RunContext:
    return RunContext(
        seed, folder / "run", ArtifactStore(folder / "art"), upstream={"counter": configuration}
    )


def test_it_is_fitted_once_for_all_that_build_on_it(tmp_path: Path) -> None:
    view = make_world().view()
    first = upstream(context(tmp_path, scale=2.0), view, "counter")
    second = upstream(context(tmp_path, scale=2.0), view, "counter")
    own = shared_fit("counter", {"scale": 2.0}, view, context(tmp_path))
    assert [first.count, second.count, own.count] == [2.0 * len(view.log)] * 3
    assert FITS == [2.0]


def test_other_settings_and_seeds_are_other_fits(tmp_path: Path) -> None:
    view = make_world().view()
    upstream(context(tmp_path, scale=2.0), view, "counter")
    upstream(context(tmp_path, scale=3.0), view, "counter")
    upstream(context(tmp_path, seed=2, scale=2.0), view, "counter")
    assert FITS == [2.0, 3.0, 2.0]


def test_how_it_validates_is_told_of_its_own_fit_only(tmp_path: Path) -> None:
    view, told = make_world().view(), list[Any]()
    listening = replace(context(tmp_path, scale=2.0), validated=told.append)
    upstream(listening, view, "counter")
    assert told == []
    shared_fit("counter", {"scale": 3.0}, view, listening)
    assert told == [{"recommendation": {"NDCG@5": 3.0}}]


def test_one_that_is_not_declared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="'other' is not declared"):
        upstream(context(tmp_path), make_world().view(), "other")


def test_only_rows_that_others_name_are_upstream() -> None:
    assert is_upstream("counter")
    assert not is_upstream("reader")


def test_a_reused_artifact_counts_with_the_seconds_that_it_took(tmp_path: Path) -> None:
    view = make_world().view()
    builder, user = context(tmp_path), context(tmp_path)
    upstream(builder, view, "counter")
    assert builder.artifacts.reused_seconds == 0
    upstream(user, view, "counter")
    (cost,) = (tmp_path / "art").glob("fitted-system-*/cost.json")
    assert user.artifacts.reused_seconds == read_json(cost)["seconds"] > 0
    upstream(user, view, "counter")
    assert user.artifacts.reused_seconds == read_json(cost)["seconds"]
