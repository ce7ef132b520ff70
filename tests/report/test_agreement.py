"""Both views' orders of the systems: tau and its interval, and who changes places."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmark.protocol.metrics import Ranks
from benchmark.report.plots.agreement import agreement, agreement_figure, views_figure
from benchmark.report.reading.events import TaskEvents, gains_of
from benchmark.report.reading.ranks import rank_histogram
from benchmark.report.statistics.agreement import (
    OrdersOfViews,
    metrics_in_both,
    orders_of_views,
    taus_of,
)
from benchmark.report.tables.agreement import agreement_grid, changed_places_grid
from benchmark.report.tables.metrics import main_table
from benchmark.report.whole import make_report
from tests.report.conftest import among_all, drawn_ranks
from tests.report.test_charts import said_by

NAMES = ("a", "b", "c", "d")


def events_of(ranks: Ranks) -> TaskEvents:
    return TaskEvents(gains_of(ranks, "expected"), rank_histogram(ranks))


def untied(above: np.ndarray) -> Ranks:
    above = np.maximum(above, 0).astype(np.int32)
    return Ranks(above, np.zeros_like(above), np.ones(len(above), dtype=bool))


def orders_of(lists: dict[str, Ranks], all_items: dict[str, Ranks], references=()):
    events = {
        view: {name: [events_of(of)] for name, of in ranks.items()}
        for view, ranks in (("lists", lists), ("all-items", all_items))
    }
    trained = [name for name in lists if name not in references]
    return orders_of_views("search", events, trained, references)


def ndcg_at_10(orders: tuple[OrdersOfViews, ...]) -> OrdersOfViews:
    return next(of for of in orders if of.metrics == ("NDCG@10", "NDCG@10"))


def test_tau_is_scipys_with_ties() -> None:
    random = np.random.default_rng(0)
    means = random.integers(0, 5, (50, 8, 2)) / 10
    expected = [stats.kendalltau(one[:, 0], one[:, 1]).statistic for one in means]
    assert taus_of(means) == pytest.approx(np.array(expected))
    assert math.isnan(taus_of(np.zeros((1, 3, 2)))[0])


def test_metrics_of_both_views_are_compared() -> None:
    lists, all_items = ("HR@1", "HR@5", "NDCG@5"), ("HR@5", "HR@10", "NDCG@5", "NDCG@10")
    assert metrics_in_both(lists, all_items) == [("HR@5", "HR@5"), ("NDCG@5", "NDCG@5")]
    assert metrics_in_both(("HR@1", "HR@3", "NDCG@3"), all_items) == [("NDCG@3", "NDCG@10")]


def test_the_interval_is_that_of_users_drawn_for_both_views_at_once() -> None:
    """Against a bootstrap written out: the same users in both views and for all systems."""
    random = np.random.default_rng(1)
    hardness = random.normal(size=200)
    lists = {
        n: untied(8 + 6 * (hardness + random.normal(size=200)) + i) for i, n in enumerate(NAMES)
    }
    whole = {n: untied(lists[n].above + random.integers(0, 9, 200)) for n in NAMES}
    found = ndcg_at_10(orders_of(lists, whole)).trained
    values = np.stack(
        [
            np.stack(
                [gains_of(view[name], "expected", ("NDCG@10",))[:, 0] for view in (lists, whole)]
            )
            for name in NAMES
        ]
    )  # (systems, views, events)
    taus = []
    for _ in range(2000):
        means = values[:, :, random.integers(200, size=200)].mean(axis=2)
        taus.append(stats.kendalltau(means[:, 0], means[:, 1]).statistic)
    low, high = np.quantile(taus, (0.025, 0.975))
    assert found.low == pytest.approx(low, abs=0.35) and found.high == pytest.approx(high, abs=0.01)
    exact = stats.kendalltau(*values.mean(axis=2).T).statistic
    assert found.tau == pytest.approx(exact)
    assert found.low <= found.tau <= found.high


def test_equal_views_agree_wholly_and_nobody_changes_places() -> None:
    lists = {name: drawn_ranks(0.1 * i, 300) for i, name in enumerate(NAMES, start=1)}
    found = ndcg_at_10(orders_of(lists, lists))
    assert (found.trained.tau, found.trained.low, found.trained.high) == (1.0, 1.0, 1.0)
    assert (found.trained.pairs, found.trained.reversed_pairs) == (6, 0)
    assert found.changed.pairs == () and found.changed.tested == 6


def test_a_pair_changes_places_if_both_views_are_sure_and_contradict_each_other() -> None:
    good, bad = drawn_ranks(0.5, 300), drawn_ranks(0.2, 300)
    # "hair" stands just before "a" in one view: reversed, but by chance only.
    hair = untied(np.where(np.arange(300) == np.argmax(bad.above > 10), 0, bad.above))
    plain = untied(bad.above)
    lists = {"a": plain, "b": good, "hair": hair}
    whole = {"a": good, "b": bad, "hair": untied(bad.above + 1)}
    found = ndcg_at_10(orders_of(lists, whole))
    assert ("a", "b") in found.changed.pairs
    assert ("b", "hair") not in found.changed.pairs
    place = found.changed.pairs.index(("a", "b"))
    lists_difference, difference_of_all = found.changed.differences.value[place]
    assert lists_difference < 0 < difference_of_all
    assert lists_difference == pytest.approx(found.means["a"][0] - found.means["b"][0])
    assert found.changed.differences.significant.all()


def test_noise_alone_changes_no_places() -> None:
    """Equal systems in both views, forty times: a false pair needs two false stars."""
    named = 0
    for repetition in range(40):
        random = np.random.default_rng(repetition)
        views = [
            {f"s{i}": untied(12 + 12 * random.normal(size=100)) for i in range(8)} for _ in range(2)
        ]
        named += any(of.changed.pairs for of in orders_of(*views))
    assert named == 0


def test_both_views_are_judged_as_one_family() -> None:
    """The intervals are those of the largest difference of both views: wider than of one."""
    from benchmark.report.statistics.inference import compare

    lists = {name: drawn_ranks(0.1 * i, 300) for i, name in enumerate(NAMES, start=1)}
    whole = {name: drawn_ranks(0.5 - 0.1 * i, 300, seed=9) for i, name in enumerate(NAMES, 1)}
    found = ndcg_at_10(orders_of(lists, whole)).changed
    alone = compare("search", {n: [events_of(of)] for n, of in lists.items()}, list(lists)).trained
    for place, pair in enumerate(found.pairs):
        row = alone.pairs.index(pair)
        joint = found.differences.high[place, 0] - found.differences.low[place, 0]
        one = alone.differences.high[row, -1] - alone.differences.low[row, -1]
        assert joint > one
    assert found.pairs


@pytest.fixture
def contradicting(make_run, runs_root: Path):
    good, bad, middle = (drawn_ranks(level, 300) for level in (0.5, 0.2, 0.35))
    rows = {"alpha": (bad, good), "beta": (good, bad), "gamma": (middle, middle)}
    return [
        *(
            make_run(name, search=lists, all_items={"search": whole})
            for name, (lists, whole) in rows.items()
        ),
        make_run("floor", search=middle, all_items={"search": bad}, family="references"),
    ]


def test_the_tables_name_the_pairs_with_their_figures(contradicting, runs_root: Path) -> None:
    (group,) = make_report(runs_root).groups
    grids = {grid.stem: grid for grid in group.own_grids}
    views = grids["tiny-paper-laptop-search-views"]
    assert [g.title for g in views.groups] == [
        "Trained systems",
        "With the rankers without learning",
    ]
    assert [row[0].text for row in views.groups[0].rows] == ["HR@5", "HR@10", "NDCG@5", "NDCG@10"]
    entry = views.groups[0].rows[-1][2]
    assert -1.0 <= entry.ends[0] <= entry.value <= entry.ends[1] <= 1.0
    assert "95% percentile interval over 2,000 resamples of the users" in views.caption
    places = grids["tiny-paper-laptop-search-changed-places"]
    at_10 = next(g for g in places.groups if g.title == "NDCG@10")
    row = next(row for row in at_10.rows if row[1].text == "Alpha")
    means = {run.record.system.name: run for run in contradicting}
    assert row[0].text == "Beta"
    for view, first in (("lists", 2), ("all-items", 5)):
        own = [means[name].metrics_of(view)["search"]["NDCG@10"] for name in ("beta", "alpha")]
        assert [entry.value for entry in row[first : first + 2]] == pytest.approx(own)
        difference = row[first + 2]
        assert difference.value == pytest.approx(own[0] - own[1])
        assert difference.raised == "*" and difference.ends[0] * difference.ends[1] > 0
    assert views.footnotes == ()
    assert row[4].value > 0 > row[7].value
    assert all(row[4].value > 0 > row[7].value for row in places.rows)
    significantly = [int(row[5].text) for row in views.groups[1].rows]
    assert significantly == [len(next((g.rows for g in places.groups if g.title == m.text), ()))
                             for m in (row[0] for row in views.groups[1].rows)]  # fmt: skip


def test_pairs_that_are_reversed_but_not_significantly_are_named(make_run) -> None:
    near = {"alpha": (0.30, 0.31), "beta": (0.31, 0.30), "gamma": (0.2, 0.2)}
    lists = {name: drawn_ranks(level, 300) for name, (level, _) in near.items()}
    whole = {name: drawn_ranks(level, 300) for name, (_, level) in near.items()}
    runs = [make_run(n, search=lists[n], all_items={"search": whole[n]}) for n in near]
    grid = changed_places_grid(main_table("search", runs), orders_of(lists, whole))
    (group,) = grid.groups
    assert group.title == "NDCG@10: trained systems, reversed but not significantly"
    (row,) = group.rows
    assert {row[0].text, row[1].text} == {"Alpha", "Beta"}
    assert row[4].value > 0.0 > row[7].value and not row[4].raised and not row[7].raised
    assert row[4].value == pytest.approx(row[2].value - row[3].value)
    assert "unless the title over them says otherwise" in grid.caption


def test_that_nobody_changes_places_is_said(make_run) -> None:
    ranks = {name: drawn_ranks(0.1 * i, 300) for i, name in enumerate(NAMES, start=1)}
    runs = [make_run(name, search=of, all_items={"search": of}) for name, of in ranks.items()]
    grid = agreement_grid(main_table("search", runs), orders_of(ranks, ranks))
    (note,) = grid.footnotes
    assert note.text == "No pair of systems changes places significantly in any of these metrics."


def test_the_plot_says_each_systems_places(contradicting, runs_root: Path) -> None:
    (group,) = make_report(runs_root).groups
    (drawing,) = (d for d in group.own_drawings if d.stem.endswith("-search-views"))
    said = said_by(drawing.figure)
    assert said[0].startswith("Floor: place ")
    assert "Beta: place 1 in lists, 4 among all items" in said or (
        "Beta: place 1 in lists, 3 among all items" in said
    )
    heads = [text.get_text() for text in drawing.figure.axes[0].texts]
    assert "Candidate lists, NDCG@10" in heads and "All items, NDCG@10" in heads


def test_without_a_second_view_nothing_is_said(make_run) -> None:
    runs = [make_run(name, search=drawn_ranks(0.3)) for name in NAMES]
    table = main_table("search", runs)
    assert orders_of({}, {}) == ()
    assert agreement_grid(table, ()) is None and changed_places_grid(table, ()) is None
    assert views_figure(table, ()) is None


# Orders of protocols, metrics and views


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


def test_agreement_is_drawn_between_views(make_run) -> None:
    runs = [
        make_run(
            name,
            search=drawn_ranks(level),
            all_items={"search": among_all(drawn_ranks(0.5 - level))},
        )
        for name, level in (("a", 0.1), ("b", 0.2), ("c", 0.3))
    ]
    tables = [main_table("search", runs, view=view) for view in ("lists", "all-items")]
    said = said_by(agreement_figure(tables))
    assert "paper, all items HR@10 and paper HR@1: -1.00" in said
    assert "paper, all items NDCG@100 and paper, all items HR@10: 1.00" in said
    assert agreement_figure(tables[:1]) is None
