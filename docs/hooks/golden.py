"""Which tests pin a system to numbers of its original, and which golden files they read.

Both are read off the sources of ``tests/golden``: a test file belongs to the systems whose module
it, or a module of that folder that it imports, imports; its files are those of its calls of
``golden_stems``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from docs.hooks.differences import ROOT

GOLDEN_TESTS = ROOT / "tests" / "golden"


@dataclass(frozen=True)
class GoldenTest:
    """One file of tests: the modules that it pins, and the patterns of the files that it reads."""

    path: str  # relative to the repository
    modules: frozenset[str]
    patterns: tuple[str, ...]  # regular expressions of a file's name without its suffix


@cache
def golden_tests() -> tuple[GoldenTest, ...]:
    """Every file of golden tests, by name."""
    return tuple(_read(path) for path in sorted(GOLDEN_TESTS.glob("test_*.py")))


def tests_of(names: Sequence[str], module: str) -> list[GoldenTest]:
    """The golden tests of the rows that share a module.

    Those that import the module and read files of one of the names; where none does, those that
    import it, or else read such files.

    >>> [test.path for test in tests_of(["hstu", "hstu-time"], "baselines.sequential.hstu")]
    ['tests/golden/test_hstu.py']
    """

    def reads_its_files(test: GoldenTest) -> bool:
        return any(
            re.fullmatch(pattern, name) or pattern.startswith(f"{name}_")
            for pattern in test.patterns
            for name in names
        )

    importing = [test for test in golden_tests() if module in test.modules]
    reading = [test for test in golden_tests() if reads_its_files(test)]
    both = [test for test in reading if test in importing or not _imports_any_system(test)]
    return both or importing or reading


def _imports_any_system(test: GoldenTest) -> bool:
    return any(module.startswith("baselines.") for module in test.modules)


def _read(path: Path) -> GoldenTest:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    patterns = dict.fromkeys(_patterns(tree))
    return GoldenTest(path.relative_to(ROOT).as_posix(), frozenset(_modules(path)), tuple(patterns))


def _patterns(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "golden_stems":
            yield from (str(ast.literal_eval(pattern)) for pattern in node.args[:1])


def _modules(path: Path) -> Iterator[str]:
    """What a file imports of the systems, itself or by way of its own folder."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        if node.module.startswith(("baselines.", "gensar.")):
            yield node.module
        beside = GOLDEN_TESTS / f"{node.module.rpartition('.')[2]}.py"
        if node.module.startswith("tests.golden.") and beside.name != "loading.py":
            yield from _modules(beside)
