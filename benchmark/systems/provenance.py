"""Which code and which libraries a result comes from.

The code is the sources that a system's module reaches through first-party imports; comments and
layout do not count. Jobs, and artifacts that hold something trained, are named by it.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from benchmark.files import sha256_of_json

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

_ALWAYS = ("benchmark.runs.evaluation", "benchmark.protocol.task")


@lru_cache(maxsize=1)
def library_versions() -> dict[str, str]:
    """The installed versions of the libraries that decide numbers."""
    versions = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "absent"
    return versions


@lru_cache(maxsize=4096)
def _source_of(module: str) -> Path | None:
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin is not None else None


@lru_cache(maxsize=4096)
def _digest_and_imports(path: Path) -> tuple[str, tuple[str, ...]]:
    """A hash of one source file's syntax tree, and the modules that it may import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return hashlib.sha256(ast.dump(tree).encode("utf-8")).hexdigest(), tuple(names)


@lru_cache(maxsize=1024)
def code_fingerprint(module: str) -> str:
    """A hash over the sources that ``module`` and the evaluation reach by first-party imports.

    First-party is what stands in a top-level package of this project, or in that of ``module``.
    """
    first_party = {__name__.partition(".")[0], module.partition(".")[0]}
    first_party |= _packages_beside(module)
    waiting, digests = [module, *_ALWAYS], {}
    while waiting:
        name = waiting.pop()
        if name in digests or name.partition(".")[0] not in first_party:
            continue
        path = _source_of(name)
        if path is None or path.suffix != ".py":
            continue
        digests[name], imports = _digest_and_imports(path)
        waiting.extend(imports)
    return sha256_of_json(digests)


def _packages_beside(module: str) -> set[str]:
    """Top-level packages that stand in the same folder as ``module``'s own, as in this project."""
    path = _source_of(module.partition(".")[0])
    own = _source_of(__name__.partition(".")[0])
    if path is None or own is None or path.parent.parent != own.parent.parent:
        return set()
    return {place.parent.name for place in own.parent.parent.glob("*/__init__.py")}
