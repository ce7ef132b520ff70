"""No golden file lies unread: each is read by one test of this folder, or is pending by name."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.golden.loading import golden_files

PENDING: frozenset[str] = frozenset()
"""Files of systems that are not built yet. This list only ever shrinks."""


def _patterns() -> list[tuple[str, str]]:
    """(pattern, suffix) of every ``golden_stems`` call in this folder's tests."""
    found = []
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "golden_stems":
                values = [ast.literal_eval(argument) for argument in node.args]
                named = {word.arg: ast.literal_eval(word.value) for word in node.keywords}
                found.append((values[0], named.get("suffix", ".npz")))
    return found


def _files() -> list[Path]:
    return golden_files(".npz") + golden_files(".json")


# The files are no part of the project, and a clone may stand without them; whoever has them names
# their folders, and where one is there nothing is skipped.
@pytest.mark.skipif(not _files(), reason="the golden folders are absent")
def test_every_file_is_read_or_pending() -> None:
    patterns = set(_patterns())
    for path in _files():
        readers = [
            pattern
            for pattern, suffix in patterns
            if suffix == path.suffix and re.fullmatch(pattern, path.stem)
        ]
        if path.stem.removesuffix("_held") in PENDING:
            assert not readers, f"{path.name} is read by a test: take it off the pending list"
        else:
            assert len(readers) == 1, f"{path.name} is read by {len(readers)} tests, not by one"
