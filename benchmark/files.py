"""The only place that writes files which must be whole: one file at a time, or a folder at a time.

A file is written under a temporary name in its own folder, flushed to disk and renamed, so a reader
sees the old or the new file and never a part. A folder artifact is built under a temporary name and
ends with ``manifest.json`` (SHA-256 and length of every file); it is complete when its manifest is
there and true, which every load checks, since most formats load a flipped bit without complaint.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError

MANIFEST = "manifest.json"
_TEMPORARY = ".partial-"


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _as_bad_input(error: OSError, path: Path) -> BenchmarkError:
    return BenchmarkError(f"{path}: cannot be written ({error.strerror or error}).")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path``; when the block ends without an error, rename it there.

    Raises:
        BenchmarkError: the folder is read-only, full or not a folder.
    """
    temporary = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        _fsync_folder(path.parent)
    except OSError as error:
        raise _as_bad_input(error, path) from error
    finally:
        # A full disk makes the write fail and an unlink succeed; a vanished folder fails both.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path``, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write ``content`` as UTF-8 to ``path``, whole or not at all."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write strict JSON (no NaN, sorted keys, so that equal content gives equal bytes)."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        BenchmarkError: the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BenchmarkError(f"{path}: the file is missing.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BenchmarkError(f"{path}: is not readable as JSON ({error}).") from None


def sha256_of_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as opened:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_of_json(content: Any) -> str:
    """The SHA-256 of a JSON value, independent of the order of keys."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()


def columns_of(value: Any) -> list[NDArray[Any]]:
    """The fields of a dataclass whose fields are arrays, in their order."""
    return [getattr(value, field.name) for field in fields(value)]


def sha256_of_arrays(arrays: Iterable[NDArray[Any]]) -> str:
    """The SHA-256 of arrays in their order, with their shapes and types."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def write_manifest(folder: Path) -> None:
    """Write the manifest of everything now in ``folder``: the last step of making it complete."""
    files = {
        path.relative_to(folder).as_posix(): {
            "sha256": sha256_of_file(path),
            "bytes": path.stat().st_size,
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST and not path.name.startswith(_TEMPORARY)
    }
    write_json(folder / MANIFEST, {"files": files})


def is_complete(folder: Path) -> bool:
    """Whether ``folder`` has a manifest (its truth is checked by :func:`check_manifest`)."""
    return (folder / MANIFEST).is_file()


def check_manifest(folder: Path) -> None:
    """Compare every file of ``folder`` with its manifest.

    Raises:
        BenchmarkError: the manifest is none, or a file is missing, cut or changed.
    """
    content = read_json(folder / MANIFEST)
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, dict) or not all(
        isinstance(entry, dict) and {"bytes", "sha256"} <= entry.keys() for entry in files.values()
    ):
        raise BenchmarkError(f"{folder / MANIFEST}: is not a manifest of files.")
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise BenchmarkError(f"{path}: is missing although the manifest lists it.")
        if path.stat().st_size != expected["bytes"] or sha256_of_file(path) != expected["sha256"]:
            raise BenchmarkError(f"{path}: was changed since it was written (checksum differs).")


def build_folder(target: Path, build: Callable[[Path], None]) -> None:
    """Let ``build`` fill a temporary folder, then publish it as ``target`` with a manifest.

    A folder that another process published first is kept, since equal names mean equal content.

    Raises:
        BenchmarkError: the place is read-only or full.
    """
    temporary = target.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}-{target.name}")
    try:
        temporary.mkdir(parents=True)
        build(temporary)
        write_manifest(temporary)
        if is_complete(target):
            return
        if target.exists():
            shutil.rmtree(target)
        temporary.replace(target)
        _fsync_folder(target.parent)
    except OSError as error:
        raise _as_bad_input(error, target) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sweep_partial(folder: Path, older_than_seconds: float = 86_400.0) -> None:
    """Remove what killed writers left in ``folder``; young files may belong to a living one."""
    now = time.time()
    for path in folder.glob(f"**/{_TEMPORARY}*"):
        try:
            if now - path.stat().st_mtime < older_than_seconds:
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except FileNotFoundError:
            continue
