"""The reduced typeface: what a PDF holds of it, and where other characters come from."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from benchmark.report.plots.style import report_style, save_figure
from benchmark.report.plots.typeface import FAMILY

FONT_IN_PDF = b"/FontFile2"


def fonts_of(text: str, path: Path) -> int:
    """Write ``text`` as PDF; how many parts of fonts it holds."""
    with report_style():
        figure = Figure(figsize=(2, 1))
        figure.text(0.1, 0.5, text)
        save_figure(figure, path)
    return path.read_bytes().count(FONT_IN_PDF)


def test_ligatures_need_no_second_font(tmp_path: Path) -> None:
    assert fonts_of("UnifiedSSR, fluffy office", tmp_path / "figure.pdf") == 1


@pytest.mark.parametrize("text", ["Жук", "∀ items", "ℝ"])
def test_what_the_reduced_typeface_lacks_comes_from_the_whole(text: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of characters that no font has
        assert fonts_of(text, tmp_path / "figure.pdf") >= 1


def test_the_typeface_is_small_and_known_by_its_own_name(tmp_path: Path) -> None:
    from matplotlib import font_manager

    with report_style():
        path = Path(font_manager.findfont(FAMILY, fallback_to_default=False))
    whole = Path(font_manager.findfont("DejaVu Sans"))
    assert path != whole
    assert 5 * path.stat().st_size < whole.stat().st_size
