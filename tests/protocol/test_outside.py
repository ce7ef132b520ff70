"""Runs of other systems among all items, against the ranks of the scores that they were made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.data.prepare import load
from benchmark.errors import BenchmarkError
from benchmark.protocol.__main__ import main
from benchmark.protocol.all_items import admitted, best_items, eligible_items, ranks_among
from benchmark.protocol.kept_tasks import load_tasks
from benchmark.protocol.metrics import gains
from benchmark.protocol.outside import event_ids, read_run_among_all
from benchmark.protocol.settings import PRESETS
from benchmark.protocol.task import build_tasks
from benchmark.protocol.trec import item_words, write_run
from tests.protocol.logs import shop_dataset

DATASET = shop_dataset(4, users=40, items=150)
SETTINGS = PRESETS["paper"].model_copy(update={"negatives": 20})
TASKS = build_tasks(DATASET, SETTINGS)
ITEMS = DATASET.number_of_items


def written(path: Path, task: str, number: int) -> np.ndarray:
    """A run of the ``number`` best of all items, barred ones among them; returns all scores."""
    events = len(TASKS[task].test)
    scores = np.random.default_rng(0).integers(0, 60, (events, ITEMS + 1)).astype(np.float32)
    scores[:, 0] = np.nan
    items, values = best_items(scores, number)
    words = item_words(DATASET.items.external_id)
    write_run(path, event_ids(TASKS[task]), items, values, words, "theirs")
    return scores


@pytest.mark.parametrize("task", ["recommendation", "search"])
def test_a_run_of_everything_has_the_ranks_of_its_scores(task: str, tmp_path: Path) -> None:
    of_task = TASKS[task]
    scores = written(tmp_path / "run.trec", task, ITEMS)
    barred = of_task.barred(DATASET, SETTINGS)
    found = read_run_among_all(tmp_path / "run.trec", DATASET, of_task, barred)
    targets = DATASET.log.item[of_task.test.position]
    ranks = ranks_among(admitted(scores, barred), targets)
    np.testing.assert_array_equal(found.ranks.above, ranks.above)
    np.testing.assert_array_equal(found.ranks.tied, ranks.tied)
    assert found.ranks.returned.all() and found.unnamed == 0
    assert found.barred == len(barred.keys)


def test_what_a_run_does_not_name_stands_last_and_tied(tmp_path: Path) -> None:
    of_task = TASKS["search"]
    scores = written(tmp_path / "run.trec", "search", 30)
    barred = of_task.barred(DATASET, SETTINGS)
    found = read_run_among_all(tmp_path / "run.trec", DATASET, of_task, barred)
    whole = ranks_among(admitted(scores, barred), DATASET.log.item[of_task.test.position])
    named = found.ranks.returned
    assert 0 < named.sum() < len(named)
    np.testing.assert_array_equal(found.ranks.above[named], whole.above[named])
    assert (found.ranks.above[~named] == 30).all()
    last = found.ranks.above + found.ranks.tied
    np.testing.assert_array_equal(last[~named], eligible_items(barred, len(named))[~named])
    assert found.unnamed == len(named) * (ITEMS - 30)
    placed = gains(found.ranks.placed("all-items"), "HR@30")
    assert not placed[~named].any() and placed[named].all()


def test_the_command_ranks_in_either_view(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(
        "name: tiny\nsource: {kind: generated, users: 60, items: 150, seed: 3}\n"
        "search: {kind: own}\n",
        encoding="utf-8",
    )
    prepared = tmp_path / "prepared"
    dataset = load(recipe, root=prepared)
    events = event_ids(load_tasks(dataset, PRESETS["paper"], prepared)["search"])
    run = tmp_path / "run.trec"
    word = dataset.items.external_id[1]
    run.write_text("".join(f"{event} Q0 {word} 1 1.0 theirs\n" for event in events))
    asked = ["evaluate", str(recipe), "--task", "search", "--run", str(run)]
    place = ["--prepared", str(prepared), "--results", str(tmp_path / "results")]
    assert main([*asked, *place]) == 0
    told = capsys.readouterr()
    assert "candidates" in told.out and "HR@1 " in told.out
    cuts = ["--set", "protocol.all_items_cutoffs=7,40"]
    assert main([*asked, *place, *cuts, "--view", "all-items"]) == 0
    shown = capsys.readouterr().out
    assert "test events among all items" in shown and "stand last, tied" in shown
    assert "HR@7 " in shown and "NDCG@40 " in shown and "HR@10" not in shown


def test_a_line_that_stands_twice_is_refused(tmp_path: Path) -> None:
    of_task = TASKS["search"]
    word = item_words(DATASET.items.external_id)[1]
    first = event_ids(of_task)[0]
    (tmp_path / "run.trec").write_text(
        f"{first} Q0 {word} 1 1.0 a\n{first} Q0 {word} 2 0.5 a\n",
        encoding="utf-8",
    )
    with pytest.raises(BenchmarkError, match="stands twice"):
        read_run_among_all(
            tmp_path / "run.trec", DATASET, of_task, of_task.barred(DATASET, SETTINGS)
        )
