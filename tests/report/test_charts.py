"""The figures beside the trade-off: what is drawn, and from what."""

from __future__ import annotations

import math

import pytest

from benchmark.audit.record import Audit, RankerResult
from benchmark.report.charts import (
    agreement,
    agreement_figure,
    bars_figure,
    codebooks_figure,
    cost_figure,
    curves_figure,
    ranks_figure,
)
from benchmark.report.curves import Curve, read_curves, write_curves
from benchmark.report.plots import HOVER
from benchmark.report.statistics import collect_events
from benchmark.report.tables import main_table
from benchmark.runs.record import CostPart
from tests.report.conftest import drawn_ranks, figures


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
    figure = ranks_figure(collect_events([run]).by_task, both_tables([run]), "title")
    (line,) = figure.axes[0].lines
    shares = dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
    # A tied target counts where its expected rank is, rounded down.
    expected = (ranks.returned & (ranks.above + ranks.tied // 2 < 10)).mean()
    assert shares[10] == pytest.approx(expected)
    assert max(shares.values()) == pytest.approx(ranks.returned.mean())
    assert ranks_figure({}, both_tables([run]), "title") is None


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


def test_agreement_by_hand() -> None:
    # Of the three pairs one is reversed: (2 - 1) / 3.
    tau = agreement([{"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 1.0, "b": 3.0, "c": 2.0, "d": 9.0}])
    assert tau[0, 0] == tau[1, 1] == pytest.approx(1.0)
    assert tau[0, 1] == tau[1, 0] == pytest.approx(1 / 3)
    assert math.isnan(agreement([{"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 2.0}])[0, 1])


def test_agreement_is_drawn_between_protocols(make_run) -> None:
    def table(protocol: str, levels: tuple[float, ...]):
        runs = [
            make_run(name, search=level, protocol=protocol)
            for name, level in zip("abc", levels, strict=True)
        ]
        return main_table("search", runs)

    paper, clean = table("paper", (0.1, 0.2, 0.3)), table("clean", (0.3, 0.2, 0.1))
    said = said_by(agreement_figure([paper, clean]))
    assert "clean HR@1 and paper HR@1: -1.00" in said
    assert agreement_figure([paper]) is None


def test_the_view_of_all_items_is_set_against_the_lists(make_run) -> None:
    levels = {"a": 0.1, "b": 0.2, "c": 0.3}
    paper = main_table("search", [make_run(name, search=level) for name, level in levels.items()])

    def audited(learns: bool) -> Audit:
        results = [
            RankerResult(
                name=name,
                display_name=name,
                learns=learns,
                lists=figures(level),
                catalogue=figures(0.5 - level),
            )
            for name, level in levels.items()
        ]
        return Audit(
            dataset="tiny",
            fingerprint="f0",
            protocol="paper",
            settings={},
            test_events={"search": 800},
            catalogue_events={"search": 500},
            diagnostics={},
            rankers={"search": results},
        )

    said = said_by(agreement_figure([paper], [audited(learns=True)]))
    assert "paper, all items HR@1 and paper HR@1: -1.00" in said
    assert "paper, all items NDCG@10 and paper, all items HR@1: 1.00" in said
    assert agreement_figure([paper], [audited(learns=False)]) is None


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
