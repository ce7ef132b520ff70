"""The main tables: marks, rows, footnotes, averages, and their three forms of text."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmark.errors import BenchmarkError
from benchmark.report.latex import standalone, to_latex
from benchmark.report.reading.papers import bibliographies
from benchmark.report.reading.text import latex_breakable
from benchmark.report.tables.grid import (
    DAGGER,
    DASH,
    Entry,
    Footnote,
    Grid,
    GridGroup,
    to_markdown,
)
from benchmark.report.tables.metrics import ablated_systems, ablation_table, main_table
from benchmark.report.tables.printed import as_grid, figures_csv
from benchmark.report.tables.rows import Row, Table
from benchmark.report.whole import make_report
from benchmark.systems.catalogue import family_order, family_title
from tests.report.conftest import without_figures

HOSTILE = (
    r"A&B 100% $x$ #1 _y_ {z} ~t ^u \input{/etc/passwd} <b>bold</b> a–b — “q” |c| `d` "
    '"e" é ł ﬁ β 漢 \u202e\x1b[31m -- --- !["img"](x) [k]'
)


def latex_of(table: Table) -> str:
    return to_latex(as_grid(table))


def markdown_of(table: Table) -> str:
    return to_markdown(as_grid(table))


def row_of(table: Table, system: str) -> Row:
    return next(row for row in table.rows if row.system == system)


def marks_of(table: Table, system: str) -> set[str]:
    return {cell.mark for cell in row_of(table, system).cells}


def test_the_best_is_bold_and_the_second_underlined(make_run) -> None:
    runs = [
        make_run("low", recommendation=0.1),
        make_run("high", recommendation=0.3, family="joint"),
        make_run("middle", recommendation=0.2),
    ]
    table = main_table("recommendation", runs)
    assert marks_of(table, "high") == {"best"}
    assert marks_of(table, "middle") == {"second"}
    assert marks_of(table, "low") == {""}
    assert r"\textbf{0.3000}" in latex_of(table) and r"\underline{0.2000}" in latex_of(table)
    assert "**0.3000**" in markdown_of(table) and "<u>0.2000</u>" in markdown_of(table)


def test_marks_are_given_in_each_column(make_run) -> None:
    metrics = {"HR@1": 0.1, "HR@5": 0.5, "HR@10": 0.5, "NDCG@5": 0.3, "NDCG@10": 0.3}
    runs = [
        make_run("sharp", recommendation={**metrics, "HR@1": 0.2}),
        make_run("broad", recommendation={**metrics, "HR@10": 0.6}),
    ]
    table = main_table("recommendation", runs)
    assert table.columns == ("HR@1", "HR@5", "HR@10", "NDCG@5", "NDCG@10")
    shared = ("best", "best")
    assert [cell.mark for cell in row_of(table, "sharp").cells] == [
        "best", shared[0], "second", *shared,
    ]  # fmt: skip
    assert [cell.mark for cell in row_of(table, "broad").cells] == [
        "second", shared[0], "best", *shared,
    ]  # fmt: skip


def test_rows_that_look_equal_share_their_mark(make_run) -> None:
    runs = [
        make_run("one", recommendation=0.3),
        make_run("two", recommendation=0.3 + 1e-7),
        make_run("three", recommendation=0.2),
        make_run("four", recommendation=0.2),
        make_run("five", recommendation=0.1),
    ]
    table = main_table("recommendation", runs)
    assert marks_of(table, "one") == marks_of(table, "two") == {"best"}
    assert marks_of(table, "three") == marks_of(table, "four") == {"second"}
    assert marks_of(table, "five") == {""}


def test_references_stand_first_and_take_no_part_in_the_marks(make_run) -> None:
    runs = [
        make_run("trained", search=0.1, family="dense-retrieval"),
        make_run("trivial", search=0.5, family="references"),
    ]
    table = main_table("search", runs)
    assert [group.is_reference for group in table.groups] == [True, False]
    assert marks_of(table, "trivial") == {""}
    assert marks_of(table, "trained") == {"best"}
    assert r"\midrule[\heavyrulewidth]" in latex_of(table)


def test_families_come_in_the_catalogues_order_and_unknown_ones_last(make_run) -> None:
    families = [*family_order(), "a-new-one"]
    runs = [make_run(f"s{i}", recommendation=0.1, family=f) for i, f in enumerate(families[::-1])]
    table = main_table("recommendation", runs)
    assert [group.family for group in table.groups] == families
    assert [group.title for group in table.groups[:-1]] == [family_title(f) for f in families[:-1]]
    assert table.groups[-1].title == "a-new-one"


def test_systems_come_in_the_catalogues_order(make_run) -> None:
    names = ["bm25", "random", "popularity"]
    runs = [make_run(name, search=0.1, family="references") for name in names]
    rows = main_table("search", runs).rows
    assert [row.system for row in rows] == ["random", "popularity", "bm25"]


def test_mean_and_sample_deviation_over_seeds(make_run) -> None:
    # 0.1, 0.2, 0.3: mean 0.2; squared differences 0.01, 0, 0.01 over n - 1 = 2: deviation 0.1.
    runs = [make_run("alpha", recommendation=0.1 * s, seed=s) for s in (1, 2, 3)]
    table = main_table("recommendation", runs)
    row = row_of(table, "alpha")
    assert row.seeds == (1, 2, 3)
    assert row.cells[0].mean == pytest.approx(0.2)
    assert row.cells[0].deviation == pytest.approx(0.1)
    assert "3 seeds, ± sample standard deviation" in table.caption
    assert "0.2000** ± 0.1000" in markdown_of(table)
    assert r"\,$\pm$.1000" in latex_of(table)


def test_one_seed_has_no_deviation(make_run) -> None:
    table = main_table("recommendation", [make_run("alpha", recommendation=0.1)])
    assert row_of(table, "alpha").cells[0].deviation is None
    assert not table.has_deviations
    assert "one seed" in table.caption
    assert "±" not in markdown_of(table)


def test_fewer_seeds_than_others_are_said(make_run) -> None:
    runs = [make_run("alpha", recommendation=0.1, seed=s) for s in (1, 2)]
    table = main_table("recommendation", [*runs, make_run("beta", recommendation=0.2, seed=2)])
    (note,) = table.footnotes
    assert note.text.startswith("From seed 2 only; others have 2.")
    assert row_of(table, "beta").notes == (note.mark,) == ("1",)
    assert "up to 2 seeds" in table.caption


def test_a_failed_run_has_daggers_and_its_error(make_run) -> None:
    runs = [
        make_run("good", search=0.1),
        make_run("broken", tasks=("search",), error="Score 7 is not finite."),
    ]
    table = main_table("search", runs)
    row = row_of(table, "broken")
    assert (row.status, row.notes, row.placeholder) == ("failed", (DAGGER,), DAGGER)
    assert [note.text for note in table.footnotes] == ["Broken: Score 7 is not finite."]
    assert "| Broken<sup>†</sup> | † | † | † | † | † |" in markdown_of(table)
    assert r"\quad Broken\textsuperscript{$\dagger$} & $\dagger$ & " in latex_of(table)
    assert r"\textsuperscript{$\dagger$}~Broken: Score 7 is not finite.\par" in latex_of(table)


def test_a_failed_seed_is_left_out_of_the_mean_and_said(make_run) -> None:
    runs = [
        make_run("alpha", search=0.1, seed=1),
        make_run("alpha", search=0.3, seed=2),
        make_run("alpha", tasks=("search",), error="Out of memory.", seed=3),
        make_run("alpha", tasks=("search",), error="Out of memory.", seed=4),
    ]
    table = main_table("search", runs)
    row = row_of(table, "alpha")
    assert (row.status, row.seeds, row.notes) == ("partly failed", (1, 2), (DAGGER,))
    assert row.cells[0].mean == pytest.approx(0.2)
    assert [note.text for note in table.footnotes] == ["Alpha, seeds 3, 4: Out of memory."]


def test_a_finished_run_without_its_figures_counts_as_failed(make_run) -> None:
    run = make_run("alpha", search={"HR@1": 0.1}, tasks=("search",))
    table = main_table("search", [run])
    assert row_of(table, "alpha").status == "failed"
    assert "without figures for HR@5" in table.footnotes[0].text


def test_a_system_of_the_other_task_has_dashes_if_its_family_does_this_one(make_run) -> None:
    runs = [
        make_run("both", recommendation=0.1, search=0.2, family="joint"),
        make_run("half", recommendation=0.1, family="joint"),
        make_run("elsewhere", recommendation=0.1, family="sequential"),
        make_run("floor", recommendation=0.1, search=0.1, family="references"),
        make_run("prior", recommendation=0.1, family="references"),
    ]
    table = main_table("search", runs)
    assert [row.system for row in table.rows] == ["floor", "both", "half"]
    assert row_of(table, "half").status == "not this task"
    assert "| Half | – | – | – | – | – |" in markdown_of(table)
    assert [note.mark for note in table.footnotes] == [DASH]


def test_a_task_without_systems_gives_no_rows(make_run) -> None:
    assert main_table("search", [make_run("alpha", recommendation=0.1)]).groups == ()


def test_stand_ins_are_footnotes_that_share_a_number(make_run) -> None:
    runs = [
        make_run("alpha", search=0.1, stand_ins=("Encoder X stands in for Y.",)),
        make_run("beta", search=0.1, stand_ins=("Encoder X stands in for Y.", "T5 is small.")),
        make_run("gamma", search=0.1),
    ]
    table = main_table("search", runs)
    notes = [(note.mark, note.text) for note in table.footnotes]
    assert notes == [("1", "Encoder X stands in for Y."), ("2", "T5 is small.")]
    assert [row.notes for row in table.rows] == [("1",), ("1", "2"), ()]
    assert "- <sup>1</sup> Encoder X stands in for Y." in markdown_of(table)
    assert r"\quad Beta\textsuperscript{1,2}" in latex_of(table)


def test_the_caption_says_what_was_measured(make_run) -> None:
    caption = main_table("search", [make_run("alpha", search=0.1)]).caption
    for words in (
        "Search on tiny (943 users, 1,682 items, 800 test events)",
        "protocol paper,",
        "preset laptop",
        "tied candidates count by the mean",
    ):
        assert words in caption


def test_the_caption_says_how_a_custom_protocol_differs(make_run) -> None:
    run = make_run("alpha", search=0.1, protocol="custom")
    settings = {**run.record.protocol.settings, "negatives": 49, "ties": "pessimistic"}
    run = make_run("alpha", search=0.1, protocol="custom", settings=settings)
    caption = main_table("search", [run], variant="0123abcd").caption
    assert (
        "protocol custom (variant 0123abcd) (paper with negatives = 49, ties = pessimistic)"
        in caption
    )
    assert "a tied target is ranked last" in caption


def test_runs_that_cannot_be_compared_are_refused(make_run) -> None:
    runs = [make_run("alpha", search=0.1), make_run("beta", search=0.1, protocol="clean")]
    with pytest.raises(BenchmarkError, match="one data set, protocol and preset"):
        main_table("search", runs)


def hostile_table(make_run) -> Table:
    stars = {"display_name": "[*] \\\\ starred", "stand_ins": ("/a_long/path" * 30,)}
    runs = [
        make_run("evil", display_name=HOSTILE[:50], search=0.1, dataset=HOSTILE),
        make_run("stars", search=0.2, dataset=HOSTILE, **stars),
        make_run("failed", tasks=("search",), error=f"{HOSTILE}\n\n{HOSTILE}", dataset=HOSTILE),
    ]
    return main_table("search", runs)


def test_latex_of_hostile_text_is_ascii_and_escaped(make_run) -> None:
    text = latex_of(hostile_table(make_run))
    assert text.isascii() and text.isprintable() is False  # line ends only:
    assert all(line.isprintable() for line in text.split("\n"))
    assert r"\textbackslash{}input\{/etc/passwd\}" in text.replace(r"\allowbreak{}", "")
    assert r"A\&B 100\% \$x\$ \#1 \_y\_ \{z\} \textasciitilde{}t \textasciicircum{}u" in text
    for written in (
        r"\textless{}b\textgreater{}",
        r"a--b",
        r"\'{e}",
        r"\l{}",
        "$\\beta$",
        "U+6F22",
    ):
        assert written in text


def test_markdown_of_hostile_text_is_one_table_without_markup(make_run) -> None:
    table = hostile_table(make_run)
    lines = markdown_of(table).split("\n")
    rows = [line for line in lines if line.startswith("|")]
    assert all(line.replace(r"\|", "").count("|") == 7 for line in rows)
    assert "<b>" not in markdown_of(table) and "\x1b" not in markdown_of(table)
    assert r"\`d\`" in markdown_of(table)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r\n=", "＝"])
def test_a_csv_cell_is_no_formula(make_run, start: str) -> None:
    evil = f'{start}cmd|"/c calc"!A1, "x"'
    run = make_run(evil, family=evil, dataset=evil, protocol=evil, preset=evil, search=0.1)
    header, row = list(csv.reader(io.StringIO(figures_csv(main_table("search", [run])))))
    assert len(header) == len(row)
    for cell in row:
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "＝"))


def test_the_csv_has_plain_numbers_and_a_row_a_system(make_run) -> None:
    runs = [make_run("alpha", search=0.1 * s, seed=s) for s in (1, 2, 3)]
    runs.append(make_run("beta", tasks=("search",), error="No.", seed=1))
    rows = list(csv.DictReader(io.StringIO(figures_csv(main_table("search", runs)))))
    assert [row["system"] for row in rows] == ["alpha", "beta"]
    assert rows[0]["seeds"] == "1 2 3" and rows[0]["status"] == "finished"
    assert float(rows[0]["HR@1"]) == pytest.approx(0.2)
    assert float(rows[0]["HR@1 deviation"]) == pytest.approx(0.1)
    assert rows[1]["status"] == "failed" and rows[1]["HR@1"] == ""


@pytest.fixture
def compile_latex(tmp_path: Path):
    if shutil.which("pdflatex") is None:
        # Users need no LaTeX; `.ci/run` installs it, so nothing is skipped there.
        pytest.skip("pdflatex is not installed")

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=120)
        log = done.stdout.decode("utf-8", "replace")
        assert done.returncode == 0, log[-2000:]
        return log

    def compile_document(document: str, *, cites: bool = False) -> str:
        """What pdflatex says; with citations, of the last of its runs."""
        (tmp_path / "table.tex").write_text(document, encoding="utf-8")
        latex = ("pdflatex", "-halt-on-error", "-no-shell-escape", "table.tex")
        log = run(*latex)
        if cites:
            for path in bibliographies():
                shutil.copy(path, tmp_path)
            run("bibtex", "table")
            run(*latex)
            log = run(*latex)
        assert (tmp_path / "table.pdf").stat().st_size > 10_000
        return log

    return compile_document


def fits(log: str) -> bool:
    """Nothing stands out of its line or page."""
    return "Overfull" not in log and "too large" not in log


@pytest.mark.parametrize("options", ["", "twocolumn"])
def test_latex_compiles_as_it_is(suite_grids, compile_latex, options: str) -> None:
    log = compile_latex(standalone("\\clearpage\n".join(map(to_latex, suite_grids)), options))
    assert fits(log)
    assert not any("[U+" in to_latex(grid) for grid in suite_grids)


@pytest.mark.parametrize("folder", ["reference", "ablations"])
def test_tables_of_the_committed_runs_fit_their_pages(
    folder: str, compile_latex, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_figures(monkeypatch)
    report = make_report(Path("results") / folder)
    grids = [grid for group in report.groups for grid in group.grids]
    body = "\\clearpage\n".join(map(to_latex, [*grids, *report.grids, *report.published]))
    assert body.count(r"\begin{table*}") > len(grids)  # some go on in further floats
    for options in ("", "twocolumn"):
        assert fits(compile_latex(standalone(body, options)))


def test_systems_are_cited_by_keys_of_the_shipped_bibliography(make_run, compile_latex) -> None:
    runs = [
        make_run("sasrec", recommendation=0.1),
        make_run("gensar", recommendation=0.2, family="gensar"),
        make_run("own", recommendation=0.3),
    ]
    text = latex_of(main_table("recommendation", runs))
    assert re.findall(r"~\\cite\{([^}]*)\}", text) == ["kang2018sasrec", "shi2025gensar"]
    end = "\n\\bibliographystyle{plain}\\bibliography{references}"
    log = compile_latex(standalone(text + end), cites=True)
    assert fits(log) and "undefined" not in log


def test_a_long_table_goes_on_in_further_floats(compile_latex) -> None:
    groups = [
        GridGroup(
            f"Group {name}", tuple((Entry(f"{name}{row}"), Entry("0.5")) for row in range(rows))
        )
        for name, rows in (("a", 100), ("b", 3), ("c", 1), ("d", 40))
    ]
    grid = Grid(
        "long", "A long table.", ("Row", "Value"), tuple(groups), (Footnote("1", "A note."),)
    )
    text = to_latex(grid)
    assert text.count(r"\begin{table*}") == text.count(r"\end{table*}") == 4
    assert text.count(r"{A long table.}") == text.count("A note.") == 1
    assert text.count(r"\ref{tab:long}, continued") == 3
    shown = re.findall(r"\\quad (\w+) &", text)
    assert shown == [row[0].text for row in grid.rows]
    assert fits(compile_latex(standalone(text)))


def test_a_wide_table_goes_on_below_with_its_names(compile_latex) -> None:
    names = tuple(f"Measure {column}" for column in range(20))
    rows = tuple(
        (Entry(f"System {row}"), *(Entry("0.1234", spread="± 0.0123") for _ in names))
        for row in range(3)
    )
    grid = Grid("wide", "A wide table.", ("System", *names), (GridGroup("", rows),))
    text = to_latex(grid)
    assert text.count(r"\begin{table*}") == 1  # parts that fit stand below each other
    assert text.count("System 2 &") == text.count(r"\begin{tabular}") > 2
    assert re.findall(r"Measure \d+", text) == list(names)
    assert fits(compile_latex(standalone(text)))


def test_columns_under_a_title_keep_it(compile_latex) -> None:
    metrics = ("HR@5", "HR@10", "NDCG@5", "NDCG@10")
    row = (Entry("A name"), *(Entry("0.1234", spread="[.112, .131]") for _ in metrics * 3))
    spans = tuple((title, len(metrics)) for title in ("first", "second", "third"))
    grid = Grid("spans", "Three.", ("System", *metrics * 3), (GridGroup("", (row,)),), spans=spans)
    text = to_latex(grid)
    for title, width in spans:
        assert rf"\multicolumn{{{width}}}{{c}}{{{title}}}" in text
    assert fits(compile_latex(standalone(text)))


def test_footnotes_and_names_go_on_in_further_lines_and_floats(compile_latex) -> None:
    name = Entry("A system whose name says all that was done to it and then says more")
    row = (name, *(Entry("0.1234", spread="± 0.0123") for _ in range(5)))
    notes = tuple(Footnote(str(number), "A sentence of some length. " * 12) for number in range(60))
    grid = Grid("notes", "All.", ("System", *"abcde"), (GridGroup("A title", (row,)),), notes)
    text = to_latex(grid)
    assert text.count(r"\begin{table*}") > 1
    marks = re.findall(r"textsuperscript\{(\d+)\}~", text)
    assert marks == [note.mark for note in notes]
    assert fits(compile_latex(standalone(text)))


def test_words_are_broken_at_signs_only() -> None:
    assert latex_breakable("a generative-recommendation system") == (
        "a generative-" + r"\allowbreak{}" + "recommendation system"
    )
    assert latex_breakable("benchmark/report/build.py") == (
        r"\allowbreak{}".join(("benchmark/", "report/", "build.", "py"))
    )


def test_latex_of_hostile_text_compiles(make_run, compile_latex) -> None:
    assert fits(compile_latex(standalone(latex_of(hostile_table(make_run)))))


def test_ablations_have_a_table_of_their_own(make_run) -> None:
    runs = [
        make_run(system="alpha", recommendation=0.4),
        make_run(system="alpha@no-history", display_name="w/o history", recommendation=0.45),
        make_run(system="beta", recommendation=0.3),
    ]
    assert [row.system for row in main_table("recommendation", runs).rows] == ["alpha", "beta"]
    assert ablated_systems(runs) == ("alpha",)
    table = ablation_table("recommendation", "alpha", runs)
    assert [row.system for row in table.rows] == ["alpha", "alpha@no-history"]
    assert table.caption.startswith("Ablations of alpha.")
    assert table.stem.endswith("-recommendation-ablations-alpha")
    assert not any(cell.mark for row in table.rows for cell in row.cells)


def test_ablations_alone_leave_the_main_table_empty(make_run) -> None:
    runs = [make_run(system="alpha@no-history", recommendation=0.4)]
    assert main_table("recommendation", runs).groups == ()
    assert not ablation_table("search", "alpha", runs).groups
