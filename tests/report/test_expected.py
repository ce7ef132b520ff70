"""The expectation over the draw of the lists: what many draws give, and where there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.data.dataset import Dataset
from benchmark.data.prepare import load
from benchmark.protocol.all_items import admitted, eligible_items, ranks_among
from benchmark.protocol.metrics import METRIC_NAMES, Ranks, mean_metrics
from benchmark.protocol.settings import PRESETS, ProtocolSettings
from benchmark.protocol.task import build_tasks
from benchmark.report.reading.collected_events import collect_events
from benchmark.report.reference import write_references
from benchmark.report.tables.expected import expected_grid, is_drawn_uniformly
from benchmark.report.tables.grid import DASH, Grid
from benchmark.report.whole import make_report
from tests.report.conftest import among_all, drawn_ranks

RECIPE = """
name: tiny
source: {kind: generated, users: 60, items: 150, seed: 3}
search: {kind: none}
"""
SETTINGS = PRESETS["paper"].model_copy(update={"negatives": 30})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("data")
    (folder / "tiny.yaml").write_text(RECIPE, encoding="utf-8")
    return load(str(folder / "tiny.yaml"), root=folder / "prepared")


def popularity(dataset: Dataset, settings: ProtocolSettings) -> np.ndarray:
    """Scores of all items (items + 1,), with ties: half the number of training events, rounded."""
    train = build_tasks(dataset, settings)["recommendation"].train.position
    counts = np.bincount(dataset.log.item[train], minlength=dataset.number_of_items + 1)
    return (counts // 2).astype(np.float32)


def on_lists(dataset: Dataset, scores: np.ndarray, settings: ProtocolSettings) -> Ranks:
    lists = build_tasks(dataset, settings)["recommendation"].test_candidates
    return lists.ranks(scores[lists.items])


def on_all_items(
    dataset: Dataset, scores: np.ndarray, settings: ProtocolSettings
) -> tuple[Ranks, np.ndarray]:
    task = build_tasks(dataset, settings)["recommendation"]
    barred = task.barred(dataset, settings)
    everything = admitted(np.tile(scores, (len(task.test), 1)), barred)
    ranks = ranks_among(everything, dataset.log.item[task.test.position])
    return ranks, eligible_items(barred, len(task.test))


def grid_of(runs_root: Path) -> Grid | None:
    (group,) = make_report(runs_root).groups
    found = [grid for grid in group.own_grids if grid.stem.endswith("-recommendation-expected")]
    return found[0] if found else None


def entries(grid: Grid, system: str) -> dict[str, list]:
    return {
        group.title: list(row[1:])
        for group in grid.groups
        for row in group.rows
        if row[0].text == system
    }


def test_it_is_what_many_drawn_lists_give(dataset: Dataset, make_run, runs_root: Path) -> None:
    scores = popularity(dataset, SETTINGS)
    ranks, others = on_all_items(dataset, scores, SETTINGS)
    lists = on_lists(dataset, scores, SETTINGS)
    make_run(
        "popularity",
        family="references",
        recommendation=lists,
        all_items={"recommendation": ranks},
        others=others,
        settings=SETTINGS.model_dump(mode="json"),
        protocol="custom",
    )
    draws = 400
    drawn = np.array(
        [
            list(mean_metrics(on_lists(dataset, scores, of_seed)).values())
            for seed in range(1, draws + 1)
            for of_seed in [SETTINGS.model_copy(update={"seed": seed})]
        ]
    )
    found = entries(grid_of(runs_root), "Popularity")
    assert list(found) == list(METRIC_NAMES)
    own = mean_metrics(lists)
    for column, (metric, cells) in enumerate(found.items()):
        figure, expected, deviation, difference = (cell.value for cell in cells)
        error = drawn[:, column].std(ddof=1) / np.sqrt(draws)
        assert abs(drawn[:, column].mean() - expected) < 4.0 * error, metric
        # A deviation of 400 draws is right to about 1 / sqrt(800).
        assert drawn[:, column].std(ddof=1) == pytest.approx(deviation, rel=0.15), metric
        assert figure == pytest.approx(own[metric])
        assert difference == pytest.approx((figure - expected) / deviation)


def whole(level: float, seed: int = 0) -> Ranks:
    """Ranks of which nothing was left out."""
    ranks = drawn_ranks(level, 200, seed)
    return Ranks(ranks.above, ranks.tied, np.ones(len(ranks), dtype=bool))


def test_who_leaves_items_out_has_a_dash_and_the_reason(make_run, runs_root: Path) -> None:
    ranks, part = whole(0.3), drawn_ranks(0.3, 200)
    for name, lists, of_all, beam in (
        ("plain", ranks, among_all(ranks), ""),
        ("pruned", part, among_all(ranks), ""),
        ("short", ranks, among_all(part), ""),
        ("beamed", ranks, among_all(ranks), "a beam of 7 identifiers"),
    ):
        make_run(
            name,
            recommendation=lists,
            all_items={"recommendation": of_all},
            ranking_of_all_items=beam,
        )
    make_run("old", recommendation=ranks)
    grid = grid_of(runs_root)
    notes = {note.mark: note.text for note in grid.footnotes}
    reasons = {row[0].text: notes.get(row[0].raised, "") for row in grid.groups[0].rows}
    assert reasons["Plain"] == ""
    assert reasons["Beamed"].startswith("No expectation: a beam of 7 identifiers")
    assert reasons["Pruned"] == reasons["Short"] != ""
    assert "left out targets" in reasons["Pruned"]
    assert "keep no ranks among all items" in reasons["Old"]
    for name in ("Pruned", "Short", "Beamed", "Old"):
        for figure, *others in entries(grid, name).values():
            assert figure.value is not None and [o.text for o in others] == [DASH] * 3
    assert all(e.value is not None for cells in entries(grid, "Plain").values() for e in cells)


def test_a_list_of_everything_is_no_draw(make_run, runs_root: Path) -> None:
    ranks = whole(0.3)
    run = make_run("alpha", recommendation=ranks, all_items={"recommendation": ranks}, others=99)
    for metric, cells in entries(grid_of(runs_root), "Alpha").items():
        figure, expected, deviation, difference = cells
        assert figure.value == pytest.approx(run.metrics["recommendation"][metric])
        assert expected.value == pytest.approx(figure.value, abs=1e-9)
        assert deviation.value == pytest.approx(0.0, abs=1e-6) and difference.text == DASH


@pytest.mark.parametrize(
    "changes", [{"recommendation_negatives": "popularity"}, {"sampler": "released"}]
)
def test_other_laws_have_no_expectation(make_run, runs_root: Path, changes: dict) -> None:
    ranks = whole(0.3)
    settings = {**PRESETS["paper"].model_dump(mode="json"), **changes}
    make_run(
        "alpha",
        recommendation=ranks,
        all_items={"recommendation": among_all(ranks)},
        protocol="custom",
        settings=settings,
    )
    assert grid_of(runs_root) is None


def test_lists_from_outside_have_no_expectation(make_run) -> None:
    run = make_run("alpha", recommendation=whole(0.3))
    assert is_drawn_uniformly(run.record)
    for tasks, is_drawn in ((("search",), True), (("recommendation",), False)):
        protocol = run.record.protocol.model_copy(update={"outside_lists": tasks})
        record = run.record.model_copy(update={"protocol": protocol})
        assert is_drawn_uniformly(record) is is_drawn


def test_seeds_share_their_lists(make_run, runs_root: Path) -> None:
    for seed in (1, 2, 3):
        ranks = whole(0.3, seed)
        all_items = {"recommendation": among_all(ranks)}
        make_run("alpha", recommendation=ranks, all_items=all_items, seed=seed)
    grid = grid_of(runs_root)
    assert "Deviations are means over the seeds" in grid.caption
    (group,) = make_report(runs_root).groups
    events = collect_events(group.group.runs)
    lists = group.views["lists"].main["recommendation"]
    each = []
    for seed in range(3):
        of_all = {"alpha": [events.of("all-items", "recommendation")["alpha"][seed]]}
        of_lists = events.of("lists", "recommendation")
        each.append(entries(expected_grid(group.group, lists, of_lists, of_all), "Alpha"))
    for metric, cells in entries(grid, "Alpha").items():
        for place in (1, 2):
            values = [of_seed[metric][place].value for of_seed in each]
            assert cells[place].value == pytest.approx(np.mean(values))


def test_references_give_the_same_expectations(make_run, runs_root: Path, tmp_path: Path) -> None:
    ranks = whole(0.3)
    make_run("alpha", recommendation=ranks, all_items={"recommendation": among_all(ranks)})
    write_references(runs_root, tmp_path / "reference")
    assert grid_of(tmp_path / "reference") == grid_of(runs_root) is not None
