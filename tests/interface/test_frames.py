"""The Python interface: light to import, and the same figures as the commands'."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import benchmark as gb
from benchmark.interface.frames import COLUMNS
from benchmark.jobs.record import read_run
from benchmark.protocol.metrics import VIEWS
from benchmark.protocol.requests import Requests
from benchmark.report.reading.events import read_events
from benchmark.report.statistics.inference import compare
from benchmark.systems.contract import FloatArray
from benchmark.systems.view import TrainingView
from tests.imports import imported_by
from tests.interface.conftest import SYSTEMS, Ran

ROOT = Path(__file__).resolve().parents[2]


def test_the_import_is_light() -> None:
    heavy = {"torch", "numpy", "pandas", "pydantic", "transformers", "matplotlib"}
    assert not imported_by("import benchmark", heavy)


def test_every_name_of_the_interface_is_there() -> None:
    assert {"evaluate", "run_suite", "results", "events", "load"} <= set(gb.__all__)
    for name in gb.__all__:
        assert getattr(gb, name) is not None
        assert name in dir(gb)
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        _ = gb.evaluat


def test_a_suite_gives_a_row_a_metric_and_runs_nothing_twice(ran: Ran) -> None:
    frame = ran.frame
    assert list(frame.columns) == list(COLUMNS)
    assert set(frame.system) == set(SYSTEMS)
    assert (frame.status == "finished").all()
    finished = {read_run(ran.folder(name)).record.finished_at for name in SYSTEMS}
    pd.testing.assert_frame_equal(ran.again(), frame)
    assert {read_run(ran.folder(name)).record.finished_at for name in SYSTEMS} == finished
    stored = gb.results(ran.root / "results" / "runs")
    keys = ["system", "task", "view", "metric"]
    pd.testing.assert_frame_equal(
        stored.sort_values(keys, ignore_index=True), frame.sort_values(keys, ignore_index=True)
    )


def test_values_are_the_records_and_bounds_are_the_tables(ran: Ran) -> None:
    run = read_run(ran.folder("jsr"))
    rows = ran.frame[(ran.frame.system == "jsr") & (ran.frame.view == "lists")]
    for row in rows.itertuples():
        assert row.value == run.metrics[row.task][row.metric]
        assert row.events == run.record.protocol.test_events[row.task]
    events = {name: read_events(read_run(ran.folder(name))) for name in SYSTEMS}
    for view in VIEWS:
        of_task = {name: [found[view]["search"]] for name, found in events.items()}
        table = compare("search", of_task, ["jsr"], ["popularity"], view=view)
        metrics = list(of_task["jsr"][0].metrics)
        for name in SYSTEMS:
            mine = ran.frame[(ran.frame.system == name) & (ran.frame.task == "search")]
            mine = mine[mine.view == view].set_index("metric").loc[metrics]
            np.testing.assert_allclose(mine[["low", "high"]], table.intervals[name], rtol=1e-9)


def test_events_give_the_means(ran: Ran) -> None:
    found = gb.events(ran.folder("jsr"))
    means = found.groupby(["view", "task"])["NDCG@10"].mean()
    for row in ran.frame[
        (ran.frame.system == "jsr") & (ran.frame.metric == "NDCG@10")
    ].itertuples():
        assert means[row.view, row.task] == pytest.approx(row.value, abs=1e-12)
    assert found.user.min() >= 1
    assert len(found) == sum(
        2 * number for number in read_run(ran.folder("jsr")).record.protocol.test_events.values()
    )


class Counted:
    """Popularity in five lines, without a base class."""

    def fit(self, view: TrainingView) -> None:
        self.counts = np.bincount(view.log.item[view.log.behaviour == 1], minlength=241)

    def score(self, requests: Requests) -> FloatArray:
        return self.counts[requests.candidates].astype(np.float32)


def test_a_ranker_of_ones_own_gets_the_figures_of_the_same_system(ran: Ran) -> None:
    own = gb.evaluate(Counted(), "generated", "search", prepared=ran.root / "prepared")
    assert list(own.columns) == list(COLUMNS)
    frame = ran.frame
    theirs = frame[(frame.system == "popularity") & (frame.task == "search")]
    both = own.merge(theirs, on=["task", "view", "metric"], suffixes=("", "_theirs"))
    assert len(both) == len(own) == len(theirs)
    np.testing.assert_allclose(both.value, both.value_theirs, rtol=0, atol=1e-12)
    shown = both[both.low_theirs.notna()]
    np.testing.assert_allclose(shown[["low", "high"]], shown[["low_theirs", "high_theirs"]])
    assert set(own.system) == {"Counted"}
    assert own.events.eq(theirs.events.iloc[0]).all()


def test_mistakes_are_one_sentence(ran: Ran, tmp_path: Path) -> None:
    prepared = ran.root / "prepared"
    for call, sentence in (
        (lambda: gb.evaluate(Counted, "generated", prepared=prepared), "^Counted: .* and no class"),
        (lambda: gb.evaluate(object(), "generated", prepared=prepared), "must be an object with"),
        (lambda: gb.evaluate(Counted(), "generatd", prepared=prepared), "did you mean 'generated'"),
        (
            lambda: gb.evaluate(Counted(), "generated", "searching", prepared=prepared),
            "unknown task 'searching'",
        ),
        (lambda: gb.results(tmp_path / "none"), "no such folder"),
        (lambda: gb.events(tmp_path), "not a finished run"),
        (lambda: ran.again(systems=["popularty"]), "did you mean 'popularity'"),
        (lambda: ran.again(seeds=[1, 1]), "seeds"),
    ):
        with pytest.raises(gb.BenchmarkError, match=sentence) as caught:
            call()
        assert "\n" not in str(caught.value)
