"""The draw of negatives: what is measured over list seeds against what is exactly so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmark.audit.draws import DrawResult, over_draws
from benchmark.data.__main__ import main
from benchmark.protocol.settings import ProtocolSettings
from tests.protocol.logs import shop_dataset

SEEDS = range(1, 25)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[DrawResult]:
    dataset = shop_dataset(3, users=80, items=200)
    place = tmp_path_factory.mktemp("lists")
    return over_draws(dataset, ProtocolSettings(negatives=20), place, SEEDS)


def test_figures_over_list_seeds_are_those_of_the_exact_law(results: list[DrawResult]) -> None:
    """Within five standard errors of the mean, and the deviation within half of itself."""
    known = [result for result in results if result.exact]
    assert {result.display_name for result in known} >= {"Popularity", "Random"}
    for result in known:
        for metric, (expectation, deviation) in result.exact.items():
            off = abs(result.mean(metric) - expectation)
            assert off <= 5 * deviation / np.sqrt(len(SEEDS)) + 1e-9, (result, metric)
            if result.display_name == "Popularity":
                assert result.deviation(metric) == pytest.approx(deviation, rel=0.5)


def test_where_no_law_is_known_there_is_only_what_was_measured(results: list[DrawResult]) -> None:
    assert {result.task for result in results if result.exact} == {"recommendation"}
    searched = [result for result in results if result.task == "search"]
    assert searched and all(len(result.measured) == len(SEEDS) for result in searched)


def test_the_best_hits_of_bm25_are_no_draw(results: list[DrawResult]) -> None:
    (bm25,) = (result for result in results if result.display_name == "BM25")
    assert bm25.deviation("HR@10") == pytest.approx(0.0, abs=1e-9)


def test_the_command_prints_both(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    arguments = ["audit", "generated", "--root", str(tmp_path), "--out", str(tmp_path / "audit")]
    arguments += ["--protocol", "paper", "--catalogue-events", "20", "--draws", "2"]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "paper: mean ± deviation over the draw of negatives" in shown
    assert "measured" in shown and "exact" in shown


def test_one_draw_has_no_deviation(tmp_path: Path, capsys) -> None:
    assert main(["audit", "generated", "--root", str(tmp_path), "--draws", "1"]) == 2
    assert "--draws 1: must be 0, or at least 2" in capsys.readouterr().err
