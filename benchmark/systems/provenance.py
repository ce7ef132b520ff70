"""Which code and which libraries a result comes from.

The code is the sources that a system's module reaches through first-party imports; comments and
layout do not count. Jobs, and artifacts that hold something trained, are named by it. A process may
outlive its sources: of a module that it has loaded, the source is the one that was loaded.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from benchmark.errors import BenchmarkError
from benchmark.files import sha256_of_json
from benchmark.loaded import Stamp, stamp_at_load, stamp_of
from benchmark.systems.arithmetic import NATIVE, arithmetic

LIBRARIES = (
    "accelerate",
    "numpy",
    "recbole",
    "scikit-learn",
    "scipy",
    "sentence-transformers",
    "tokenizers",
    "torch",
    "transformers",
)

_ALWAYS = ("benchmark.jobs.evaluation", "benchmark.protocol.kept_tasks")


@lru_cache(maxsize=1)
def library_versions() -> dict[str, str]:
    """The installed versions of the libraries that decide numbers, and how they compute if asked.

    ``arithmetic`` stands there where it is not the processor's own.
    """
    versions = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "absent"
    if arithmetic() != NATIVE:
        versions["arithmetic"] = arithmetic()
    return versions


@lru_cache(maxsize=4096)
def _source_of(module: str) -> Path | None:
    """The source file of a module or package; found without loading anything."""
    top, *below = module.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not below:
        return Path(spec.origin) if spec.origin is not None else None
    for folder in spec.submodule_search_locations or ():
        place = Path(folder, *below)
        for path in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if path.is_file():
                return path
    return None


_Source = tuple[str, tuple[str, ...]]
"""A hash of one source file's syntax tree, and the modules that it may import."""

_known: dict[tuple[Path, Stamp], _Source] = {}


def _source(module: str, path: Path) -> _Source:
    """The source that this process has loaded or, where it has not yet, would load.

    Raises:
        BenchmarkError: the file was changed between the loading and the first look at it, so that
            nobody knows what was loaded; or it is no Python.
    """
    try:
        now = stamp_of(path)
        stamp = stamp_at_load(module, path) or now
        if (path, stamp) not in _known:
            if stamp != now:
                raise BenchmarkError(
                    f"{path}: was changed after this process had loaded it, so what runs here is "
                    "no longer on disk; start the command again."
                )
            _known[path, stamp] = _parsed(module, path)
    except OSError as error:
        raise BenchmarkError(f"{path}: cannot be read ({error.strerror}).") from None
    except SyntaxError as error:
        raise BenchmarkError(f"{path}: is not Python ({error.msg}, line {error.lineno}).") from None
    return _known[path, stamp]


def _parsed(module: str, path: Path) -> _Source:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = ".".join(
                [*(above if node.level else []), *([node.module] if node.module else [])]
            )
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return hashlib.sha256(_written(tree).encode("utf-8")).hexdigest(), tuple(names)


_WITH_EMPTY_LISTS = {"show_empty": True} if sys.version_info >= (3, 13) else {}


def _written(tree: ast.AST) -> str:
    """A syntax tree as Python 3.11 writes it, so that a source has one hash on every Python.

    Later ones leave empty lists out, name the type parameters of what has none, and may end a
    format specification with an empty text.
    """
    for node in ast.walk(tree):
        if not getattr(node, "type_params", True):
            delattr(node, "type_params")
        if isinstance(node, ast.JoinedStr):
            node.values = [
                part
                for part in node.values
                if not (isinstance(part, ast.Constant) and part.value == "")
            ]
    return ast.dump(tree, **_WITH_EMPTY_LISTS)


def code_digests(*modules: str) -> dict[str, str]:
    """Module → hash of its source, for all that ``modules`` and the evaluation import first-party.

    First-party is what stands in a top-level package of this project, or in that of ``modules``.
    Of what this process has loaded it is the source that was loaded, whatever the file holds now.

    Raises:
        BenchmarkError: a source was changed after it was loaded and before it was first looked at.
    """
    first_party = {__name__.partition(".")[0], *(name.partition(".")[0] for name in modules)}
    for module in modules:
        first_party |= _packages_beside(module)
    waiting, digests = [*modules, *_ALWAYS], dict[str, str]()
    while waiting:
        name = waiting.pop()
        if name in digests or name.partition(".")[0] not in first_party:
            continue
        path = _source_of(name)
        if path is None or path.suffix != ".py":
            continue
        digests[name], imports = _source(name, path)
        waiting.extend(imports)
    return digests


def code_fingerprint(module: str) -> str:
    """One hash over :func:`code_digests` of ``module``."""
    return sha256_of_json(code_digests(module))


def loaded_from_others(digests: Mapping[str, str]) -> list[str]:
    """Of the modules in ``digests`` those that this process has loaded from another source.

    What was changed on disk after it was loaded is none of them.

    Raises:
        BenchmarkError: see :func:`code_digests`.
    """
    others = []
    for module, digest in digests.items():
        path = _source_of(module)
        if module in sys.modules and path is not None and _source(module, path)[0] != digest:
            others.append(module)
    return others


def _packages_beside(module: str) -> set[str]:
    """Top-level packages that stand in the same folder as ``module``'s own, as in this project."""
    path = _source_of(module.partition(".")[0])
    own = _source_of(__name__.partition(".")[0])
    if path is None or own is None or path.parent.parent != own.parent.parent:
        return set()
    return {place.parent.name for place in own.parent.parent.glob("*/__init__.py")}
