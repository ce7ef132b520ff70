"""The audits beside the runs as tables of the report."""

from __future__ import annotations

from pathlib import Path

from benchmark.audit.record import Audit, RankerResult, Verdict, save_audit
from benchmark.report.latex import to_latex
from benchmark.report.tables.audit import audits_of, diagnostics_grid, views_grid
from benchmark.report.tables.grid import to_csv, to_markdown

METRICS = {"HR@1": 0.1, "HR@5": 0.2, "HR@10": 0.3, "NDCG@5": 0.15, "NDCG@10": 0.25, "HR@50": 0.9}


def audit_of(protocol: str, leak: float, **changes: object) -> Audit:
    result = RankerResult(
        name="copy", display_name="History_copy", learns=False, lists=METRICS, catalogue=METRICS
    )
    fields: dict[str, object] = {
        "dataset": "shop",
        "fingerprint": "f" * 64,
        "protocol": protocol,
        "settings": {},
        "test_events": {"search": 10},
        "catalogue_events": {"search": 5},
        "diagnostics": {"D1": {"test": leak}, "D7": {f"{protocol} only": 2}},
        "rankers": {"search": [result]},
    }
    return Audit.model_validate({**fields, **changes})


def test_a_row_a_figure_and_a_column_a_protocol() -> None:
    grid = diagnostics_grid([audit_of("paper", 0.25), audit_of("clean", 0)])
    assert grid.head == ("Diagnostic", "paper", "clean")
    assert [group.title[:3] for group in grid.groups] == ["D1 ", "D7 "]
    assert [entry.text for entry in grid.groups[0].rows[0]] == ["test", "0.250", "0.000"]
    assert [entry.text for entry in grid.groups[1].rows[0]] == ["clean only", "–", "2.000"]


def test_findings_are_footnotes_where_their_figures_begin() -> None:
    def verdict(number: str, is_finding: bool) -> Verdict:
        return Verdict(number=number, is_finding=is_finding, what="it leaks.", advice="Do so.")

    paper = audit_of("paper", 0.25, verdicts=(verdict("D1", False), verdict("D7", True)))
    clean = audit_of(
        "clean",
        0.0,
        verdicts=(verdict("D1", True), verdict("D1", True)),
        intervals={"D1": {"test": (0.0, 0.1)}},
    )
    grid = diagnostics_grid([paper, clean])
    assert [entry.raised for entry in grid.groups[0].rows[0]] == ["", "", "1,2"]
    assert [entry.raised for entry in grid.groups[1].rows[0]] == ["", "3", ""]
    assert [note.mark for note in grid.footnotes] == ["1", "2", "3"]
    assert grid.footnotes[2].text == "paper, D7: it leaks. Do so."
    assert "0.000 to 0.100" in grid.groups[0].rows[0][2].detail
    for form in (to_latex, to_markdown):
        assert "it leaks. Do so." in form(grid)


def test_figures_stand_in_reading_order() -> None:
    names = ("test", "train, last 5", "valid", "train", "HR@10", "HR@5", "HR@1")
    grid = diagnostics_grid([audit_of("paper", 0, diagnostics={"D1": dict.fromkeys(names, 0.5)})])
    shown = [row[0].text for row in grid.groups[0].rows]
    assert shown == ["HR@1", "HR@5", "HR@10", "train", "train, last 5", "valid", "test"]


def test_both_views_of_each_ranker() -> None:
    grid = views_grid([audit_of("paper", 0), audit_of("clean", 0)])
    (rows,) = [group.rows for group in grid.groups]
    assert [[entry.text for entry in row[:3]] for row in rows] == [
        ["History_copy", "paper", "0.300"],
        ["History_copy", "clean", "0.300"],
    ]
    for form in (to_latex, to_markdown, to_csv):
        assert "0.25" in form(grid)


def test_audits_of_other_data_are_left_out_and_bad_files_said(tmp_path: Path) -> None:
    save_audit(tmp_path, audit_of("paper", 0))
    (tmp_path / "broken.json").write_text("[")
    audits, sentences = audits_of([], tmp_path)
    assert audits == {}
    assert len(sentences) == 1
    assert "broken.json" in sentences[0]
    assert audits_of([], tmp_path / "absent") == ({}, ())
