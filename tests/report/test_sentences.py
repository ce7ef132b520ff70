"""The sentences of a README say what its tables say, figure by figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.report.claims import Claim, Finding, findings
from benchmark.report.reading.collect import REFERENCE_FAMILY
from benchmark.report.sentences import sentences_as_markdown, sentences_of
from benchmark.report.tables.rows import Cell
from benchmark.report.whole import make_report
from tests.report.conftest import MakeRun, among_all, drawn_ranks

LEVELS = {"sasrec": 0.35, "gru4rec": 0.34, "lrurec": 0.1, "fmlp-rec": 0.08}
CLAIMS = (("sasrec", "lrurec"), ("fmlp-rec", "gru4rec"), ("sasrec", "gru4rec"))


@pytest.fixture
def told(make_run: MakeRun, runs_root: Path) -> tuple[list[str], list[Finding]]:
    for seed in (1, 2, 3):
        for system, level in LEVELS.items():
            ranks = drawn_ranks(level, seed=seed)
            all_items = {"recommendation": among_all(ranks)}
            make_run(
                system,
                display_name=system.upper(),
                recommendation=ranks,
                all_items=all_items,
                seed=seed,
            )
    by_counting = drawn_ranks(0.2)
    make_run("popularity", family=REFERENCE_FAMILY, recommendation=by_counting, seed=1)
    (group,) = make_report(runs_root).groups
    claims = [
        Claim(claim=f"{a} over {b}", group="Own", better=(a,), than=(b,), task="recommendation")
        for a, b in CLAIMS
    ]
    found = findings(claims, [(group.group, group.events)])
    return sentences_of(group, found), found


def headline_cells(runs_root: Path) -> dict[str, Cell]:
    """System → its cell of NDCG@5 in the main table of lists."""
    (group,) = make_report(runs_root).groups
    table = group.views["lists"].main["recommendation"]
    column = table.columns.index("NDCG@5")
    return {row.system: row.cells[column] for row in table.rows}


def test_those_that_may_be_the_best_are_named_with_their_figures(
    told: tuple[list[str], list[Finding]], runs_root: Path
) -> None:
    rows = headline_cells(runs_root)
    may_be = [name for name in LEVELS if rows[name].verdict]
    assert may_be == ["sasrec", "gru4rec"]
    named = sorted(may_be, key=lambda name: -(rows[name].mean or 0))
    listed = ", ".join(
        f"{name.upper()} {rows[name].mean:.4f} ± {rows[name].deviation:.4f}" for name in named
    )
    assert told[0][0] == (
        f"Of the trained systems these may be the best in lists (NDCG@5): on recommendation "
        f"{listed}, while 2 of 4 are significantly worse than another."
    )
    mean = rows["popularity"].mean
    assert told[0][1].endswith(
        f"reaches {mean:.4f} on recommendation, above 2 of 4 trained systems."
    )


def test_views_claims_and_runs_are_counted(told: tuple[list[str], list[Finding]]) -> None:
    sentences, found = told
    assert [finding.verdict for finding in found] == ["shown", "opposite shown", "not shown"]
    assert " of 6 pairs on recommendation (by NDCG@10, tau " in sentences[2]
    assert sentences[3] == (
        "Of 3 claims of the kind that papers make 1 is shown (sasrec over lrurec), 1 is shown to "
        "be the opposite (fmlp-rec over gru4rec) and 1 is not shown."
    )


def test_the_deviation_is_that_of_the_tables(
    told: tuple[list[str], list[Finding]], runs_root: Path
) -> None:
    rows = headline_cells(runs_root)
    known = [d for name in LEVELS if (d := rows[name].deviation) is not None]
    assert len(known) == 4
    assert (
        f"deviates by {np.median(known):.4f} in the median system and {max(known):.4f} at most on "
        "recommendation." in told[0][4]
    )


def test_what_has_no_figures_is_left_out(make_run: MakeRun, runs_root: Path) -> None:
    """One system with one seed in one view: nobody is compared, and no run tells of another."""
    make_run("sasrec", search=drawn_ranks(0.3))
    (group,) = make_report(runs_root).groups
    assert sentences_of(group) == [] and sentences_as_markdown(group) == ""
