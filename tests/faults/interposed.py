"""Calls by which a suite changes what is stored, each a place where it can be stopped or fail.

Python's own calls are wrapped where they are looked up; writers in C++ and Rust (Arrow, torch,
safetensors) are wrapped as a whole and fail with the exceptions that they raise themselves.
"""

from __future__ import annotations

import builtins
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from benchmark.kit import modules as kit_modules


class Calls:
    """Counts the calls below ``root``, and does something at some of them.

    ``at(number, name)`` is asked before each call, counted from 1; it may end the process, raise an
    ``OSError``, or return.
    """

    def __init__(self, root: Path, at: Callable[[int, str], None]) -> None:
        self.root = str(root)
        self.at = at
        self.number = 0

    def install(self) -> None:
        """Wrap the calls, in a process that is thrown away afterwards."""
        self._wrap(os, "fsync", lambda descriptor: f"/proc/self/fd/{descriptor}")
        for name in ("replace", "rename", "mkdir", "unlink", "rmdir", "open"):
            self._wrap(os, name, lambda path, *_: path)
        opened = io.open

        def checked_open(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
            if set(mode) & set("wax+"):
                self._called("open", file)
            return opened(file, mode, *arguments, **named)

        # The overloads of open are many; the wrapped one passes all of them on.
        io.open = builtins.open = checked_open  # type: ignore[assignment]
        self._wrap(pq, "write_table", lambda table, path, *_: path)
        self._wrap(np, "savez", lambda path, *_: path)
        for owner, name, texts in (
            (
                torch,
                "save",
                "[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598",
            ),
            (kit_modules, "save_file", "I/O error: {} (os error {})"),
        ):
            self._wrap(owner, name, lambda content, path, *_: path, texts)

    def _wrap(
        self, owner: Any, name: str, path_of: Callable[..., Any], text: str | None = None
    ) -> None:
        call = getattr(owner, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            try:
                self._called(name, path_of(*arguments))
            except OSError as error:
                if text is None:
                    raise
                raise RuntimeError(text.format(error.strerror, error.errno)) from None
            return call(*arguments, **named)

        setattr(owner, name, wrapped)

    def _called(self, name: str, path: Any) -> None:
        path = getattr(path, "name", path) if hasattr(path, "write") else path
        if isinstance(path, int):
            return
        place = os.fspath(path)
        if place.startswith("/proc/self/fd/"):
            place = os.readlink(place)  # noqa: PTH115 - a wrapped call must not call another
        if isinstance(place, str) and place.startswith(self.root) and "/locks/" not in place:
            self.number += 1
            self.at(self.number, name)
