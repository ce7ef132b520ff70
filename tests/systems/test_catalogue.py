"""The catalogue with packages of others: what cannot be used is named and left out."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from benchmark.errors import BenchmarkError
from benchmark.systems import catalogue
from benchmark.systems.catalogue import ENTRY_POINT_GROUP, SystemEntry, entries

ROW = (
    "from benchmark.systems.catalogue import SystemEntry\n"
    "ENTRIES = (SystemEntry(name={name!r}, display_name='X', family='joint', tasks={tasks!r}, "
    "target='m:C'),)\n"
)
GOOD = ROW.format(name="theirs", tasks=("search",))
BROKEN = {
    "raises": ("raise RuntimeError('x' * 5000)", "cannot be loaded (RuntimeError: xxx"),
    "exits": ("import sys; sys.exit(0)", "cannot be loaded (SystemExit: 0)"),
    "is-no-python": ("def (", "cannot be loaded (SyntaxError"),
    "lacks-a-module": ("import no_such_module_at_all", "cannot be loaded (ModuleNotFoundError"),
    "has-no-entries": ("", "cannot be loaded (AttributeError"),
    "is-no-row": ("ENTRIES = ['x' * 5000]", "is no SystemEntry"),
    "wrong-task": (
        ROW.format(name="wrong", tasks=("recomendation",)),
        "system 'wrong': unknown task 'recomendation' (did you mean 'recommendation'?)",
    ),
    "no-task": (ROW.format(name="idle", tasks=()), "system 'idle' has no task"),
    "a-text-of-tasks": (ROW.format(name="text", tasks="serch"), "unknown task 'serch'"),
    "taken": (ROW.format(name="popularity", tasks=("search",)), "called 'popularity' too"),
}


@pytest.fixture
def anew() -> Iterator[None]:
    entries.cache_clear()
    yield
    entries.cache_clear()


def with_packages(
    modules: dict[str, str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, SystemEntry]:
    points = []
    for name, source in modules.items():
        module = f"others_{name.replace('-', '_')}"
        (place / f"{module}.py").write_text(source)
        sys.modules.pop(module, None)
        points.append(EntryPoint(name, f"{module}:ENTRIES", ENTRY_POINT_GROUP))
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setattr(catalogue, "entry_points", lambda group: points)
    return entries()


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.usefixtures("anew")
def test_a_package_that_cannot_be_used_is_named_and_the_others_are_there(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source, complaint = BROKEN[name]
    with caplog.at_level(logging.WARNING):
        rows = with_packages({name: source, "good": GOOD}, tmp_path, monkeypatch)
    assert {"popularity", "theirs"} <= rows.keys()
    (said,) = caplog.messages
    assert said.startswith(f"package others_{name.replace('-', '_')}: ")
    assert complaint in said and said.endswith("It is left out.")
    assert len(said) < 500


@pytest.mark.usefixtures("anew")
def test_a_wrong_task_on_the_index_page_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    from baselines import catalog

    row = SystemEntry("odd", "Odd", "joint", ("rank",), "m:C")
    monkeypatch.setattr(catalog, "ENTRIES", (*catalog.ENTRIES, row))
    with pytest.raises(BenchmarkError, match="baselines: system 'odd': unknown task 'rank'"):
        entries()


def test_a_system_whose_module_raises_anything_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd_module.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    row = SystemEntry("odd", "Odd", "joint", ("search",), "odd_module:Odd")
    with pytest.raises(BenchmarkError, match="odd_module:Odd cannot be imported"):
        row.load()
