"""The figures beside the trade-off: what is drawn, and from what."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from itertools import combinations

import matplotlib.image
import numpy as np
import pytest
from matplotlib.text import Text

from benchmark.jobs.record import CostPart
from benchmark.report.group import Drawing
from benchmark.report.latex import figures_latex, standalone
from benchmark.report.plots.bars import WHISKERS, bars_figure
from benchmark.report.plots.codebooks import codebooks_figure
from benchmark.report.plots.cost import cost_figure
from benchmark.report.plots.curves import curves_figure
from benchmark.report.plots.ranks import ranks_figure
from benchmark.report.plots.style import (
    COLUMN_WIDTH,
    HOVER,
    PAGE_WIDTH,
    TITLE_HEIGHT,
    folded_text,
    looks_of,
    report_style,
    save_figure,
)
from benchmark.report.plots.tradeoff import tradeoff_figure
from benchmark.report.reading.collected_events import collect_events
from benchmark.report.reading.curves import Curve, read_curves, write_curves
from benchmark.report.statistics.inference import statistics_of
from benchmark.report.tables.metrics import main_table
from benchmark.report.tables.rows import Table
from benchmark.systems.catalogue import entries
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


def texts_of(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_stages_of_one_system_are_told_apart(make_run) -> None:
    run = make_run("alpha", search=0.1, curve=(0.1, 0.2))
    (run.folder / "pretraining.jsonl").write_text((run.folder / "training.jsonl").read_text())
    figure = curves_figure([run, make_run("beta", search=0.2, curve=(0.1, 0.2))], "title")
    assert said_by(figure) == [
        "Alpha, pretraining, seed 1: 0.2000 at epoch 2",
        "Alpha, training, seed 1: 0.2000 at epoch 2",
        "Beta, seed 1: 0.2000 at epoch 2",
    ]
    drawn = [line for line in figure.axes[0].lines if len(line.get_xdata())]
    assert len({line.get_color() for line in drawn}) == 3
    assert {"Alpha, pretraining", "Alpha, training", "Beta"} <= set(texts_of(figure))


def test_cost_names_the_hardware(make_run) -> None:
    cost = CostPart(fit_seconds=20.0)
    runs = [
        make_run("alpha", search=0.1, cost=cost, environment={"processor": "P", "threads": "2"}),
        make_run(
            "beta",
            search=0.2,
            cost=cost,
            environment={"processor": "P", "threads": "1", "accelerator": "An accelerator"},
        ),
    ]
    figure = cost_figure(runs, *both_tables(runs))
    assert "Trained on An accelerator, 1 thread and on P, 2 threads." in texts_of(figure)


def test_names_are_never_cut(make_run) -> None:
    name = "A system with a name of so many words that no line of a narrow panel has it"[:60]
    ranks = drawn_ranks(0.2)
    runs = [
        make_run(
            "alpha",
            display_name=name,
            recommendation=ranks,
            search=ranks,
            curve=(0.1,),
            cost=CostPart(fit_seconds=20.0),
        ),
        make_run("beta", display_name=f"{name}!"[1:], search=ranks),
    ]
    tables = both_tables(runs)
    for figure in (
        bars_figure(*tables),
        tradeoff_figure(*tables),
        cost_figure(runs, *tables),
        curves_figure(runs, "title"),
        ranks_figure(collect_events(runs).by_view["lists"], tables, "title"),
    ):
        said = " ".join(" ".join(texts_of(figure)).split())
        assert "…" not in said and name in said
        with report_style():
            figure.canvas.draw()
        page = figure.bbox
        of_axes = [text for axes in figure.axes for text in axes.texts]
        of_legends = [text for legend in figure.legends for text in legend.get_texts()]
        with report_style():
            boxes = [text.get_window_extent() for text in (*figure.texts, *of_axes, *of_legends)]
        assert all(page.x0 <= box.x0 and box.x1 <= page.x1 + 1 for box in boxes)


@pytest.fixture(scope="module")
def suite_tables(suite) -> list[Table]:
    events = collect_events(suite)
    of_tasks = statistics_of(suite, events, "lists")
    return [
        main_table(task, suite, statistics=of_tasks[task]) for task in ("recommendation", "search")
    ]


def _boxes_of_labels(axes):
    return {
        text.get_text(): text.get_window_extent()
        for text in axes.texts
        if text.get_text() and text.get_rotation() == 0.0
    }


def _places_of_marks(axes):
    return [
        axes.transData.transform((line.get_xdata()[0], line.get_ydata()[0]))
        for line in axes.lines
        if str(line.get_gid() or "").startswith(HOVER)
    ]


def test_labels_hide_no_other_mark(suite, suite_tables) -> None:
    figures = [tradeoff_figure(*suite_tables), cost_figure(suite, *suite_tables)]
    for figure in figures:
        figure.canvas.draw()
        for axes in figure.axes:
            boxes, marks = _boxes_of_labels(axes), _places_of_marks(axes)
            assert len(boxes) > 10 and len(marks) > 10
            for name, box in boxes.items():
                assert not any(box.contains(*mark) for mark in marks), name
                over = [other for other, b in boxes.items() if other != name and _share(box, b)]
                assert not over, (name, over)


def _share(first, second) -> bool:
    """Whether two boxes share more than the lines' edges."""
    width = min(first.x1, second.x1) - max(first.x0, second.x0)
    height = min(first.y1, second.y1) - max(first.y0, second.y0)
    return width > 1.0 and height > 0.25 * min(first.height, second.height)


def test_the_tradeoff_shows_and_explains_intervals(suite_tables) -> None:
    figure = tradeoff_figure(*suite_tables)
    cell = next(row for row in suite_tables[0].rows if row.system == "gensar").cells[3]
    told = next(text for text in said_by(figure) if text.startswith("GenSAR: "))
    low, high = cell.interval
    assert f"recommendation interval {low:.4f} to {high:.4f}" in told
    bars = [tuple(line.get_xdata()) for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
    assert any(bar == pytest.approx((low, high)) for bar in bars)
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "whiskers and [ ]: 95 % interval of the mean" in legend
    # A system of one task has its interval beside its name.
    tick = next(row for row in suite_tables[0].rows if row.system == "sasrec").cells[3].interval
    ends = ", ".join(f"{end:.3f}".removeprefix("0") for end in tick)
    assert f"SASRec [{ends}]" in texts_of(figure)


def test_bars_explain_their_whiskers(suite_tables) -> None:
    assert WHISKERS in texts_of(bars_figure(*suite_tables))


def test_variants_that_print_the_same_are_drawn_once(make_run) -> None:
    variants = [name for name, row in entries().items() if row.heading][:2]
    runs = [make_run(name, recommendation=0.2, search=0.3) for name in variants]
    runs.append(make_run("other", recommendation=0.2, search=0.3))
    names = f"{runs[0].record.system.display_name}, {runs[1].record.system.display_name}"
    for figure in (bars_figure(*both_tables(runs)), tradeoff_figure(*both_tables(runs))):
        assert {said.partition(":")[0] for said in said_by(figure)} == {names, "Other"}


def test_equal_identifiers_share_a_row(make_run) -> None:
    figures = {"codebook_use_1": 1.0, "entropy_1": 0.5}
    runs = []
    for name, entropy in (("alpha", 0.5), ("beta", 0.5), ("gamma", 0.4)):
        run = make_run(name, search=0.1)
        of_run = {"semantic": {**figures, "entropy_1": entropy}}
        record = run.record.model_copy(update={"identifiers": of_run})
        runs.append(run.model_copy(update={"record": record}))
    shown = texts_of(codebooks_figure(runs, "title"))
    assert "Alpha, Beta: semantic" in shown and "Gamma: semantic" in shown


def test_colours_stay_apart_under_deuteranopia(suite) -> None:
    """CIE 1976 differences of all pairs, also as Machado et al. (2009) simulate deuteranopia.

    About 2 is what trained eyes just see; the colours of Okabe and Ito with a middle grey have 9.
    """
    import matplotlib as mpl

    with report_style():
        cycle = [entry["color"] for entry in mpl.rcParams["axes.prop_cycle"]]
        looks = looks_of({run.record.system.family for run in suite})
    assert len({look.color for look in looks.values()}) == len(looks) == 8
    for colors in (
        [look.color for look in looks.values()],
        [*(f"#{color.lstrip('#')}" for color in cycle), "#c4c4c4"],
    ):
        for seen in (np.eye(3), DEUTERANOPIA):
            shown = [_lab(color, seen) for color in colors]
            nearest = min(float(np.linalg.norm(a - b)) for a, b in combinations(shown, 2))
            assert nearest > 24.0


DEUTERANOPIA = np.array(  # of linear RGB, severity 1
    [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
)


def _lab(color: str, seen: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of what an eye sees of a colour of sRGB."""
    coded = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255.0
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ np.clip(seen @ linear, 0.0, 1.0) / [0.9505, 1.0, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("width", [PAGE_WIDTH, COLUMN_WIDTH])
def test_figures_have_the_width_that_is_asked_for_and_legible_type(
    suite, suite_tables, width: float
) -> None:
    lists = collect_events(suite).by_view["lists"]
    tradeoff = tradeoff_figure(*suite_tables, width)
    cost = cost_figure(suite, *suite_tables, width)
    figures = [
        tradeoff,
        cost,
        curves_figure(suite, "title", ["search"], width),
        ranks_figure(lists, suite_tables[:1], "title", width),
        bars_figure(*suite_tables, width),
    ]
    for figure in figures:
        assert figure.get_figwidth() <= width + 0.01
        assert figure.get_figheight() < 9.0
        written = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
        assert min(text.get_fontsize() for text in written) >= 6.0
    for figure in (tradeoff, cost):  # where most stands close together
        with report_style():
            figure.canvas.draw()
            for text in written_on(figure):
                box = text.get_window_extent()
                assert box.x0 >= -1 and box.x1 <= figure.bbox.x1 + 1, text.get_text()


def written_on(figure) -> list[Text]:
    """All that is written, but for the ticks' labels, of which axes keep some unseen."""
    of_axes = [text for axes in figure.axes for text in axes.texts]
    labels = [axis.label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    of_legends = [text for legend in figure.legends for text in legend.get_texts()]
    return [*figure.texts, *of_axes, *labels, *of_legends]


def test_a_figure_for_a_column_floats_in_one(suite_tables) -> None:
    for width, floating in ((COLUMN_WIDTH, "figure"), (PAGE_WIDTH, "figure*")):
        text = figures_latex([Drawing("bars", "Bars.", bars_figure(*suite_tables, width))])
        assert text.startswith(f"\\begin{{{floating}}}[t]")


def test_what_ranks_with_a_variants_training_stands_at_its_time(make_run) -> None:
    """It kept no log of training, and the mark is one where both have the same figures."""
    first, second = [name for name, row in entries().items() if row.heading == "GenSAR"]
    runs = [
        make_run(first, search=0.2, curve=(0.1,), cost=CostPart(fit_seconds=20.0)),
        make_run(second, search=0.2, cost=CostPart(fit_seconds=90.0)),
        make_run("other", search=0.3, curve=(0.1,), cost=CostPart(fit_seconds=90.0)),
    ]
    figure = cost_figure(runs, *both_tables(runs))
    names = f"{runs[0].record.system.display_name}, {runs[1].record.system.display_name}"
    told = sorted(said.partition(" s, ")[0] for said in said_by(figure))
    assert told == sorted(["Other: 90.0", f"{names}: 20.0"])
    assert "GenSAR" in [text.get_text() for axes in figure.axes for text in axes.texts]


def test_a_pdf_goes_without_its_title_and_a_png_with_it(suite_tables, tmp_path) -> None:
    figure = bars_figure(*suite_tables)
    for suffix in (".pdf", ".png"):
        save_figure(figure, tmp_path / f"bars{suffix}")
    width, height = figure.get_size_inches()
    (box,) = re.findall(rb"/MediaBox \[ ([^]]*)\]", (tmp_path / "bars.pdf").read_bytes())
    left, bottom, right, top = map(float, box.split())
    assert (left, bottom, right) == pytest.approx((0.0, 0.0, 72.0 * width))
    assert top == pytest.approx(72.0 * (height - TITLE_HEIGHT))
    image = matplotlib.image.imread(tmp_path / "bars.png")
    assert image[: image.shape[0] // 20].min() < 0.5  # the title's ink
    title = next(text for text in figure.texts if text.get_gid() == "title")
    box = title.get_window_extent()
    assert box.y0 >= figure.bbox.height - TITLE_HEIGHT * figure.dpi  # all of it is cut off


def test_figures_have_captions_in_latex(suite_tables, tmp_path) -> None:
    if shutil.which("pdflatex") is None:
        # Users need no LaTeX; `.ci/run` installs it, so nothing is skipped there.
        pytest.skip("pdflatex is not installed")
    figure = bars_figure(*suite_tables)
    text = figures_latex([Drawing("tiny-bars", "Bars & more.", figure)])
    assert r"\label{fig:tiny-bars}" in text
    assert r"\caption{Bars \& more. (tiny $\cdot$ protocol paper" in text
    save_figure(figure, tmp_path / "tiny-bars.pdf")
    for options in ("", "twocolumn"):
        (tmp_path / "figures.tex").write_text(standalone(text, options), encoding="utf-8")
        command = ["pdflatex", "-halt-on-error", "-no-shell-escape", "figures.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=120)
        assert done.returncode == 0 and b"Overfull" not in done.stdout
        assert b"tiny-bars.pdf" in done.stdout


def test_names_are_folded_between_words() -> None:
    text = "UnifiedSSR, recommendation"
    assert folded_text(text, 60.0, 7.0).split("\n") == text.split()
    assert folded_text(text, 1000.0, 7.0) == text
    assert folded_text("recommendation", 10.0, 7.0) == "recommendation"
