"""Functions as machine code, by the optional package numba."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])


def can_compile() -> bool:
    """Whether numba is installed."""
    return find_spec("numba") is not None


def compiled(function: Function) -> Function:
    """The function as machine code, or itself where numba is absent.

    The code is kept on disk between processes, where a folder for it is writable.
    """
    if not can_compile():
        return function
    njit = import_module("numba").njit
    try:
        return cast(Function, njit(nogil=True, cache=True)(function))
    except RuntimeError:  # no folder is writable
        return cast(Function, njit(nogil=True)(function))
