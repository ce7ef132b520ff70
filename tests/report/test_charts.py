"""The figures beside the trade-off: what is drawn, and from what."""

from __future__ import annotations

import math

import pytest

from benchmark.report.charts import (
    bars_figure,
    codebooks_figure,
    cost_figure,
    curves_figure,
    ranks_figure,
)
from benchmark.report.curves import Curve, read_curves, write_curves
from benchmark.report.plots import HOVER, tradeoff_figure
from benchmark.report.statistics import collect_events
from benchmark.report.tables import main_table
from benchmark.runs.record import CostPart
from tests.report.conftest import among_all, drawn_ranks


def said_by(figure) -> list[str]:
    """What the figure tells when the pointer rests on its marks."""
    found = figure.findobj(lambda artist: str(artist.get_gid() or "").startswith(HOVER))
    return [str(artist.get_gid()).removeprefix(HOVER) for artist in found]


def both_tables(runs):
    return [main_table(task, runs) for task in ("recommendation", "search")]


def test_every_system_has_a_bar_in_each_of_its_tasks(make_run) -> None:
    runs = [
        make_run("alpha", recommendation=0.1),
        make_run("beta", recommendation=0.2, search=0.3, family="joint"),
    ]
    figure = bars_figure(*both_tables(runs))
    # figures(level) has 1.3 times the level as NDCG@5.
    assert said_by(figure) == [
        "Alpha: NDCG@5 0.1300",
        "Beta: NDCG@5 0.2600",
        "Beta: NDCG@5 0.3900",
    ]


def test_curves_have_a_line_a_seed(make_run) -> None:
    runs = [make_run("alpha", search=0.1, seed=s, curve=(0.1, 0.3, 0.2)) for s in (1, 2)]
    runs.append(make_run("beta", search=0.1))
    assert said_by(curves_figure(runs, "title")) == [
        "Alpha, seed 1: 0.3000 at epoch 2",
        "Alpha, seed 2: 0.3000 at epoch 2",
    ]
    assert curves_figure(runs[-1:], "title") is None


def test_cost_is_training_time_against_quality(make_run) -> None:
    runs = [
        make_run("alpha", search=0.1, cost=CostPart(fit_seconds=20.0), seed=1),
        make_run("alpha", search=0.1, cost=CostPart(fit_seconds=40.0), seed=2),
        make_run("free", search=0.05, family="references"),
    ]
    said = said_by(cost_figure(runs, *both_tables(runs)))
    assert sorted(said) == ["Alpha: 30.0 s, NDCG@5 0.1300", "Free: 0.1 s, NDCG@5 0.0650"]
    assert cost_figure(runs[-1:], *both_tables(runs[-1:])) is None


def test_ranks_show_hr_at_every_k(make_run) -> None:
    ranks = drawn_ranks(0.4)
    run = make_run("alpha", search=ranks)
    figure = ranks_figure(collect_events([run]).by_view["lists"], both_tables([run]), "title")
    (line,) = figure.axes[0].lines
    shares = dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
    # A tied target counts where its expected rank is, rounded down.
    expected = (ranks.returned & (ranks.above + ranks.tied // 2 < 10)).mean()
    assert shares[10] == pytest.approx(expected)
    assert max(shares.values()) == pytest.approx(ranks.returned.mean())
    assert ranks_figure({}, both_tables([run]), "title") is None


def test_ranks_among_all_items_go_to_the_lowest(make_run) -> None:
    ranks = drawn_ranks(0.3)
    run = make_run("alpha", search=ranks, all_items={"search": among_all(ranks, 20)}, others=1681)
    events = collect_events([run]).by_view["all-items"]
    tables = [main_table(task, [run], view="all-items") for task in ("recommendation", "search")]
    (line,) = ranks_figure(events, tables, "title").axes[0].lines
    ks, shares = line.get_xdata(), line.get_ydata()
    assert list(ks[:100]) == list(range(1, 101)) and len(ks) < 250
    expected = ranks.above * 20 + ranks.tied // 2
    assert ks[-1] >= expected.max()
    for k, share in zip(ks[::20], shares[::20], strict=True):
        assert share == pytest.approx((ranks.returned & (expected < k)).mean())


def test_plots_take_the_metric_of_their_view(make_run) -> None:
    ranks = drawn_ranks(0.3)
    all_items = {task: among_all(ranks) for task in ("recommendation", "search")}
    cost = CostPart(fit_seconds=20.0)
    run = make_run("alpha", recommendation=ranks, search=ranks, all_items=all_items, cost=cost)
    tables = [main_table(task, [run], view="all-items") for task in ("recommendation", "search")]
    mean = run.all_items["search"]["NDCG@10"]
    assert said_by(bars_figure(*tables))[1] == f"Alpha: NDCG@10 {mean:.4f}"
    assert said_by(cost_figure([run], *tables))[1] == f"Alpha: 20.0 s, NDCG@10 {mean:.4f}"
    figure = tradeoff_figure(*tables)
    assert said_by(figure) == [f"Alpha: recommendation {mean:.4f}, search {mean:.4f} (NDCG@10)"]
    assert figure.axes[0].get_xlabel() == "Recommendation NDCG@10"
    assert any("among all items" in text.get_text() for text in figure.texts)


def test_codebooks_show_each_level(make_run) -> None:
    run = make_run("alpha", search=0.1)
    figures = {"codebook_use_1": 1.0, "codebook_use_2": 0.25, "items": 100.0}
    record = run.record.model_copy(update={"identifiers": {"semantic": figures}})
    figure = codebooks_figure([run.model_copy(update={"record": record})], "title")
    assert said_by(figure) == [
        "Alpha, semantic, level 1: 100.0 % of the codes in use",
        "Alpha, semantic, level 2: 25.0 % of the codes in use",
    ]
    assert codebooks_figure([run], "title") is None


def test_curves_keep_what_is_drawn(tmp_path) -> None:
    curve = Curve("model", (1, 2), (0.5, math.nan), {"search": (math.nan, 0.25)})
    write_curves(tmp_path, [curve])
    (again,) = read_curves(tmp_path)
    assert again.name == "model" and again.epochs == (1, 2) and again.loss[0] == 0.5
    assert math.isnan(again.loss[1]) and again.validation["search"][1] == 0.25


@pytest.mark.parametrize("text", ["", "{", "[1]\n", '{"epoch": "x"}\n', "\x00\n"])
def test_what_is_no_training_log_is_passed_over(tmp_path, text: str) -> None:
    (tmp_path / "odd.jsonl").write_text(text)
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe")
    assert read_curves(tmp_path) == ()
