"""Which state of its source file each module of this process was loaded from.

A source may be changed while a process that has loaded it goes on. What then runs is the old code,
and the file no longer says what that is. So the state of the file (times of change, size) is noted
in the moment in which Python looks for the module; see :mod:`benchmark.systems.provenance`.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from benchmark.errors import BenchmarkError

Stamp = tuple[int, int, int]
"""When a file's content and when its entry were last changed, in nanoseconds, and its bytes."""

_at_load: dict[str, Stamp] = {}


def stamp_of(path: Path) -> Stamp:
    """The state of a file now.

    Raises:
        OSError: there is no such file.
    """
    found = path.stat()
    return (found.st_mtime_ns, found.st_ctime_ns, found.st_size)


def stamp_at_load(module: str, path: Path) -> Stamp | None:
    """The state of ``path`` from which ``module`` was loaded; None if it is not loaded.

    A module that was loaded before this one, when nobody took notes, counts as loaded from what its
    file holds when this is first asked.
    """
    if module not in sys.modules:
        return None
    if module not in _at_load:
        _at_load[module] = stamp_of(path)
    return _at_load[module]


class _Notes(MetaPathFinder):
    """Looks on while modules are searched for, and leaves the finding to the others."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> None:
        """Note the state of the source of ``fullname``; packages that were installed are left out.

        Returns:
            None always, so that the search goes on.
        """
        if path and "site-packages" in next(iter(path), ""):
            return
        found: ModuleSpec | None = PathFinder.find_spec(fullname, path)
        if found is not None and found.origin is not None:
            with suppress(OSError):
                _at_load[fullname] = stamp_of(Path(found.origin))


def watch() -> None:
    """Take notes from now on; a second call changes nothing."""
    if not any(isinstance(finder, _Notes) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Notes())


def sources_as_loaded(package: str) -> dict[str, str]:
    """Module → SHA-256 of its source, for a module or a package with all that is below it.

    Raises:
        BenchmarkError: a source was changed after this process had loaded it, so that the file no
            longer says what runs here.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise BenchmarkError(f"{package}: there is no such module.")
    place = Path(spec.origin)
    paths = [place] if place.name != "__init__.py" else sorted(place.parent.rglob("*.py"))
    digests = {}
    for path in paths:
        below = path.relative_to(place.parent).with_suffix("") if len(paths) > 1 else Path()
        parts = [part for part in below.parts if part != "__init__"]
        module = ".".join([package, *parts])
        at_load = stamp_at_load(module, path)
        content = path.read_bytes()
        if at_load is not None and at_load != stamp_of(path):
            raise BenchmarkError(
                f"{path}: was changed after this process had loaded it, so nothing is kept under "
                "its name; start the command again."
            )
        digests[module] = hashlib.sha256(content).hexdigest()
    return digests
