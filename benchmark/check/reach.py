"""All that an object holds, private attributes included: what a system could find if it searched.

A system is no opponent that reads frames or the interpreter's heap, and such tricks are not looked
for. What hangs on a view or a request by attributes, containers, closures or shared memory is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import FunctionType, MethodType
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PLAIN = (str, bytes, int, float, bool, type(None), np.generic)


def held_by(value: Any) -> dict[str, Any]:
    """Every array and plain value that ``value`` leads to, by the path to it."""
    return dict(_walk(value, type(value).__name__, set()))


def arrays_held_by(value: Any) -> Iterator[NDArray[Any]]:
    """The arrays among :func:`held_by`."""
    return (one for one in held_by(value).values() if isinstance(one, np.ndarray))


def first_difference(here: Any, there: Any) -> str | None:
    """The path at which two objects hold something different, None if there is none."""
    one, other = held_by(here), held_by(there)
    for path in sorted(one.keys() | other.keys()):
        if path not in one or path not in other or not _equal(one[path], other[path]):
            return path
    return None


def _walk(value: Any, path: str, visited: set[int]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, _PLAIN):
        yield path, value
        return
    if id(value) in visited:
        return
    visited.add(id(value))
    if isinstance(value, np.ndarray):
        yield path, value
        yield from _walk(value.base, f"{path}.base", visited)
        return
    for name, part in _parts(value):
        yield from _walk(part, f"{path}{name}", visited)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield f"[{key!r}]", part
    elif isinstance(value, (list, tuple, set, frozenset)):
        for number, part in enumerate(value):
            yield f"[{number}]", part
    elif isinstance(value, MethodType):
        yield ".__self__", value.__self__
        yield ".__func__", value.__func__
    elif isinstance(value, FunctionType):
        for number, cell in enumerate(value.__closure__ or ()):
            yield f".__closure__[{number}]", cell.cell_contents
    elif not isinstance(value, type):
        for name, part in getattr(value, "__dict__", {}).items():
            yield f".{name}", part


def _equal(here: Any, there: Any) -> bool:
    if isinstance(here, np.ndarray) and isinstance(there, np.ndarray):
        return here.dtype == there.dtype and np.array_equal(here, there)
    return type(here) is type(there) and bool(here == there)
