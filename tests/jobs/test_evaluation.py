"""Both views of a task's test events: against plain code, in parts, and as they are recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError, SystemFailure
from benchmark.files import build_folder, write_json
from benchmark.jobs import evaluation
from benchmark.jobs.evaluation import Evaluation, evaluate
from benchmark.jobs.ranks import metrics_of_views, write_ranks
from benchmark.jobs.record import read_run
from benchmark.jobs.scores import read_best, read_scores, write_best, write_scores
from benchmark.protocol.metrics import gains
from benchmark.protocol.requests import Requests
from benchmark.protocol.settings import PRESETS
from benchmark.protocol.task import Task, build_tasks
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import RunContext, System, SystemConfig
from tests.protocol.logs import shop_dataset
from tests.report.conftest import write_run

DATASET = shop_dataset(4, users=40, items=150)
SETTINGS = PRESETS["paper"].model_copy(update={"negatives": 20, "all_items_cutoffs": (5, 30)})
TASKS = build_tasks(DATASET, SETTINGS)


class Hashing(System):
    """Scores by user and item alone; knows nothing and counts its calls."""

    calls = 0

    def fit(self, view: Any) -> None:
        """Nothing to learn."""

    def score(self, requests: Requests) -> NDArray[np.float32]:
        """A number that is the same in every list."""
        self.calls += 1
        items = requests.candidates.astype(np.int64)
        return ((items * 7919 + requests.user[:, None] * 104729) % 1009).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Nothing to write."""

    def load(self, folder: Path, corpus: Any) -> None:
        """Nothing to read."""


class Beam(Hashing):
    """The same, but it leaves out all but ten items."""

    def score_all_items(self, requests: Requests) -> NDArray[np.float32]:
        """-inf below the tenth."""
        scores = super().score_all_items(requests)
        tenth = -np.sort(-scores[:, 1:], axis=1)[:, 9:10]
        return np.where(scores >= tenth, scores, np.float32(-np.inf))


def made(kind: type[Hashing], folder: Path) -> Hashing:
    context = RunContext(seed=0, folder=folder, artifacts=ArtifactStore(folder / "artifacts"))
    return kind(SystemConfig(), context)


def evaluated(system: System, task: Task, folder: Path, identity: str = "own") -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    return evaluate(
        system, "hashing", DATASET, task, SETTINGS, folder, identity, lambda message: None
    )


def by_sorting(task: Task) -> tuple[list[int], list[list[int]]]:
    """The rank of each target among what is admitted, no ties broken, and the order of all."""
    barred = task.barred(DATASET, SETTINGS)
    ranks, orders = [], []
    for event, row in enumerate(task.test.position.tolist()):
        _, out = barred.items_of(np.array([event]))
        user = DATASET.log.user[row] if task.known_users[DATASET.log.user[row]] else 0
        scored = {
            item: (item * 7919 + int(user) * 104729) % 1009
            for item in range(1, DATASET.number_of_items + 1)
            if item not in out
        }
        target = int(DATASET.log.item[row])
        ranks.append(sum(score > scored[target] for score in scored.values()))
        orders.append(sorted(scored, key=lambda item: (-scored[item], item)))
    return ranks, orders


@pytest.mark.parametrize("name", ["recommendation", "search"])
def test_both_views_are_those_of_plain_code(name: str, tmp_path: Path) -> None:
    task = TASKS[name]
    found = evaluated(made(Hashing, tmp_path), task, tmp_path / "parts")
    ranks, orders = by_sorting(task)
    assert found["all-items"].ranks.above.tolist() == ranks
    assert found["all-items"].others.tolist() == [len(order) - 1 for order in orders]
    write_best(tmp_path / "best.parquet", {name: found["all-items"].parts})
    items, scores = read_best(tmp_path / "best.parquet", name)
    assert items.tolist() == [order[:30] for order in orders]
    assert (np.diff(scores, axis=1) <= 0).all()
    write_scores(tmp_path / "scores.parquet", {name: found["lists"].parts})
    of_lists = task.test_candidates.ranks(read_scores(tmp_path / "scores.parquet", name))
    np.testing.assert_array_equal(of_lists.above, found["lists"].ranks.above)
    assert (found["lists"].others == 20).all()


def test_a_part_that_is_there_is_not_scored_again_and_another_jobs_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "EVENTS_PER_PART", 7)
    task, folder = TASKS["search"], tmp_path / "parts"
    whole = evaluated(made(Hashing, tmp_path), task, folder)
    assert len(whole["all-items"].parts) == len(whole["lists"].parts) > 2
    lost = [whole[view].parts[1] for view in ("lists", "all-items")]
    lost[0].unlink()
    lost[1].write_bytes(lost[1].read_bytes()[:-40])
    system = made(Hashing, tmp_path)
    again = evaluated(system, task, folder)
    assert again["lists"].events_scored == again["all-items"].events_scored == 7
    for view in ("lists", "all-items"):
        np.testing.assert_array_equal(again[view].ranks.above, whole[view].ranks.above)
    untouched = made(Hashing, tmp_path)
    evaluated(untouched, task, folder)
    assert untouched.calls == 0
    other = evaluated(made(Hashing, tmp_path), task, folder, identity="another")
    assert other["all-items"].events_scored == len(task.test)


def test_what_a_beam_leaves_out_is_ranked_last_among_all_items(tmp_path: Path) -> None:
    task = TASKS["search"]
    found = evaluated(made(Beam, tmp_path), task, tmp_path / "parts")["all-items"]
    ranks, _ = by_sorting(task)
    outside = ~found.ranks.returned
    assert 0 < outside.sum() < len(task.test)
    inside = np.array(ranks)[~outside]
    np.testing.assert_array_equal(found.ranks.above[~outside], inside)
    kept = found.ranks.above[outside]
    assert (kept >= 10).all() and (kept + found.ranks.tied[outside] == found.others[outside]).all()
    raw = gains(found.ranks, "HR@30")
    placed = gains(found.ranks.placed("all-items"), "HR@30")
    assert not raw[outside].any()
    # Any of the items that are left may stand in the places up to the thirtieth.
    expected = (30 - kept) / (found.ranks.tied[outside] + 1)
    np.testing.assert_allclose(placed[outside], expected)
    metrics = metrics_of_views({"all-items": {"search": found.ranks}}, SETTINGS)
    assert metrics["all-items"]["search"]["HR@30"] == pytest.approx(placed.mean())
    assert metrics["all-items"]["search"]["Recall@30"] == pytest.approx(placed.mean())


class WrongShape(Hashing):
    """Forgets the column of the padding item."""

    def score_all_items(self, requests: Requests) -> NDArray[np.float32]:
        """One column too few."""
        return super().score_all_items(requests)[:, 1:]


class NotANumber(Hashing):
    """Knows no score of item 9."""

    def score_all_items(self, requests: Requests) -> NDArray[np.float32]:
        """NaN in column 9, and in that of nobody, where it does not matter."""
        scores = super().score_all_items(requests)
        scores[:, [0, 9]] = np.nan
        return scores


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (WrongShape, r"shape \(\d+, 150\), not \(\d+, 151\) \(requests, items \+ 1\)"),
        (NotANumber, r"the score of event 0 of the search task .*candidate 9\) is nan"),
    ],
)
def test_wrong_scores_of_all_items_are_told(
    kind: type[Hashing], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(SystemFailure, match=sentence):
        evaluated(made(kind, tmp_path), TASKS["search"], tmp_path / "parts")


def test_ranks_hold_both_views_and_among_how_many(tmp_path: Path) -> None:
    system = made(Hashing, tmp_path)
    found: dict[str, dict[Any, Evaluation]] = {
        name: evaluated(system, task, tmp_path / "parts") for name, task in TASKS.items()
    }
    views = ("lists", "all-items")
    ranks = {view: {name: of[view].ranks for name, of in found.items()} for view in views}
    others = {view: {name: of[view].others for name, of in found.items()} for view in views}
    users = {name: DATASET.log.user[task.test.position] for name, task in TASKS.items()}
    write_ranks(tmp_path / "ranks.parquet", ranks, others, users)
    table = pq.read_table(tmp_path / "ranks.parquet").to_pandas()
    assert set(table["view"]) == set(views)
    for (view, name), rows in table.groupby(["view", "task"]):
        np.testing.assert_array_equal(rows["above"], found[name][view].ranks.above)
        np.testing.assert_array_equal(rows["others"], found[name][view].others)
        np.testing.assert_array_equal(rows["user"], users[name])


def test_recommend_gives_the_best_that_are_not_barred(tmp_path: Path) -> None:
    task = TASKS["recommendation"]
    requests = task.requests(DATASET, "test")
    items, scores = made(Hashing, tmp_path).recommend(requests, 12, task.barred(DATASET, SETTINGS))
    assert items.tolist() == [order[:12] for order in by_sorting(task)[1]]
    assert np.isfinite(scores).all()
    everything, _ = made(Hashing, tmp_path).recommend(requests, 10_000)
    assert everything.shape == (len(requests), DATASET.number_of_items)
    few, _ = made(Beam, tmp_path).recommend(requests, 40)
    assert (np.count_nonzero(few, axis=1) >= 10).all() and not few[:, -1].any()
    nothing, _ = made(Hashing, tmp_path).recommend(requests.select(slice(0, 0)), 5)
    assert nothing.shape == (0, 5)


class Doubles(Hashing):
    """Forgets to make its scores single."""

    def score_all_items(self, requests: Requests) -> Any:
        """As a run takes them."""
        return super().score_all_items(requests).astype(np.float64)


def test_recommend_takes_the_scores_that_a_run_takes(tmp_path: Path) -> None:
    requests = TASKS["search"].requests(DATASET, "test")
    single, scores = made(Hashing, tmp_path).recommend(requests, 3)
    double, same = made(Doubles, tmp_path).recommend(requests, 3)
    np.testing.assert_array_equal(single, double)
    np.testing.assert_array_equal(scores, same)
    with pytest.raises(SystemFailure, match="candidate 9"):
        made(NotANumber, tmp_path).recommend(requests, 3)
    for k in (0, -1):
        with pytest.raises(BenchmarkError, match="allowed are 1 and more"):
            made(Hashing, tmp_path).recommend(requests, k)


def test_a_damaged_part_of_either_view_is_made_again(tmp_path: Path) -> None:
    task, folder = TASKS["search"], tmp_path / "parts"
    whole = evaluated(made(Hashing, tmp_path), task, folder)
    for view in ("lists", "all-items"):
        (part,) = whole[view].parts
        content = part.read_bytes()
        for place in np.linspace(0, len(content) - 1, 60).astype(int):
            spoilt = bytearray(content)
            spoilt[place] ^= 0xFF
            part.write_bytes(bytes(spoilt))
            again = evaluated(made(Hashing, tmp_path), task, folder)
            np.testing.assert_array_equal(again[view].ranks.above, whole[view].ranks.above)
            write_best(tmp_path / "best.parquet", {"search": again["all-items"].parts})
            write_scores(tmp_path / "scores.parquet", {"search": again["lists"].parts})
            part.write_bytes(content)


def test_a_record_of_the_first_schema_is_read_as_one_view(tmp_path: Path) -> None:
    new = write_run(tmp_path / "runs", search={"HR@1": 0.5})
    assert new.metrics_of("lists") == {"search": {"HR@1": 0.5}}
    record = json.loads((new.folder / "run.json").read_text(encoding="utf-8"))

    def fill(folder: Path) -> None:
        write_json(folder / "run.json", {**record, "schema_version": 1})
        write_json(folder / "metrics.json", {"search": {"HR@1": 0.25}})

    build_folder(tmp_path / "old", fill)
    old = read_run(tmp_path / "old")
    assert old.metrics == {"search": {"HR@1": 0.25}} and old.all_items == {}
