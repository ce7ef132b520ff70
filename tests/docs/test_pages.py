"""Pages that are made say what their sources say."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.audit.record import TITLES
from benchmark.data.__main__ import main as data_command
from benchmark.protocol import metrics
from benchmark.protocol.metrics import Ranks, gains
from benchmark.protocol.settings import PRESETS
from benchmark.systems import catalogue
from benchmark.systems.catalogue import entries
from docs.hooks import golden, links, protocol, site, systems
from docs.hooks.differences import ROOT, differences_in, differences_of

ROWS = {row.name: row.module for row in entries().values()}


def test_a_new_row_gets_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    new = replace(entries()["popularity"], name="newcomer", display_name="Newcomer", status="New.")
    rows = {**entries(), "newcomer": new}
    monkeypatch.setattr(systems, "entries", lambda: rows)
    monkeypatch.setattr(catalogue, "entries", lambda: rows)
    (page,) = systems.pages([new])
    assert page.address == "systems/newcomer.md"
    assert page.text.startswith("# Newcomer\n\nNew.\n")
    assert "python -m benchmark.run --systems newcomer" in page.text
    assert "No reference run of it is kept" in page.text
    assert "[Newcomer](newcomer.md)" in systems.index_page()
    assert {row.name for rows in systems.rows_by_family().values() for row in rows} >= {"newcomer"}


def test_a_page_has_figures_settings_and_published_figures() -> None:
    page = systems.system_page(entries()["sasrec-bce"])
    tests = re.findall(r"tests/golden/\w+\.py", page.text)
    assert tests == ["tests/golden/test_sequential.py"]
    assert "| `hidden_units` | `50` |" in page.text
    assert "| `norm_first` | one of `false`, `true` |" in page.text
    assert "recommendation: ml-100k, paper, laptop" in page.text
    assert "## Published figures" in page.text
    assert page.curves is not None
    assert page.curves.startswith(b"<?xml")


@pytest.mark.parametrize("name", [n for n, row in entries().items() if row.original])
def test_a_system_with_an_original_says_where_it_differs(name: str) -> None:
    row = entries()[name]
    without = {"bm25", "recbole", "jsr"}  # equal, others' classes, and no public original
    assert bool(differences_of(row.module, ROWS)) == (name not in without)


def test_differences_of_shared_parts_are_told_too() -> None:
    told = differences_of(ROWS["tem"], ROWS)
    assert {module.rpartition(".")[2] for module, _ in told} == {"tem", "prodsearch"}
    assert differences_in("X. As published.\n\nNothing more.") == []


def test_every_golden_test_of_a_system_is_on_a_page() -> None:
    shown = set()
    for row in entries().values():
        names = [name for name, module in ROWS.items() if module == row.module]
        shown |= {test.path for test in golden.tests_of(names, row.module)}
    others = {"test_protocol", "test_doc2query", "test_every_file"}  # of no system
    assert {Path(test.path).stem for test in golden.golden_tests()} - others == {
        Path(path).stem for path in shown
    }


def test_every_figure_of_the_audit_says_what_is_counted() -> None:
    assert protocol.counted_by().keys() == TITLES.keys()


def test_the_audit_that_is_shown_is_what_the_code_finds(tmp_path: Path) -> None:
    words = ["audit", "ml-100k", "--out", str(tmp_path / "out"), "--root", str(tmp_path / "data")]
    assert data_command(words) == 0
    found = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in found] == [f"ml-100k-{n}.json" for n in sorted(PRESETS)]
    for path in found:
        assert path.read_bytes() == (ROOT / "docs" / "audit" / path.name).read_bytes()
    table = protocol.verdicts_table()
    assert "| figure | `paper` | `released` | `clean` |" in table
    (copied,) = [line for line in table.splitlines() if line.startswith("| D2 |")]
    assert copied.count("**Finding:**") == 1  # of the released protocol
    assert "16.6% (14.6% to 18.7%) of 912 recommendation test events" in copied


def test_links_out_of_the_documentation_become_paths() -> None:
    told = links.in_the_site("See [the file](../setup.py) and `[a](b)`.", "docs/x.md", "x.md")
    assert told == "See the file (`setup.py`) and `[a](b)`."
    assert (
        links.in_the_site("[p](python.md#figures)", "docs/x.md", "x.md") == "[p](python.md#figures)"
    )
    assert links.in_the_site("![t](a/t.png)", "results/README.md", "s/x.md") == (
        "![t](../results/a/t.png)"
    )


def test_files_that_are_shown_exist() -> None:
    assert all((ROOT / source).is_file() for source in site.SHOWN.values())


# What docs/adding.md says


def examples_of_adding() -> list[str]:
    text = (ROOT / "docs" / "adding.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_the_documented_identifiers_are_valid(tmp_path: Path) -> None:
    from importlib.util import module_from_spec, spec_from_file_location

    (tmp_path / "ordered.py").write_text(examples_of_adding()[0], encoding="utf-8")
    spec = spec_from_file_location("ordered_of_the_docs", tmp_path / "ordered.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    vectors = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    found = module.OrderedTIGER.learned(None, vectors, None).identifiers
    assert found.number_of_items == 300
    assert found.levels == 3
    assert len(np.unique(found.codes[1:], axis=0)) == 300


def test_the_documented_metric_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    name, _, function = examples_of_adding()[1].partition(": ")
    assert function.strip() == "lambda rank: 0.2 * 0.8 ** (rank - 1)"
    monkeypatch.setitem(metrics._GAINS, name.strip('"'), lambda rank: 0.2 * 0.8 ** (rank - 1))
    # Two candidates are tied with the target behind one other: the mean over ranks 2, 3 and 4.
    ranks = Ranks(np.array([1], np.int32), np.array([2], np.int32), np.array([True]))
    assert gains(ranks, "RBP@5")[0] == pytest.approx(0.2 * (0.8 + 0.64 + 0.512) / 3)
    assert "RBP@5" in metrics.every_metric((1, 5))
