"""Text files line by line, plain or gzip: whatever is wrong is one sentence with file and line."""

from __future__ import annotations

import ast
import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """The number, from 1, and the text of each line that is not blank, without its line break.

    Raises:
        BenchmarkError: the file is missing, cut off, damaged or not UTF-8.
    """
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as opened:
            for number, line in enumerate(opened, start=1):
                text = line.decode("utf-8").strip("\r\n")
                if text.strip():
                    yield number, text
    except FileNotFoundError:
        raise BenchmarkError(f"{path}: the file is missing.") from None
    except UnicodeDecodeError:
        raise BenchmarkError(f"{path}: row {number:,}: is not UTF-8 text.") from None
    except EOFError:
        raise BenchmarkError(
            f"{path}: is cut off after row {number:,} (the gzip stream has no end); fetch it again."
        ) from None
    except (OSError, zlib.error) as error:
        raise BenchmarkError(f"{path}: cannot be read after row {number:,} ({error}).") from None


def record_of(path: Path, number: int, line: str) -> dict[str, Any]:
    """A line that is a JSON object or, as in the metadata of 2014, a Python literal.

    Raises:
        BenchmarkError: it is neither.
    """
    try:
        found = json.loads(line) if line.startswith('{"') else ast.literal_eval(line)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        try:
            found = ast.literal_eval(line)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            found = None
    if not isinstance(found, dict):
        raise BenchmarkError(f"{path}: row {number:,}: is neither JSON nor a Python literal.")
    return found
