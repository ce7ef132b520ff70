"""Where RecBole is not installed all else runs, and what needs it says how to get it."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from baselines.catalog import ENTRIES, RECBOLE
from benchmark.data.sources import ml100k
from benchmark.run.__main__ import main
from benchmark.systems.provenance import code_digests

REMEDY = "`pip install --no-deps recbole==1.2.1`"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if RecBole were not installed: it is neither found nor imported."""
    monkeypatch.setitem(sys.modules, "recbole", None)


def run(place: Path, dataset: str, systems: str) -> int:
    chosen = ["--dataset", dataset, "--systems", systems, "--preset", "smoke", "--threads", "1"]
    return main([*chosen, "--results", str(place / "r"), "--prepared", str(place / "p")])


def test_a_suite_leaves_its_rows_out_and_says_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "generated", "popularity,gru4rec,recbole:NARM") == 1
    said = capsys.readouterr()
    assert "Popularity" in said.out and "GRU4Rec" not in said.out
    left_out = [line for line in said.err.splitlines() if line.startswith("left out: ")]
    assert left_out == [
        f"left out: system {name!r}: needs the package recbole, which is not installed; "
        f"get it with {REMEDY}."
        for name in ("gru4rec", "recbole")
    ]
    assert len(list((tmp_path / "r" / "runs").rglob("run.json"))) == 1


@pytest.mark.parametrize("system", ["sasrec", "recbole:SASRec"])
def test_its_rows_alone_are_one_sentence(
    system: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "generated", system) == 2
    said = capsys.readouterr().err
    assert "needs the package recbole" in said and REMEDY in said
    assert said.count("error:") == 1 and "Traceback" not in said


def test_ml_100k_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "ml-100k", "popularity") == 2
    said = capsys.readouterr().err
    assert "ml-100k: the package recbole, which brings the data, is not installed" in said
    assert REMEDY in said
    assert said.count("error:") == 1 and "Traceback" not in said


def imports_recbole(module: str) -> bool:
    path = ROOT / f"{module.replace('.', '/')}.py"
    path = path if path.is_file() else path.with_suffix("") / "__init__.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    ]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return any(name.partition(".")[0] == "recbole" for name in names)


def test_the_rows_that_import_it_and_no_others_ask_for_it() -> None:
    needing = {
        entry.name for entry in ENTRIES if any(map(imports_recbole, code_digests(entry.module)))
    }
    assert needing == {entry.name for entry in ENTRIES if entry.packages}
    assert {entry.name for entry in ENTRIES if entry.packages == RECBOLE} == needing
    assert needing and not imports_recbole(ml100k.__name__)
