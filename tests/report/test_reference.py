"""Reference runs: small, complete for every table, and equal to what guide and README show."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.errors import BenchmarkError
from benchmark.report import build_report
from benchmark.report.__main__ import main
from benchmark.report.reference import status_table, with_block, write_references
from benchmark.report.shown import (
    main_tables_as_markdown,
    summary_as_markdown,
    told_as_markdown,
)
from benchmark.report.whole import make_report
from benchmark.run.suite import load_suite
from tests.report.conftest import drawn_ranks

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "results" / "reference"
ABLATIONS = ROOT / "results" / "ablations"
EXTENDED = ROOT / "results" / "extended"
GUIDE = ROOT / "docs" / "guide.md"
MARKS = "<!-- tables: begin -->\nold\n<!-- tables: end -->\n"
STATUS_MARKS = "<!-- status: begin -->\n<!-- status: end -->\n"
SUMMARY_MARKS = "<!-- summary: begin -->\n<!-- summary: end -->\n"


@pytest.fixture
def some_runs(make_run, runs_root: Path) -> Path:
    for level, name in enumerate(("alpha", "beta"), start=1):
        ranks = drawn_ranks(0.1 * level, 200)
        make_run(name, recommendation=ranks, search=ranks, curve=(0.1, 0.2))
    make_run("broken", tasks=("search",), error="The loss is not finite.")
    return runs_root


def tables_of(runs_root: Path, out: Path) -> dict[str, bytes]:
    build_report(runs_root, out)
    return {path.name: path.read_bytes() for path in (out / "tables").iterdir()}


def test_they_give_the_same_tables_as_the_runs(some_runs: Path, tmp_path: Path) -> None:
    """Byte for byte: metrics, intervals, marks of significance, costs, failures."""
    write_references(some_runs, tmp_path / "reference")
    before = tables_of(some_runs, tmp_path / "before")
    after = tables_of(tmp_path / "reference", tmp_path / "after")
    assert before == after
    assert "tiny-paper-laptop-search-intervals.tex" in after


def test_they_are_small_and_hold_no_full_ranks(some_runs: Path, tmp_path: Path) -> None:
    folders, _ = write_references(some_runs, tmp_path / "reference")
    runs = list((folders[0] / "runs").iterdir())
    assert sorted(run.name for run in runs) == ["alpha-1", "beta-1", "broken-1"]
    for run in runs:
        assert sum(path.stat().st_size for path in run.iterdir()) < 20_000
        assert not (run / "ranks.parquet").exists()


def test_runs_that_are_gone_leave_the_references(some_runs: Path, tmp_path: Path) -> None:
    write_references(some_runs, tmp_path / "reference")
    again = tmp_path / "reference" / "tiny-paper-laptop" / "runs"
    (again / "beta-1").rename(again / "delta-1")
    write_references(some_runs, tmp_path / "reference")
    assert sorted(path.name for path in again.iterdir()) == ["alpha-1", "beta-1", "broken-1"]


def test_references_can_be_made_of_references(some_runs: Path, tmp_path: Path) -> None:
    write_references(some_runs, tmp_path / "one")
    write_references(tmp_path / "one", tmp_path / "two")
    for path in (tmp_path / "one").rglob("*.json"):
        again = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert again.read_bytes() == path.read_bytes()


def test_they_are_not_written_into_their_own_source(some_runs: Path) -> None:
    with pytest.raises(BenchmarkError, match="lies inside"):
        write_references(some_runs, some_runs / "reference")


def test_the_command_refreshes_references_and_readme(some_runs: Path, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"Before.\n{MARKS}After.\n{STATUS_MARKS}")
    out = tmp_path / "reference"
    command = ["reference", "--from", str(some_runs), "--out", str(out), "--readme", str(readme)]
    assert main(command) == 0
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("Before.\n<!-- tables: begin -->\nRecommendation on tiny")
    assert "\n<!-- tables: end -->\nAfter.\n<!-- status: begin -->\n| system |" in text
    assert text.endswith("|\n<!-- status: end -->\n") and "\nold\n" not in text
    assert (out / "tiny-paper-laptop" / "search.md").read_text(encoding="utf-8").rstrip() in text
    assert (out / "tiny-paper-laptop" / "tradeoff.png").is_file()
    assert main(command) == 0 and readme.read_text(encoding="utf-8") == text


def test_each_page_gets_what_it_has_marks_for(some_runs: Path, tmp_path: Path) -> None:
    readme, guide = tmp_path / "README.md", tmp_path / "guide.md"
    readme.write_text(f"Before.\n{SUMMARY_MARKS}")
    guide.write_text(MARKS + STATUS_MARKS)
    out = tmp_path / "reference"
    command = ["reference", "--from", str(some_runs), "--out", str(out), "--readme"]
    assert main([*command, str(readme), str(guide)]) == 0
    told = readme.read_text(encoding="utf-8")
    heads = "| System | Recommendation, lists, NDCG@5 | Search, lists, NDCG@5 |"
    assert told.startswith("Before.\n") and heads in told and "<!-- tables" not in told
    means = {
        row.split(" | ")[0].partition("<")[0]: row.split(" | ")[4]  # without footnotes
        for row in (out / "tiny-paper-laptop" / "search.md").read_text().splitlines()
        if row.startswith("| ")
    }
    rows = [row.split(" | ") for row in told.splitlines() if row.startswith("| Alpha")]
    assert [row[2].removesuffix(" |") for row in rows] == [means["| Alpha"]]
    assert "| System |" in guide.read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["no marks", SUMMARY_MARKS.replace("end", "other")])
def test_no_page_is_written_unless_all_can_be(
    some_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    good, bad = tmp_path / "good.md", tmp_path / "bad.md"
    good.write_text(MARKS)
    bad.write_text(text)
    command = ["reference", "--from", str(some_runs), "--out", str(tmp_path / "reference")]
    assert main([*command, "--readme", str(good), str(bad)]) == 2
    assert f"{bad}: the file" in capsys.readouterr().err and good.read_text() == MARKS


def test_ablations_have_tables_beside_the_references(make_run, tmp_path: Path) -> None:
    for level, name in enumerate(("alpha", "alpha@less"), start=2):
        make_run(name, recommendation=drawn_ranks(0.1 * level, 200))
    out = tmp_path / "reference"
    assert main(["reference", "--from", str(tmp_path / "runs"), "--out", str(out)]) == 0
    table = out / "tiny-paper-laptop" / "recommendation-ablations-alpha.md"
    assert "| Alpha@Less |" in table.read_text(encoding="utf-8")
    of_pairs = table.with_stem(f"{table.stem}-differences").read_text(encoding="utf-8")
    assert "each row minus Alpha as it is" in of_pairs and "[" in of_pairs


@pytest.mark.parametrize("text", ["", MARKS + MARKS, "<!-- tables: end --><!-- tables: begin -->"])
def test_marks_must_be_there_once(text: str) -> None:
    with pytest.raises(BenchmarkError, match="tables: begin"):
        with_block(text, "tables", "new")


# What this repository has committed


def committed() -> list[Path]:
    return sorted(REFERENCE.glob("*/runs/*/run.json"))


def test_the_guide_shows_the_catalogue() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    assert with_block(guide, "status", status_table()) == guide


def test_from_themselves_only_what_is_shown_is_made_again(
    some_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, readme = tmp_path / "reference", tmp_path / "README.md"
    readme.write_text(f"{MARKS}{STATUS_MARKS}")
    assert main(["reference", "--from", str(some_runs), "--out", str(out)]) == 0
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file() and p.suffix != ".png"}
    for table in out.rglob("*.md"):
        table.unlink()
    stem = next(out.iterdir()).name
    again = ["reference", "--from", str(out), "--out", str(out), "--readme", str(readme)]
    assert main([*again, "--group", stem]) == 0
    assert before == {p: p.read_bytes() for p in before}
    assert (out / stem / "recommendation.md").read_text().rstrip() in readme.read_text()
    assert main([*again, "--group", "other"]) == 2
    assert "unknown group of reference runs 'other'" in capsys.readouterr().err


@pytest.mark.skipif(not committed(), reason="no reference runs are committed")
def test_guide_and_readme_show_the_reference_runs() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    groups = make_report(REFERENCE).groups
    shown = [group for group in groups if f"results/reference/{group.stem}" in guide]
    assert shown
    for table in main_tables_as_markdown(shown[0]):
        assert table.rstrip() in guide
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_block(readme, "summary", summary_as_markdown(shown[0])) == readme
    assert with_block(readme, "sentences", told_as_markdown(shown[0], groups)) == readme


@pytest.mark.parametrize(
    ("kept", "seeds", "a_table"),
    [(ABLATIONS, 3, "search-ablations-gensar.md"), (EXTENDED, 1, "search-all-items.md")],
)
def test_kept_runs_give_their_tables(kept: Path, seeds: int, a_table: str, tmp_path: Path) -> None:
    """So many seeds of each row, and every table as it stands there."""
    for folder in kept.glob("*/runs"):
        systems = [path.name.rpartition("-")[0] for path in folder.iterdir()]
        assert {systems.count(name) for name in systems} == {seeds}
    main(["reference", "--from", str(kept), "--out", str(tmp_path)])
    made = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.md")}
    stored = {path.relative_to(kept): path.read_bytes() for path in kept.rglob("*.md")}
    assert made == stored and any(path.name == a_table for path in stored)


def test_all_of_the_suite_extended_was_run_on_both_data_sets() -> None:
    systems = {row for row in load_suite("extended").systems if isinstance(row, str)}
    folders = sorted(EXTENDED.glob("*/runs"))
    assert [f.parent.name for f in folders] == [
        f"{name}-paper-laptop" for name in ("amazon-beauty-skincare", "ml-100k")
    ]
    for folder in folders:
        assert {path.name.rpartition("-")[0] for path in folder.iterdir()} == systems


def test_the_guide_says_of_newer_systems_what_their_tables_do() -> None:
    """The figures of each trained system, in the order of the data sets."""
    guide = GUIDE.read_text(encoding="utf-8")
    found: dict[str, list[str]] = {}
    for name in ("ml-100k", "amazon-beauty-skincare"):
        (group,) = make_report(EXTENDED / f"{name}-paper-laptop").groups
        table = group.views["lists"].main["recommendation"]
        trained = [row for row in table.rows if row.family != "references"]
        column = table.columns.index("NDCG@5")
        for row in trained:
            cell = row.cells[column]
            mark = "<sup>≈</sup>" if cell.verdict == "level" else ""
            found.setdefault(row.system, []).append(f"{cell.mean:.4f}{mark}")
    assert len(found) == 15
    for cells in found.values():
        assert f" | {' | '.join(cells)} |" in guide


def test_the_guide_says_of_the_ablations_what_their_tables_do() -> None:
    """Each row of its table, and that no other row of lists has a star at HR@10."""
    folder = ABLATIONS / "ml-100k-paper-laptop"
    found: dict[str, list[str]] = {}
    for task in ("recommendation", "search"):
        table = (folder / f"{task}-ablations-gensar-differences.md").read_text(encoding="utf-8")
        head, *rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")]
        for row in rows[1:]:
            cell = row[head.index("HR@10")].partition(" ")[0]
            name = row[0].removeprefix("| ")
            found.setdefault(name, []).append(cell.replace("<sup>\\*</sup>", "\\*"))
    guide = GUIDE.read_text(encoding="utf-8")
    told = {name: cells for name, cells in found.items() if any("*" in cell for cell in cells)}
    assert len(told) == 6 and len(found) == 19
    for name, cells in told.items():
        assert f"| {name} | {' | '.join(cells)} |" in guide


@pytest.mark.skipif(not committed(), reason="no reference runs are committed")
def test_committed_runs_name_no_place_of_a_machine() -> None:
    kept = [path for folder in (ABLATIONS, EXTENDED) for path in folder.glob("*/runs/*/run.json")]
    for path in (*committed(), *kept):
        text = path.read_text(encoding="utf-8")
        assert not any(place in text for place in ("/home/", "/tmp/", "/work/", "/root/")), path
