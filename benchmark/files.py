"""The only place that writes files which must be whole: one file at a time, or a folder at a time.

A file is written under a temporary name in its own folder, flushed to disk and renamed, so a reader
sees the old or the new file and never a part. A folder artifact is built under a temporary name and
ends with ``manifest.json`` (SHA-256 and length of every file); it is complete when its manifest is
there and true, which every load checks, since most formats load a flipped bit without complaint.
Folders are removed as they are published, by one renaming. What killed writers leave behind has a
name of its own, by which readers pass over it and :mod:`benchmark.leftovers` finds it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError, shortened
from benchmark.faults import MachineFault, machine_cause

MANIFEST = "manifest.json"

PARTIAL = ".partial-"
"""Begins the names of what writers have not published, or not finished removing."""
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_LARGEST_INTEGER = 2**63
_LONGEST_NAME = 255  # bytes, on all usual file systems


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_partial(path: Path) -> bool:
    """Whether ``path`` is what a writer has not published, or has not finished removing."""
    return path.name.startswith(PARTIAL)


def _temporary_beside(path: Path) -> Path:
    return path.with_name(f"{PARTIAL}{uuid.uuid4().hex}-{path.name}")


@contextmanager
def _faults_of_the_machine(path: Path, *, every_os_error: bool) -> Iterator[None]:
    """Make one sentence that names ``path`` of what the machine does to a writer."""
    try:
        yield
    except MachineFault:
        raise
    except Exception as error:
        cause = machine_cause(error)
        if cause is not None and cause.stops:
            reason = cause.reason
        elif every_os_error and isinstance(error, OSError):
            reason = error.strerror or str(error)
        else:
            raise
        raise MachineFault(f"{path}: cannot be written ({shortened(reason)}).") from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path``; when the block ends without an error, rename it there.

    Raises:
        MachineFault: the folder is read-only, full or not a folder.
    """
    temporary = _temporary_beside(path)
    try:
        with _faults_of_the_machine(path, every_os_error=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
            _fsync_folder(path.parent)
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


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write one array as npy, whole or not at all."""
    with atomic_path(path) as temporary, temporary.open("wb") as opened:
        np.save(opened, array, allow_pickle=False)


def read_json(path: Path) -> Any:
    """Read JSON as :func:`write_json` writes it: no NaN, no number beyond 64 bits, whole text.

    Raises:
        BenchmarkError: the file is missing, unreadable or not JSON.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = _STRICT_DECODER.decode(text)
        if _SURROGATE_ESCAPE.search(text):
            json.dumps(content, ensure_ascii=False).encode("utf-8")  # half a character has no bytes
    except FileNotFoundError:
        raise BenchmarkError(f"{path}: the file is missing.") from None
    except (OSError, ValueError, RecursionError) as error:
        reason = shortened(str(error))
        raise BenchmarkError(f"{path}: is not readable as JSON ({reason}).") from None
    return content


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{shortened(text)} is not a finite number")
    return value


def _whole(text: str) -> int:
    value = int(text) if len(text) < 21 else _LARGEST_INTEGER
    if abs(value) >= _LARGEST_INTEGER:
        raise ValueError(f"{shortened(text)} is beyond 64 bits")
    return value


_STRICT_DECODER = json.JSONDecoder(parse_float=_finite, parse_int=_whole, parse_constant=_finite)


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
        if path.is_file() and path.name != MANIFEST and not is_partial(path)
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
        _is_name_below(name) and isinstance(entry, dict) and {"bytes", "sha256"} <= entry.keys()
        for name, entry in files.items()
    ):
        raise BenchmarkError(f"{folder / MANIFEST}: is not a manifest of files.")
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise BenchmarkError(f"{path}: is missing although the manifest lists it.")
        if path.stat().st_size != expected["bytes"] or sha256_of_file(path) != expected["sha256"]:
            raise BenchmarkError(f"{path}: was changed since it was written (checksum differs).")


def _is_name_below(name: str) -> bool:
    """Whether a manifest may list it: a file in the folder or below it, which can exist."""
    parts = name.split("/")
    return "\0" not in name and all(
        part not in ("", ".", "..") and len(os.fsencode(part)) <= _LONGEST_NAME for part in parts
    )


def build_folder(target: Path, build: Callable[[Path], None]) -> None:
    """Let ``build`` fill a temporary folder, then publish it as ``target`` with a manifest.

    A folder that another process published first is kept, since equal names mean equal content.

    Raises:
        MachineFault: the place is read-only or full, also where ``build`` meets that.
    """
    temporary = _temporary_beside(target)
    try:
        with _faults_of_the_machine(target, every_os_error=True):
            temporary.mkdir(parents=True)
        # A file that ``build`` itself cannot find is no fault of the place it writes to.
        with _faults_of_the_machine(target, every_os_error=False):
            build(temporary)
        with _faults_of_the_machine(target, every_os_error=True):
            write_manifest(temporary)
            if is_complete(target):
                return
            remove_folder(target)
            temporary.replace(target)
            _fsync_folder(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder, a file or link in its place, or nothing; a reader finds it whole or not.

    Raises:
        MachineFault: it cannot be removed.
    """
    doomed = _temporary_beside(folder)
    try:
        if folder.is_symlink() or folder.is_file():  # somebody put it there
            folder.unlink()
            return
        folder.replace(doomed)
    except FileNotFoundError:
        return
    except OSError as error:
        raise MachineFault(f"{folder}: cannot be removed ({error.strerror}).") from error
    try:
        shutil.rmtree(doomed)
    except OSError as error:
        raise MachineFault(f"{doomed}: cannot be removed ({error.strerror}).") from error


def finished_in(folder: Path, pattern: str) -> list[Path]:
    """What is called ``pattern`` in ``folder``, in a stable order, without what writers left there.

    ``*`` matches the names of temporary files too, so a plain ``glob`` takes them for content.
    """
    return sorted(
        path
        for path in folder.glob(pattern)
        if not any(is_partial(part) for part in (path, *path.relative_to(folder).parents))
    )


def files_below(root: Path, names: Collection[str] | None = None) -> list[Path]:
    """Every file below ``root``, or those called one of ``names``, in a stable order.

    Folders that vanish meanwhile are passed over: other processes publish and remove them.
    """
    found = [
        Path(folder, name)
        for folder, _, files in os.walk(root)
        for name in files
        if names is None or name in names
    ]
    return sorted(found)
