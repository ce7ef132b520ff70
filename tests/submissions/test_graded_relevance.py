"""Graded relevance from published files to records, reference runs, tables and submissions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml

from benchmark.data.prepare import load
from benchmark.errors import BenchmarkError
from benchmark.jobs.record import JUDGED_FILE, Run, find_run_folders, read_run
from benchmark.protocol.kept_tasks import load_tasks
from benchmark.protocol.settings import configure_protocol
from benchmark.protocol.task import build_tasks
from benchmark.report.__main__ import main as report
from benchmark.report.reading.events import read_events
from benchmark.report.reference import write_run
from benchmark.report.submissions import figures_of_ranks, read_submission
from benchmark.submissions.__main__ import main
from benchmark.submissions.check import check_submission
from tests.data.test_esci import write
from tests.handed_in import World

OPTION = "protocol.split=global-time"
RECIPE = """
name: tiny
source: {kind: esci, path: files, validation_share: 0.3}
search: {kind: own}
text: [title]
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Forty queries, a third of them tested, with seven judged products each."""
    root = tmp_path_factory.mktemp("world")
    examples = [
        (query, f"B{(query * 7 + place * 3) % 97}", label, "test" if query % 3 == 0 else "train")
        for query in range(40)
        for place, label in enumerate("EESSCII")
    ]
    write(root / "files", examples)
    (root / "tiny.yaml").write_text(RECIPE, encoding="utf-8")
    dataset = load(root / "tiny.yaml", root=root / "prepared")
    _, settings = configure_protocol("paper", {"split": "global-time"})
    return World(root, dataset, load_tasks(dataset, settings, root / "prepared"))


@pytest.fixture(scope="module")
def run(world: World) -> Run:
    """A run that was handed in."""
    files = world.write(world.root / "mine")
    assert world.evaluate(files, world.root / "results", "--set", OPTION) == 0
    (folder,) = find_run_folders(world.root / "results" / "runs")
    return read_run(folder)


@pytest.fixture
def copy(world: World, run: Run, tmp_path: Path) -> Path:
    """A true submission that a test may spoil."""
    told = ("--licence", "CC0-1.0", "--commit", "0123abc4567", "--contributor", "A. Author")
    files = ("--code", "https://example.org", "--trec", str(world.root / "mine"))
    place = ("--root", str(tmp_path / "submissions"), "--hardware", "an abacus")
    assert main(["make", str(run.folder), *told, *files, *place]) == 0
    (folder,) = (tmp_path / "submissions").iterdir()
    return folder


def test_the_published_split_and_lists(world: World) -> None:
    task = world.tasks["search"]
    log = world.dataset.log
    tested = {world.dataset.users[user] for user in log.user[task.test.position].tolist()}
    assert tested == {str(query) for query in range(0, 40, 3)}
    assert set(task.test_candidates.lengths.tolist()) == {7}
    assert not (log.timestamp[task.train.position] > 0).any()


def test_leave_one_out_says_what_does_hold_out(world: World) -> None:
    with pytest.raises(
        BenchmarkError, match="global-time takes the one that it was published with"
    ):
        build_tasks(world.dataset, configure_protocol("paper", {})[1])


def test_a_record_gives_its_figures_and_says_what_they_are(run: Run) -> None:
    assert run.record.protocol.graded == ("search",)
    judged = pq.read_table(run.folder / JUDGED_FILE)
    assert set(judged["gain"].to_pylist()) == {100, 10, 1}
    values = read_events(run)["lists"]["search"]  # refuses figures that are not on record
    assert values.gains.shape[0] == run.record.protocol.test_events["search"]
    # Five of seven judged products have a gain, so the best five reach the ideal and no more.
    assert 0 < run.metrics["search"]["NDCG@5"] < run.metrics["search"]["HR@5"] <= 1


def test_a_reference_run_keeps_the_events(run: Run, tmp_path: Path) -> None:
    write_run(run, tmp_path / "small")
    small, whole = read_events(read_run(tmp_path / "small")), read_events(run)
    for view in ("lists", "all-items"):
        assert small[view]["search"].metrics == whole[view]["search"].metrics
        np.testing.assert_allclose(small[view]["search"].gains, whole[view]["search"].gains)


def test_tables_say_that_relevance_is_graded(world: World, run: Run, tmp_path: Path) -> None:
    assert report(["--from", str(run.folder), "--out", str(tmp_path)]) == 0
    for view in ("", "-all-items"):
        (path,) = (tmp_path / "tables").glob(f"*-search{view}.md")
        text = path.read_text(encoding="utf-8")
        assert "NDCG takes their gains (100, 10, 1, 0)" in text
        assert "With one relevant item" not in text


def test_a_true_submission_passes(world: World, copy: Path) -> None:
    assert (copy / JUDGED_FILE).is_file()
    assert check_submission(copy, world.root / "prepared").sentences == (
        "its figures follow from ranks.parquet",
        "data and lists are those that it names",
        "its TREC files give the same figures",
    )


def without_a_row(folder: Path) -> None:
    table = pq.read_table(folder / JUDGED_FILE)
    pq.write_table(table.filter(pc.not_equal(table["gain"], 1)), folder / JUDGED_FILE)


def with_figures_of_the_targets_alone(folder: Path) -> None:
    """What is no judged item leaves the figures of the targets, which are claimed then."""
    (folder / JUDGED_FILE).unlink()
    claim_what_the_ranks_give(folder)


def claim_what_the_ranks_give(folder: Path) -> None:
    path = folder / "submission.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = json.loads(json.dumps(figures_of_ranks(read_submission(folder))))
    path.write_text(yaml.safe_dump({**content, "figures": found}), encoding="utf-8")


def fewer_items_and_their_figures(folder: Path) -> None:
    without_a_row(folder)
    claim_what_the_ranks_give(folder)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (without_a_row, "NDCG"),
        (fewer_items_and_their_figures, "does not hold the items that were judged"),
        (with_figures_of_the_targets_alone, "does not hold the items that were judged"),
    ],
)
def test_other_judgements_are_refused(
    change: Callable[[Path], None], complaint: str, world: World, copy: Path
) -> None:
    for path in copy.glob("*.trec.gz"):
        path.unlink()
    change(copy)
    with pytest.raises(BenchmarkError, match=complaint):
        check_submission(copy, world.root / "prepared")


def test_damaged_judgements_are_one_sentence(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "run")
    table = pq.read_table(tmp_path / "run" / JUDGED_FILE)
    gain = pc.subtract(table["gain"], 1)
    spoiled = table.set_column(table.column_names.index("gain"), "gain", gain)
    pq.write_table(spoiled, tmp_path / "run" / JUDGED_FILE)
    damaged = run.model_copy(update={"folder": tmp_path / "run"})
    with pytest.raises(
        BenchmarkError, match=r"judged\.parquet: must have a gain above 0 in each row"
    ):
        read_events(damaged)
