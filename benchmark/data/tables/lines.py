"""Text files line by line, plain or gzip: whatever is wrong is one sentence with file and line."""

from __future__ import annotations

import ast
import gzip
import io
import json
import re
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark.data.tables.faults import Faults
from benchmark.errors import quoted, shortened

LONGEST_LINE = 16 << 20  # bytes; a longer line is no record
_READ_AHEAD = 1 << 20  # bytes
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def lines_of(path: Path, faults: Faults, encoding: str = "utf-8") -> Iterator[tuple[int, str]]:
    """The number, from 1, and the text of each line that is not blank, without its line break.

    A byte order mark at the front is passed over. Where the file is missing, cut off, damaged or
    not in ``encoding``, or a line is too long, that is noted and the lines end.
    """
    number = 0
    try:
        with _opened(path) as opened:
            while line := opened.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    faults.add(path, number, "", f"is longer than {LONGEST_LINE >> 20} MB")
                    return
                if number == 1:
                    line = line.removeprefix(_BYTE_ORDER_MARK)
                text = line.decode(encoding).strip("\r\n")
                if text.strip():
                    yield number, text
    except FileNotFoundError:
        faults.add(path, 0, "", "the file is missing")
    except UnicodeDecodeError:
        faults.add(path, number, "", "is not UTF-8 text; save the file as UTF-8")
    except EOFError:
        faults.add(
            path,
            0,
            "",
            f"is cut off after row {number:,} (the gzip stream has no end); fetch it again",
        )
    except (OSError, zlib.error) as error:
        reason = shortened(str(error))
        faults.add(path, 0, "", f"cannot be read after row {number:,} ({reason})")


def _opened(path: Path) -> io.BufferedReader:
    if path.suffix != ".gz":
        return path.open("rb")
    # A reader around the stream: lines are then found in C, not one by one in Python.
    return io.BufferedReader(gzip.open(path, "rb"), _READ_AHEAD)


class NoRecord(ValueError):
    """A line is no record; the text says what it is instead."""


def record_of(line: str, *, is_literal: bool = False) -> dict[str, Any]:
    """A line that is a JSON object or, with ``is_literal``, maybe a Python literal.

    The metadata of 2014 are such literals.

    Raises:
        NoRecord: it is neither, or holds a key twice.
    """
    try:
        found = _DECODER.decode(line.strip())
    except (ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, NoRecord):
            raise
        found = literal(line) if is_literal else None
    if found is not None and not isinstance(found, dict):
        raise NoRecord(f"is no object of keys and values but {_KINDS.get(type(found), 'a value')}")
    if found is None:
        raise NoRecord(
            "is neither JSON nor a Python literal" if is_literal else "is no JSON object"
        )
    return found


_KINDS = {list: "a list", str: "a text", int: "a number", float: "a number", set: "a set"}


STRING = r"""'(?:[^'\\]|\\.)*'?|"(?:[^"\\]|\\.)*"?"""
"""A text as Python and JSON write it, or the rest where it is never closed: found in one pass."""

_STRING = re.compile(STRING, re.DOTALL)
_SIDE_BY_SIDE = re.compile(r'"[\s\\]*\w*"')


def literal(text: str) -> Any:
    """The value of a Python literal; None for any other text.

    Raises:
        NoRecord: it holds a key twice, or two texts side by side, which Python would make one
            text of and NumPy writes for two.
    """
    if _SIDE_BY_SIDE.search(_STRING.sub('"', text)):
        raise NoRecord("holds two texts without a comma between them")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of data, nobody's code
            tree = ast.parse(text.strip(), mode="eval")
            found = ast.literal_eval(tree)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
    _check_keys(tree.body)
    return found


def _check_keys(node: ast.expr) -> None:
    """Refuse a literal that gives a key of one mapping twice."""
    nodes = [node]
    while nodes:
        one = nodes.pop()
        if isinstance(one, ast.Dict):
            keys = [ast.literal_eval(key) for key in one.keys if key is not None]
            _check_distinct(keys)
            inner = one.values
        else:
            inner = one.elts if isinstance(one, (ast.List, ast.Tuple)) else []
        nodes += [part for part in inner if isinstance(part, (ast.Dict, ast.List, ast.Tuple))]


def _with_distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        _check_distinct([key for key, _ in pairs])
    return found


def _check_distinct(keys: list[Any]) -> None:
    seen: set[Any] = set()
    for key in keys:
        if key in seen:
            raise NoRecord(f"the key {quoted(key)} stands twice")
        seen.add(key)


_DECODER = json.JSONDecoder(object_pairs_hook=_with_distinct_keys)
