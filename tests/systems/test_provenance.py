"""Which source a process has loaded, when files change while it goes on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module, reload
from pathlib import Path

import pytest

from benchmark.errors import BenchmarkError
from benchmark.systems.provenance import code_digests, code_fingerprint, loaded_from_others

MAIN = "from toyshop.near import VALUE\nfrom .far import OTHER\n"


@pytest.fixture
def toyshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with ``main``, which imports ``near`` by name and ``far`` relatively."""
    place = tmp_path / "toyshop"
    place.mkdir()
    for name, text in (
        ("__init__", ""),
        ("main", MAIN),
        ("near", "VALUE = 1\n"),
        ("far", "OTHER = 1\n"),
    ):
        (place / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    # The place of a top-level package is remembered, and each test has its own.
    from benchmark.systems import provenance

    provenance._source_of.cache_clear()
    yield place
    for name in [name for name in sys.modules if name.partition(".")[0] == "toyshop"]:
        del sys.modules[name]
    provenance._source_of.cache_clear()


def own(digests: dict[str, str]) -> set[str]:
    return {name for name in digests if name.startswith("toyshop")}


def test_what_is_imported_by_name_and_relatively_counts(toyshop: Path) -> None:
    assert own(code_digests("toyshop.main")) == {"toyshop.main", "toyshop.near", "toyshop.far"}
    before = code_fingerprint("toyshop.main")
    (toyshop / "far.py").write_text("OTHER = 22\n")
    assert code_fingerprint("toyshop.main") != before


def test_looking_loads_nothing(toyshop: Path) -> None:
    code_digests("toyshop.main")
    assert not [name for name in sys.modules if name.startswith("toyshop")]


def test_comments_and_layout_do_not_count(toyshop: Path) -> None:
    before = code_fingerprint("toyshop.main")
    (toyshop / "near.py").write_text("# one\n\nVALUE   =   1\n")
    assert code_fingerprint("toyshop.main") == before


def test_the_code_is_what_was_loaded_whatever_the_file_holds_now(toyshop: Path) -> None:
    import_module("toyshop.main")
    before = code_digests("toyshop.main")
    (toyshop / "near.py").write_text("VALUE = 22\n")
    assert code_digests("toyshop.main") == before
    assert loaded_from_others(before) == []
    reload(sys.modules["toyshop.near"])
    assert code_digests("toyshop.main") != before
    assert loaded_from_others(before) == ["toyshop.near"]


def test_what_was_loaded_after_a_change_is_found(toyshop: Path) -> None:
    planned = code_digests("toyshop.main")
    (toyshop / "far.py").write_text("OTHER = 22\n")
    assert loaded_from_others(planned) == []  # nothing is loaded yet
    import_module("toyshop.main")
    assert loaded_from_others(planned) == ["toyshop.far"]


def test_a_file_changed_between_loading_and_the_first_look_is_refused(toyshop: Path) -> None:
    import_module("toyshop.main")
    (toyshop / "near.py").write_text("VALUE = 22\n")
    with pytest.raises(BenchmarkError, match=r"near\.py: was changed after this process had"):
        code_digests("toyshop.main")


def test_a_file_that_is_no_python_is_one_sentence(toyshop: Path) -> None:
    (toyshop / "near.py").write_text("VALUE = (\n")
    with pytest.raises(BenchmarkError, match=r"near\.py: is not Python \(.*line 1\)\."):
        code_digests("toyshop.main")


NEAR = '''
class Near:
    """Text."""

    def far(self, width: int = 0, *more: int, **others: int) -> str:
        return f"{width:>{len(more)}.{width}f}" + "".join([]) + str(None)
'''
BY_PYTHON_3_11 = "47c206fc8037976cd63699648a13445018cb7673092c52708ef9d0e7874cac4b"
"""SHA-256 of `ast.dump(ast.parse(NEAR))` in Python 3.11; that of 3.12 and that of 3.13 differ."""


def test_a_source_has_one_hash_on_every_python(toyshop: Path) -> None:
    (toyshop / "near.py").write_text(NEAR)
    assert code_digests("toyshop.main")["toyshop.near"] == BY_PYTHON_3_11
