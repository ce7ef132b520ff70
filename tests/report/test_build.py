"""The report as a whole: files, equal bytes, plots, the command and its exit codes."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from rich.console import Console

from benchmark.errors import BenchmarkError
from benchmark.files import write_manifest
from benchmark.jobs.record import CostPart
from benchmark.protocol.metrics import Ranks, mean_metrics
from benchmark.report import build_report, print_tables
from benchmark.report.__main__ import main
from benchmark.report.plots.tradeoff import tradeoff_figure
from benchmark.report.plots.tradeoff_points import pareto_front
from benchmark.report.tables.metrics import main_table
from benchmark.systems.catalogue import family_order
from tests.report.conftest import among_all, drawn_ranks, write_run

NONE = Path("no-published-figures")


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def few_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that give every kind of table and plot, and no more of them than it takes."""
    root = tmp_path_factory.mktemp("few") / "runs"
    for level, (name, family) in enumerate(
        [("random", "references"), ("alpha", "sequential"), ("beta", "joint")], start=1
    ):
        drawn = drawn_ranks(0.1 * level, 100)
        ranks = Ranks(drawn.above, drawn.tied, np.ones(len(drawn), dtype=bool))
        write_run(
            root,
            name,
            family=family,
            recommendation=ranks,
            search=ranks,
            all_items=dict.fromkeys(("recommendation", "search"), among_all(ranks)),
            cost=CostPart(fit_seconds=10.0 * (level - 1)),
            curve=(0.1, 0.2) if level > 1 else (),
        )
    return root


def test_every_table_and_plot_is_written(few_runs: Path, tmp_path: Path) -> None:
    report = build_report(few_runs, tmp_path / "out", published=NONE, html=True)
    group = "tiny-paper-laptop"
    tasks = [f"{group}-{task}" for task in ("recommendation", "search")]
    tables = [f"{task}{view}" for task in tasks for view in ("", "-all-items")]
    tables += [f"{table}-{more}" for table in tables for more in ("intervals", "differences")]
    tables += [f"{task}-views" for task in tasks]
    tables += [f"{tasks[0]}-expected", f"{group}-efficiency", "datasets"]
    plots = [f"{group}-{plot}" for plot in ("tradeoff", "bars", "cost")]
    plots += [f"{task}-ranks" for task in tasks]
    plots += [f"{plot}-all-items" for plot in plots]
    plots += [f"{group}-search-curves", *(f"{task}-views" for task in tasks)]
    expected = {f"tables/{name}.{suffix}" for name in tables for suffix in ("tex", "md", "csv")}
    expected |= {f"plots/{name}.{suffix}" for name in plots for suffix in ("pdf", "png")}
    expected |= {"report.html", "plots/figures.tex", "tables/references.bib"}
    assert set(content(tmp_path / "out")) == expected
    assert {p.relative_to(tmp_path / "out").as_posix() for p in report.paths} == expected
    assert [(table.view, table.task) for table in report.tables] == [
        (view, task) for view in ("lists", "all-items") for task in ("recommendation", "search")
    ]
    assert report.sentences == ()


def test_every_plot_is_a_picture(few_runs: Path, tmp_path: Path) -> None:
    plots = [p for p in build_report(few_runs, tmp_path).paths if p.parent.name == "plots"]
    for path in plots:
        if path.suffix == ".tex":
            shown = re.findall(r"\{([^{}]+\.pdf)\}", path.read_text(encoding="utf-8"))
            assert sorted(shown) == sorted(p.name for p in plots if p.suffix == ".pdf")
            continue
        if path.suffix == ".pdf":
            assert path.read_bytes()[:5] == b"%PDF-"
            continue
        pixels = matplotlib.image.imread(path)
        assert min(pixels.shape[:2]) > 200 and max(pixels.shape[:2]) > 600, path
        assert 0.01 < (pixels[..., :3].mean(axis=2) < 0.9).mean() < 0.5, path


def test_two_builds_give_equal_bytes(few_runs: Path, tmp_path: Path) -> None:
    """In two processes, since hashing of strings and random state differ between processes."""
    for name, hash_seed in (("first", "1"), ("second", "2")):
        command = [sys.executable, "-m", "benchmark.report"]
        command += ["--from", str(few_runs), "--out", str(tmp_path / name), "--html"]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        subprocess.run(command, check=True, capture_output=True, env=environment, timeout=300)
    assert content(tmp_path / "first") == content(tmp_path / "second")


def test_protocols_have_files_of_their_own(make_run, runs_root: Path, tmp_path: Path) -> None:
    make_run("alpha", recommendation=0.1)
    make_run("alpha", recommendation=0.2, protocol="clean")
    report = build_report(runs_root, tmp_path)
    for table in report.tables:
        assert len(table.rows) == 1
    assert (tmp_path / "tables" / "tiny-paper-laptop-recommendation.csv").is_file()
    assert (tmp_path / "tables" / "tiny-clean-laptop-recommendation.csv").is_file()
    assert not (tmp_path / "tables" / "tiny-paper-laptop-search.csv").exists()


def test_variants_have_files_of_their_own(make_run, runs_root: Path, tmp_path: Path) -> None:
    make_run("alpha", recommendation=0.1, fingerprint="f0")
    make_run("alpha", recommendation=0.2, fingerprint="f1")
    report = build_report(runs_root, tmp_path)
    assert len(list((tmp_path / "tables").glob("tiny-*-recommendation.csv"))) == 2
    for table in report.tables:
        assert table.variant and f"variant {table.variant}" in table.caption


def test_file_names_cannot_leave_the_folder(make_run, runs_root: Path, tmp_path: Path) -> None:
    evil = "../../é ü/$(x)"
    make_run("a", recommendation=0.1, search=0.1, dataset=evil, protocol=evil, preset=evil)
    report = build_report(runs_root, tmp_path / "out")
    for path in report.paths:
        assert path.parent.parent == tmp_path / "out"
        assert re.fullmatch(r"[A-Za-z0-9._-]+", path.name)
        assert not path.name.startswith(".")


def test_without_a_system_of_both_tasks_there_is_a_sentence(make_run, runs_root, tmp_path) -> None:
    make_run("alpha", recommendation=0.1)
    make_run("beta", search=0.1)
    report = build_report(runs_root, tmp_path)
    assert any("no trade-off plot" in sentence for sentence in report.sentences)
    assert not list((tmp_path / "plots").glob("*tradeoff*"))


def test_files_of_an_earlier_report_are_named(make_run, runs_root: Path, tmp_path: Path) -> None:
    ranks = drawn_ranks(0.2)
    make_run("alpha", recommendation=ranks, search=ranks)
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "old.csv").write_text("x")
    report = build_report(runs_root, tmp_path)
    assert "old.csv" in report.sentences[-1]
    assert build_report(runs_root, tmp_path / "new").sentences == ()


@pytest.mark.parametrize(
    "values", [{"recommendation": 0.0, "search": 0.0}, {"recommendation": 0.2, "search": 0.2}]
)
def test_a_plot_of_one_system_is_drawn(make_run, values: dict) -> None:
    runs = [make_run("$alpha$_{x}", **values)]
    tables = [main_table(task, runs) for task in ("recommendation", "search")]
    assert tradeoff_figure(*tables) is not None


def test_every_family_has_a_look_of_its_own(make_run) -> None:
    families = [*family_order(), *(f"other-{i}" for i in range(5))]
    runs = [make_run(f, family=f, recommendation=0.1, search=0.2) for f in families]
    figure = tradeoff_figure(*(main_table(task, runs) for task in ("recommendation", "search")))
    assert figure is not None
    handles = figure.legends[0].legend_handles[: len(families)]
    assert len({(handle.get_color(), handle.get_marker()) for handle in handles}) == len(families)


def test_a_plot_of_references_alone_has_no_front(make_run) -> None:
    runs = [make_run("alpha", recommendation=0.1, search=0.2, family="references")]
    tables = [main_table(task, runs) for task in ("recommendation", "search")]
    figure = tradeoff_figure(*tables)
    assert figure is not None
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert not any("Pareto" in text for text in legend)


def test_drawing_leaves_the_users_settings_alone(suite) -> None:
    before = dict(matplotlib.rcParams)
    tradeoff_figure(*(main_table(task, suite) for task in ("recommendation", "search")))
    assert dict(matplotlib.rcParams) == before


def test_the_front_holds_what_nothing_exceeds() -> None:
    assert pareto_front([(1.0, 1.0), (1.0, 2.0), (2.0, 1.0), (2.0, 1.0)]) == [
        (1.0, 2.0),
        (2.0, 1.0),
    ]
    assert pareto_front([(1.0, 1.0), (2.0, 2.0)]) == [(2.0, 2.0)]
    assert pareto_front([]) == []


def test_an_empty_folder_is_an_error_that_says_what_to_run(tmp_path: Path, capsys) -> None:
    assert main(["--from", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1 and "python -m benchmark.run" in shown.err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_damaged_runs_names_them(make_run, runs_root: Path, tmp_path: Path) -> None:
    run = make_run("alpha", recommendation=0.1)
    (run.folder / "metrics.json").write_text("{}")
    with pytest.raises(BenchmarkError, match=run.folder.name):
        build_report(runs_root, tmp_path / "out")


def test_an_unknown_option_exits_with_2_and_one_sentence(capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--form", "x"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--form" in error


def test_an_output_that_is_a_file_is_an_error(make_run, runs_root, tmp_path, capsys) -> None:
    make_run("alpha", recommendation=0.1)
    (tmp_path / "out").write_text("x")
    assert main(["--from", str(runs_root), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_command_prints_tables_places_and_what_was_left_out(
    make_run, runs_root, tmp_path, capsys
) -> None:
    ranks = drawn_ranks(0.2)
    make_run("alpha", recommendation=ranks, search=ranks)
    damaged = make_run("beta", recommendation=0.1)
    (damaged.folder / "metrics.json").write_text("{}")
    assert main(["--from", str(runs_root), "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr()
    assert "Alpha" in shown.out and f"{mean_metrics(ranks)['HR@1']:.4f}" in shown.out
    assert "tiny-paper-laptop-search.tex" in shown.out
    assert damaged.folder.name in shown.err and shown.err.count("\n") == 1


@pytest.mark.parametrize("width", [80, 100, 160])
def test_tables_fit_the_terminal(suite, width: int) -> None:
    tables = [
        main_table(task, suite, view=view)
        for view in ("lists", "all-items")
        for task in ("recommendation", "search")
    ]
    console = Console(width=width, record=True, file=io.StringIO())
    print_tables(tables, console)
    text = console.export_text()
    assert max(map(len, text.split("\n"))) <= width
    for table, column in ((tables[0], "HR@1"), (tables[2], "HR@100")):
        cells = [row.cells[table.columns.index(column)] for row in table.rows]
        best = max(cell.mean for cell in cells if cell.mean is not None)
        assert f"{best:.4f}" in text and column in text
    assert "…" not in text and "HR@20" not in text
    assert "The other cut-offs are in the files." in " ".join(text.split())
    assert ("±" in " ".join(text.split()).replace("± sample", "")) == (width >= 100)


def test_a_name_is_no_markup_on_the_terminal(make_run) -> None:
    run = make_run("evil", display_name="[red]x[/red] \x1b[31m", recommendation=0.1)
    console = Console(width=80, record=True, file=io.StringIO())
    print_tables([main_table("recommendation", [run])], console)
    assert "[red]x[/red] [31m" in console.export_text()


# A folder that is not as it should be


@pytest.mark.parametrize("name, damage", [
    ("ranks.parquet", b""),
    ("ranks.parquet", b"PAR1 but nothing else PAR1"),
    ("training.jsonl", b"\xff\xfe{"),
    ("top.npz", b"PK\x03\x04 cut"),
])  # fmt: skip
def test_a_damaged_part_costs_only_what_it_held(
    make_run, runs_root: Path, tmp_path: Path, name: str, damage: bytes
) -> None:
    """Metrics stand in a file of their own, so the row stays; its statistics go, and it is said."""
    whole = make_run("whole", search=drawn_ranks(0.3))
    hurt = make_run("hurt", search=drawn_ranks(0.2), curve=(0.1,))
    if name == "top.npz":
        (hurt.folder / "ranks.parquet").unlink()
    (hurt.folder / name).write_bytes(damage)
    write_manifest(hurt.folder)  # the damage is in the content and in no checksum
    report = build_report(runs_root, tmp_path, published=NONE, html=True)
    (table,) = report.tables
    assert [row.system for row in table.rows] == ["hurt", "whole"]
    intervals = {row.system: row.cells[0].interval for row in table.rows}
    assert intervals["whole"] is not None
    if name != "training.jsonl":
        assert intervals["hurt"] is None
        assert any(hurt.folder.name in sentence for sentence in report.sentences)
    assert whole.folder.name not in " ".join(report.sentences)


def test_ranks_of_another_run_are_found_out(make_run, runs_root: Path, tmp_path: Path) -> None:
    one = make_run("one", search=drawn_ranks(0.3))
    other = make_run("other", search=drawn_ranks(0.2))
    shutil.copyfile(other.folder / "ranks.parquet", one.folder / "ranks.parquet")
    write_manifest(one.folder)
    report = build_report(runs_root, tmp_path, published=NONE)
    assert any("do not give the metrics" in sentence for sentence in report.sentences)


def test_only_failures_give_tables_that_say_so(make_run, runs_root: Path, tmp_path: Path) -> None:
    make_run("alpha", tasks=("search",), error="Out of memory.")
    report = build_report(runs_root, tmp_path, published=NONE, html=True)
    (table,) = report.tables
    assert [row.status for row in table.rows] == ["failed"]
    assert "Out of memory." in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_data_sets_stand_side_by_side_and_protocols_do_not(
    make_run, runs_root: Path, tmp_path: Path
) -> None:
    for dataset in ("one", "two", "three"):
        for protocol in ("paper", "clean"):
            make_run("alpha", search=0.1, dataset=dataset, protocol=protocol)
    make_run("beta", search=0.2, dataset="two")
    build_report(runs_root, tmp_path, published=NONE)
    names = {path.name for path in (tmp_path / "tables").glob("all-*.md")}
    parts = ("1-of-2", "2-of-2")
    protocols = ("paper", "clean")
    assert names == {f"all-{p}-laptop-search-{part}.md" for p in protocols for part in parts}
    table = (tmp_path / "tables" / "all-paper-laptop-search-2-of-2.md").read_text(encoding="utf-8")
    (beta,) = (line for line in table.split("\n") if line.startswith("| Beta"))
    assert "**0.2000**" in beta
    first = (tmp_path / "tables" / "all-paper-laptop-search-1-of-2.md").read_text(encoding="utf-8")
    assert "Beta" not in first and "one HR@1" in first and "three HR@1" in first
