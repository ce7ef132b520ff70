"""Claims: what is shown and what is not, by hand and in worlds whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmark.errors import BenchmarkError
from benchmark.protocol.metrics import Ranks
from benchmark.report.claims import Claim, Finding, claims_grid, findings, read_claims
from benchmark.report.latex import to_latex
from benchmark.report.reading.collect import collect
from benchmark.report.reading.collected_events import collect_events
from benchmark.report.tables.grid import to_csv, to_markdown
from benchmark.report.whole import make_report
from benchmark.run.suite import Row, load_suite
from tests.report.conftest import MakeRun, drawn_ranks

HIGH, LOW = 0.35, 0.1


def claim(better: Any = ("sasrec",), than: Any = ("gru4rec",), **changes: Any) -> Claim:
    given = {"claim": "It is better", "group": "Own", "task": "recommendation", **changes}
    return Claim(better=tuple(better), than=tuple(than), **given)


def found(root: Path, *claims: Claim) -> list[Finding]:
    groups = [(group, collect_events(group.runs)) for group in collect(root).groups]
    return findings(claims, groups)


def hits(share: float, events: int = 400, seed: int = 0) -> Ranks:
    """Targets at rank 1 with a probability, else at 50."""
    above = np.where(np.random.default_rng(seed).random(events) < share, 0, 49).astype(np.int32)
    return Ranks(above, np.zeros_like(above), np.ones(events, dtype=bool))


def test_what_is_plainly_so_is_shown_and_its_opposite_too(
    make_run: MakeRun, runs_root: Path
) -> None:
    for seed in (1, 2, 3):
        make_run("sasrec", recommendation=hits(0.6, seed=seed), seed=seed)
        make_run("gru4rec", recommendation=hits(0.3, seed=seed + 9), seed=seed)
    right, wrong = found(runs_root, claim(), claim(("gru4rec",), ("sasrec",)))
    assert right.verdict == "shown" and wrong.verdict == "opposite shown"
    low, high = right.difference.ends or (0.0, 0.0)
    assert 0 < low < right.means[0] - right.means[1] < high
    assert right.difference.value == pytest.approx(right.means[0] - right.means[1])
    assert right.seeds == 3


def test_what_is_as_good_is_not_shown(make_run: MakeRun, runs_root: Path) -> None:
    make_run("sasrec", recommendation=hits(0.31, seed=1))
    make_run("gru4rec", recommendation=hits(0.30, seed=2))
    (finding,) = found(runs_root, claim())
    assert finding.verdict == "not shown" and finding.seeds == 1


def test_equal_ranks_are_not_shown(make_run: MakeRun, runs_root: Path) -> None:
    make_run("sasrec", recommendation=hits(0.3))
    make_run("gru4rec", recommendation=hits(0.3))
    (finding,) = found(runs_root, claim())
    assert finding.verdict == "not shown" and finding.difference.value == 0


def test_a_side_of_several_is_the_mean_of_theirs(make_run: MakeRun, runs_root: Path) -> None:
    """Of seeds it has those of the row with the fewest."""
    for seed in (1, 2):
        make_run("sasrec", recommendation=hits(0.6, seed=seed), seed=seed)
        make_run("lrurec", recommendation=hits(0.2, seed=seed + 5), seed=seed)
    make_run("gru4rec", recommendation=hits(0.3, seed=11))
    ((finding),) = found(runs_root, claim(("sasrec", "lrurec"), ("gru4rec",), metric="HR@1"))
    means = [
        np.mean([(hits(p, seed=s + k).above == 0).mean() for p, k in ((0.6, 0), (0.2, 5))])
        for s in (1, 2)
    ]
    assert finding.means[0] == pytest.approx(np.mean(means))
    assert finding.means[1] == pytest.approx((hits(0.3, seed=11).above == 0).mean())
    assert finding.seeds == 1


def test_a_claim_needs_all_of_its_rows(make_run: MakeRun, runs_root: Path) -> None:
    make_run("sasrec", recommendation=drawn_ranks(HIGH))
    make_run("gru4rec", search=drawn_ranks(LOW))
    assert found(runs_root, claim(), claim(("sasrec",), ("lrurec",))) == []
    assert found(runs_root, claim(("sasrec",), ("sasrec",), view="all-items")) == []


def test_rows_with_settings_of_their_own_take_part(make_run: MakeRun, runs_root: Path) -> None:
    make_run("gensar", recommendation=hits(0.6, seed=1), family="gensar")
    make_run("gensar@no-nsip", recommendation=hits(0.3, seed=2), family="gensar")
    (finding,) = found(runs_root, claim(("gensar",), ("gensar@no-nsip",)))
    assert finding.verdict == "shown"


def test_rows_of_one_system_deviate_by_one_law(make_run: MakeRun, runs_root: Path) -> None:
    """Three seeds of two rows tell little of it, those of five rows enough."""

    def width() -> float:
        (finding,) = found(runs_root, claim(("gensar",), ("gensar@no-nsip",)))
        low, high = finding.difference.ends or (0.0, 0.0)
        return high - low

    def runs_of(row: str, start: int) -> None:
        for seed, share in enumerate((0.2, 0.3, 0.4), start=1):
            ranks = hits(share, seed=start + seed)
            make_run(row, recommendation=ranks, seed=seed, family="gensar")

    for number, row in enumerate(("gensar", "gensar@no-nsip")):
        runs_of(row, 10 * number)
    alone = width()
    for number, row in enumerate(("sasrec", "gru4rec"), start=2):
        runs_of(row, 10 * number)
    assert width() == pytest.approx(alone)  # other systems have laws of their own
    for number, row in enumerate(("no-nrip", "no-text", "no-query"), start=4):
        runs_of(f"gensar@{row}", 10 * number)
    assert width() < 0.9 * alone


def test_more_claims_make_wider_intervals(make_run: MakeRun, runs_root: Path) -> None:
    names = ("sasrec", "gru4rec", "lrurec", "fmlp-rec", "tiger", "lc-rec")
    for number, name in enumerate(names):
        make_run(name, recommendation=hits(0.3 + 0.02 * number, seed=number))
        make_run(name, recommendation=hits(0.3, seed=50 + number), dataset="other")
    (alone, _) = found(runs_root, claim())
    together = found(runs_root, *(claim((one,), ("gru4rec",)) for one in names if one != "gru4rec"))
    (same,) = [f for f in together if f.claim.better == ("sasrec",) and f.group == alone.group]
    assert len(together) == 10
    widths = [ends[1] - ends[0] for f in (alone, same) if (ends := f.difference.ends)]
    assert widths[0] < widths[1]


def test_by_chance_hardly_any_claim_is_shown(make_run: MakeRun, runs_root: Path) -> None:
    """Six equal systems on three data sets: 90 differences, none of them more than chance."""
    names = ("sasrec", "gru4rec", "lrurec", "fmlp-rec", "tiger", "lc-rec")
    for number, name in enumerate(names):
        for part in range(3):
            ranks = hits(0.3, seed=1000 + 10 * number + part)
            make_run(name, recommendation=ranks, dataset=f"d{part}")
    claims = [claim((a,), (b,)) for a in names for b in names if a != b]
    assert {f.verdict for f in found(runs_root, *claims)} == {"not shown"}


def test_the_table_says_on_how_many_data_sets_and_what_was_not_looked_at(
    make_run: MakeRun, runs_root: Path
) -> None:
    for dataset, share in (("one", 0.6), ("two", 0.3)):
        make_run("sasrec", recommendation=hits(share, seed=1), dataset=dataset)
        make_run("gru4rec", recommendation=hits(0.3, seed=2), dataset=dataset)
    groups = [(group, collect_events(group.runs)) for group in collect(runs_root).groups]
    untested = claim(("tiger",), ("lc-rec",), claim="Nobody ran it")
    grid = claims_grid([claim(), untested], groups)
    assert grid is not None
    text = to_markdown(grid)
    assert "It is better: shown on 1 of 2 data sets" in text
    (others,) = [line for line in text.splitlines() if "Not looked at" in line]
    assert others.rstrip().endswith("have all of their rows: Nobody ran it.")
    assert "not shown" in text and "2 differences, are one family" in text
    assert to_latex(grid).isascii() and "shown on 1 of 2" in to_csv(grid)
    assert claims_grid([untested], groups) is None


def test_the_report_has_the_claims_of_the_index(make_run: MakeRun, runs_root: Path) -> None:
    make_run("gensar", recommendation=hits(0.6, seed=1), family="gensar")
    make_run("unisar", recommendation=hits(0.3, seed=2), family="joint")
    (grid,) = [grid for grid in make_report(runs_root).grids if grid.stem == "claims"]
    assert "GenSAR recommends better than an earlier joint model: shown on 1 of 1" in to_csv(grid)


def test_claims_of_the_index_name_rows_that_some_suite_has() -> None:
    ablations = {
        f"{row.system}@{row.name}"
        for row in load_suite("ablations").systems
        if isinstance(row, Row)
    }
    rows = {row for one in read_claims() for row in one.rows}
    assert {row for row in rows if "@" in row} <= ablations
    assert len({one.claim for one in read_claims()}) == len(read_claims())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"better": ["sasrek"]}, "unknown system 'sasrek'"),
        ({"than": ["sasrec"]}, "names a row twice"),
        ({"metrik": "HR@1"}, "metrik"),
        ({"task": "browsing"}, "task"),
    ],
)
def test_a_mistake_names_the_file(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "claims.yaml"
    one = {**claim().model_dump(mode="json"), **changes}
    path.write_text(yaml.safe_dump({"claims": [one]}))
    with pytest.raises(BenchmarkError, match=said) as error:
        read_claims(path)
    assert "claims.yaml" in str(error.value)
