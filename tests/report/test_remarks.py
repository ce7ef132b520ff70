"""What a table says beside its figures: unbeaten rows without learning, ties, leaks, cold users."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmark.jobs.record import Run
from benchmark.protocol.metrics import METRIC_NAMES, Ranks
from benchmark.protocol.settings import PRESETS
from benchmark.report.build import build_report
from benchmark.report.latex import to_latex
from benchmark.report.page import render_page
from benchmark.report.reading.events import read_events
from benchmark.report.reading.ranks import Ties, ties_of
from benchmark.report.reference import write_references
from benchmark.report.tables import remarks
from benchmark.report.tables.grid import Entry, Footnote, Grid, GridGroup, to_csv, to_markdown
from benchmark.report.tables.metrics import main_table
from benchmark.report.tables.printed import as_grid, figures_csv, side_by_side
from benchmark.report.tables.remarks import TIED, protocol_footnotes
from benchmark.report.terminal import print_grid
from benchmark.report.whole import make_report
from tests.report.conftest import drawn_ranks

UNBEATEN = "Without learning, unbeaten by any trained system:"
NOT_CLEARLY = "Without learning, beaten by no trained system significantly:"


def untied(above: list[int] | np.ndarray) -> Ranks:
    array = np.asarray(above, dtype=np.int32)
    return Ranks(array, np.zeros_like(array), np.ones(len(array), dtype=bool))


def table_of(runs_root: Path, task: str = "search"):
    return make_report(runs_root).groups[0].views["lists"].main[task]


# Rows without learning that trained systems do not beat


def test_a_row_that_no_trained_system_beats_is_named_with_its_metrics(make_run) -> None:
    metrics = {"HR@1": 0.2, "HR@5": 0.3, "HR@10": 0.4, "NDCG@5": 0.25, "NDCG@10": 0.28}
    runs = [
        make_run("floor", search={**metrics, "HR@1": 0.3}, family="references"),
        make_run("low", search=0.01, family="references"),
        make_run("learner", search={**metrics, "HR@5": 0.31}),
    ]
    table = main_table("search", runs)
    assert f"{UNBEATEN} Floor at HR@1, HR@10, NDCG@5, NDCG@10." in table.caption
    assert NOT_CLEARLY not in table.caption and "Low at" not in table.caption


def test_a_mean_that_is_printed_alike_is_no_victory(make_run) -> None:
    runs = [
        make_run("floor", search=0.2, family="references"),
        make_run("learner", search=0.2 + 1e-6),
    ]
    assert f"{UNBEATEN} Floor at every metric." in main_table("search", runs).caption


def test_nothing_is_said_without_trained_systems_or_where_all_are_beaten(make_run) -> None:
    floor = make_run("floor", search=0.1, family="references")
    assert "Without learning" not in main_table("search", [floor]).caption
    runs = [floor, make_run("learner", search=0.2)]
    assert "Without learning" not in main_table("search", runs).caption


def test_a_difference_within_chance_is_no_significant_one(make_run, runs_root: Path) -> None:
    random = np.random.default_rng(0)
    floor = random.integers(0, 40, size=400)
    make_run("floor", search=untied(floor), family="references")
    one_event = np.arange(400) == np.argmax(floor > 10)
    make_run("hair", search=untied(np.where(one_event, 0, floor)))
    table = table_of(runs_root)
    assert f"{NOT_CLEARLY} Floor at every metric (" in table.caption
    assert UNBEATEN not in table.caption
    make_run("learner", search=untied(np.maximum(floor - 8, 0)))
    assert "Without learning" not in table_of(runs_root).caption


def test_the_sentence_stands_in_every_form(make_run, runs_root: Path, tmp_path: Path) -> None:
    make_run("floor", search=drawn_ranks(0.4), family="references")
    make_run("learner", search=drawn_ranks(0.1))
    report = make_report(runs_root)
    grid = as_grid(report.groups[0].views["lists"].main["search"])
    console = Console(record=True, width=400, file=io.StringIO())
    print_grid(grid, console)
    shown = [to_latex(grid), to_markdown(grid), console.export_text(), render_page(report, "here")]
    for text in shown:
        assert UNBEATEN in text.replace("\n", " ")
    (beside,) = side_by_side([report.groups[0].views["lists"].main["search"]] * 2)
    assert f"tiny: {UNBEATEN}" in beside.caption


def test_as_many_pairs_as_there_are_are_corrected_for(make_run, runs_root: Path) -> None:
    """Of thirty equal systems one or the other would be called better at 5 % each."""
    random = np.random.default_rng(2)
    floor = random.integers(0, 40, size=300)
    make_run("floor", search=untied(floor), family="references")
    for number in range(30):
        make_run(f"s{number}", search=untied(random.integers(0, 40, size=300)))
    assert f"{NOT_CLEARLY} Floor at" in table_of(runs_root).caption


def test_one_row_may_be_beaten_and_another_not(make_run, runs_root: Path) -> None:
    level = np.random.default_rng(0).integers(0, 40, size=400)
    make_run("weak", search=untied(np.minimum(level + 20, 98)), family="references")
    make_run("strong", search=untied(np.maximum(level - 5, 0)), family="references")
    make_run("learner", search=untied(level))
    caption = table_of(runs_root).caption
    assert f"{UNBEATEN} Strong at every metric." in caption and "Weak" not in caption


# Ties


def test_ties_are_counted_where_the_target_was_returned() -> None:
    tied = np.array([0, 3, 5, 0, 7], dtype=np.int32)
    returned = np.array([True, True, True, True, False])
    assert ties_of(Ranks(np.zeros(5, dtype=np.int32), tied, returned)) == Ties(0.4, 4.0)


def test_often_tied_rows_are_marked_and_the_others_bounded(make_run, runs_root: Path) -> None:
    above = np.arange(100, dtype=np.int32) % 50
    few, many = np.zeros(100, dtype=np.int32), np.zeros(100, dtype=np.int32)
    few[:4], many[:75] = 1, 34
    returned = np.ones(100, dtype=bool)
    make_run("tied", search=Ranks(above, many, returned))
    make_run("fine", search=Ranks(above, few, returned))
    make_run("floor", search=Ranks(above, few * 99, returned), family="references")
    table = table_of(runs_root)
    marked = {row.system for row in table.rows if TIED in row.notes}
    (note,) = [note for note in table.footnotes if note.mark == TIED]
    assert marked == {"tied"} and "Tied 75.0%, 34.0." in note.text
    assert note.text.endswith("Of the other rows at most 4.0% are.")
    rows = {row["system"]: row for row in csv.DictReader(io.StringIO(figures_csv(table)))}
    assert float(rows["tied"]["tied share"]) == 0.75 and float(rows["tied"]["tied others"]) == 34
    assert float(rows["floor"]["tied share"]) == 0.04 and float(rows["floor"]["tied others"]) == 99
    assert "Tied<sup>=</sup>" in to_markdown(as_grid(table))


def test_reference_runs_keep_the_ties_at_any_rank(make_run, runs_root: Path, tmp_path) -> None:
    above = np.full(100, 60, dtype=np.int32)  # below every cutoff
    ranks = Ranks(above, np.full(100, 3, dtype=np.int32), np.ones(100, dtype=bool))
    make_run("tied", search=ranks)
    write_references(runs_root, tmp_path / "reference")
    (run,) = make_report(tmp_path / "reference").groups[0].group.runs
    assert read_events(run)["lists"]["search"].ties == Ties(1.0, 3.0)


# Probes of matched lists

MATCHED = {**PRESETS["paper"].model_dump(mode="json"), "search_negatives": remarks.MATCHED}


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue with two probes, one of them for searches only."""
    from benchmark.systems.catalogue import SystemEntry

    rows = {
        name: SystemEntry(name, name.title(), "references", tasks, "x:X", probe_of_lists=True)
        for name, tasks in (("one", ("search",)), ("two", ("recommendation", "search")))
    }
    monkeypatch.setattr(remarks, "entries", lambda: rows)


CUT = ("HR@1", "HR@5", "HR@10")


def hits(*at: float) -> dict[str, float]:
    return {**dict.fromkeys(METRIC_NAMES, 0.0), **dict(zip(CUT, at, strict=True))}


@pytest.mark.usefixtures("probes")
def test_what_probes_reach_is_said_as_multiples_of_chance(make_run) -> None:
    runs = [
        make_run("one", search=hits(0.01, 0.055, 0.119), family="references", settings=MATCHED),
        make_run("two", search=hits(0.012, 0.06, 0.11), family="references", settings=MATCHED),
    ]
    caption = main_table("search", runs).caption
    assert (
        "HR@1, 5, 10 as multiples of chance: One 1.00, 1.10, 1.19; Two 1.20, 1.20, 1.10." in caption
    )
    assert "Warning" not in caption
    caption = main_table("recommendation", runs).caption
    assert "no such row was run" in caption


@pytest.mark.usefixtures("probes")
def test_a_probe_above_the_bound_is_warned_of(make_run) -> None:
    settings = {**MATCHED, "negatives": 49}
    run = make_run("one", search=hits(0.02, 0.15, 0.2), family="references", settings=settings)
    caption = main_table("search", [run]).caption
    assert "One 1.00, 1.50, 1.00; not run: Two." in caption
    assert "Warning: above 1.2 times chance without learning: One at HR@5 (1.50)." in caption


@pytest.mark.usefixtures("probes")
def test_chance_is_that_of_the_lists_as_they_are(make_run) -> None:
    """Matched lists may be shorter than the setting asks for; the record says how long they are."""
    run = make_run("one", search=hits(0.1, 0.5, 1.0), family="references", settings=MATCHED)
    caption = main_table("search", [with_protocol(run, list_lengths={"search": 8})]).caption
    # Among 8 candidates HR@10 says nothing, so it is not shown.
    assert "HR@1, 5 as multiples of chance: One 0.80, 0.80;" in caption
    assert "Warning" not in caption
    assert "800 test events with 8 candidates each)" in caption


@pytest.mark.usefixtures("probes")
def test_other_protocols_say_nothing_of_probes(make_run) -> None:
    run = make_run("one", search=hits(0.3, 0.4, 0.5), family="references")
    assert "chance" not in main_table("search", [run]).caption


def test_the_preset_clean_is_such_a_protocol() -> None:
    assert PRESETS["clean"].search_negatives == remarks.MATCHED


# Cold users, and remarks of the protocol


def test_lists_of_several_lengths_are_not_called_one(make_run) -> None:
    run = make_run("alpha", search=0.1)
    several = with_protocol(run, list_lengths={"search": 940}, shortest_lists={"search": 644})
    assert "test events with 644 to 940 candidates each)" in main_table("search", [several]).caption


def with_protocol(run: Run, **changes: object) -> Run:
    protocol = run.record.protocol.model_copy(update=changes)
    return run.model_copy(update={"record": run.record.model_copy(update={"protocol": protocol})})


def test_cold_users_are_said_below_the_table(make_run) -> None:
    run = make_run("alpha", search=0.1)
    assert not main_table("search", [run]).footnotes
    run = with_protocol(run, cold_users={"search": 0.8551, "recommendation": 0.0})
    table = main_table("search", [run])
    sentence = "85.5% of the test events belong to users never seen in training."
    assert table.footnotes == (Footnote("", sentence),)
    assert f"\n- {sentence}" in to_markdown(as_grid(table))
    assert r"85.5\% of the test events" in to_latex(as_grid(table))
    assert not main_table("recommendation", [run]).footnotes


def test_remarks_of_the_protocol_are_shown_once(make_run) -> None:
    runs = [make_run("alpha", search=0.1), make_run("beta", search=0.2)]
    runs = [with_protocol(run, remarks=("Not as its source.",)) for run in runs]
    assert main_table("search", runs).footnotes == (Footnote("", "Not as its source."),)


def test_what_the_lists_leave_out_is_said_below_the_table_of_its_task(make_run) -> None:
    run = make_run("alpha", search=0.1, recommendation=0.1)
    sentence = "A third of the held-out searches is not ranked."
    run = with_protocol(run, notes={"search": (sentence,)})
    assert main_table("search", [run]).footnotes == (Footnote("", sentence),)
    assert not main_table("recommendation", [run]).footnotes


# Variants under one heading


def grid_of(*rows: tuple[Entry, ...]) -> Grid:
    return Grid("stem", "A caption.", ("System", "HR@1"), (GridGroup("Family", rows),))


VARIANTS = (
    (Entry("Other"), Entry("0.1")),
    (Entry("first", heading="Sas", name="Sas (first)"), Entry("0.2")),
    (Entry("second", heading="Sas", name="Sas (second)"), Entry("0.3")),
    (Entry("Last"), Entry("0.4")),
)


def test_a_heading_is_printed_once_above_its_rows() -> None:
    grid = grid_of(*VARIANTS)
    lines = to_markdown(grid).splitlines()
    assert lines[5:9] == [
        "| Other | 0.1 |",
        "| Sas |  |",
        "| &emsp;first | 0.2 |",
        "| &emsp;second | 0.3 |",
    ]
    text = to_latex(grid)
    assert text.count("Sas") == 1 and r"\qquad first & 0.2" in text and r"\quad Last & 0.4" in text
    console = Console(record=True, width=80, file=io.StringIO())
    print_grid(grid, console)
    assert re.search(r"\n {3}Sas *\n {5}first +0.2 *\n {5}second +0.3", console.export_text())
    assert to_csv(grid).splitlines()[2:4] == ["Family,Sas (first),0.2", "Family,Sas (second),0.3"]


def test_variants_of_the_catalogue_share_their_heading_and_one_alone_has_none(make_run) -> None:
    from benchmark.systems.catalogue import entries

    first, second = [name for name, row in entries().items() if row.heading][:2]
    assert entries()[first].heading == entries()[second].heading
    one = make_run(first, display_name="Whole name", search=0.1, family="references")
    two = make_run(second, display_name="Second name", search=0.2, family="references")
    alone = as_grid(main_table("search", [one])).rows[0][0]
    assert (alone.text, alone.heading) == ("Whole name", "")
    both = as_grid(main_table("search", [one, two])).rows
    assert [row[0].heading for row in both] == [entries()[first].heading] * 2
    assert [row[0].text for row in both] == [entries()[n].label for n in (first, second)]
    assert [row[0].whole for row in both] == ["Whole name", "Second name"]


def test_the_page_shows_headings_and_whole_names(make_run, runs_root: Path, tmp_path) -> None:
    from benchmark.systems.catalogue import entries

    first, second = [name for name, row in entries().items() if row.heading][:2]
    make_run(first, display_name="Whole name", search=0.1, family="references")
    make_run(second, display_name="Second name", search=0.2, family="references")
    build_report(runs_root, tmp_path / "out", html=True)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    heading = page.index(f'scope="rowgroup">{entries()[first].heading}</th>')
    assert heading < page.index(">Whole name</th>") < page.index(">Second name</th>")


def test_cut_offs_beyond_the_lists_are_not_shown_without_a_word(make_run) -> None:
    run = make_run("alpha", search=0.1)

    def said(**protocol: object) -> str:
        changed = run.record.protocol.model_copy(update=protocol)
        record = run.record.model_copy(update={"protocol": changed})
        return main_table("search", [run.model_copy(update={"record": record})]).caption

    vacuous = "HR@5 and HR@10 say nothing of the order: lists have 5 items"
    assert vacuous in said(list_lengths={"search": 5})
    assert "HR@10 says nothing of the order: lists have 10" in said(list_lengths={"search": 10})
    assert "of the order" not in said(list_lengths={"search": 11})
    shorter = said(list_lengths={"search": 100}, shortest_lists={"search": 7})
    assert (
        "HR@10 counts every target that is returned in the shorter lists, which have 7" in shorter
    )


def test_cut_offs_beyond_all_items_are_told(make_run) -> None:
    ranks = drawn_ranks(0.3)
    for others, told in ((99, True), (100, False)):
        of_all = {"search": ranks}
        run = make_run(f"among-{others}", search=ranks, all_items=of_all, others=others)
        caption = main_table("search", [run], view="all-items").caption
        assert ("HR@100 says nothing of the order" in caption) == told, caption


@pytest.mark.parametrize(
    ("stored", "shown"),
    [("three: 1 users.", "three: 1 user."), ("three: 21 users.", "three: 21 users.")],
)
def test_one_user_is_no_users_in_older_records_either(make_run, stored: str, shown: str) -> None:
    run = make_run("alpha", search=0.1)
    protocol = run.record.protocol.model_copy(update={"notes": {"search": (stored,)}})
    record = run.record.model_copy(update={"protocol": protocol})
    changed = run.model_copy(update={"record": record})
    assert [note.text for note in protocol_footnotes("search", [changed])] == [shown]
