"""The footnote on processors: who made the runs, and what bounds another machine's figures."""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmark.report.tables.rows import Table
from benchmark.report.whole import make_report
from tests.report.conftest import MakeRun, figures


def said(root: Path) -> list[str]:
    (group,) = make_report(root).groups
    table: Table = group.views["lists"].main["recommendation"]
    return [note.text for note in table.footnotes if "rained on" in note.text]


def test_with_seeds_their_deviation_bounds_it(make_run: MakeRun, runs_root: Path) -> None:
    levels = {"sasrec": (0.20, 0.21, 0.22), "lrurec": (0.20, 0.24, 0.26)}
    for name, of_system in levels.items():
        for seed, level in enumerate(of_system):
            where = {"processor": "Abacus 9"}
            make_run(name, recommendation=level, seed=seed, environment=where)
    (text,) = said(runs_root)
    spreads = [
        statistics.stdev(figures(level)["NDCG@10"] for level in of_system)
        for of_system in levels.values()
    ]
    assert text.startswith("Trained on Abacus 9. Another processor makes another run")
    assert "at NDCG@10" in text and "from 3 seeds" in text
    assert f"{statistics.median(spreads):.4f} in the median row" in text
    assert f"{max(spreads):.4f} at most" in text


def test_one_seed_bounds_nothing(make_run: MakeRun, runs_root: Path) -> None:
    make_run("sasrec", recommendation=0.2, environment={"processor": "Abacus 9"})
    make_run("lrurec", recommendation=0.2, environment={"processor": "Suanpan"})
    (text,) = said(runs_root)
    assert "Trained on Abacus 9 and on Suanpan." in text
    assert text.endswith("of these one seed tells nothing.")


def test_rankers_without_learning_and_unknown_processors_say_nothing(
    make_run: MakeRun, runs_root: Path
) -> None:
    where = {"processor": "Abacus 9"}
    make_run("popularity", recommendation=0.2, family="references", environment=where)
    make_run("sasrec", recommendation=0.2)
    assert said(runs_root) == []
