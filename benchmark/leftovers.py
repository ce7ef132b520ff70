"""What killed writers and forgotten work leave behind, found by name and age and removed.

Nothing of a living writer goes: what it works on has a lock that it holds, or is young.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from benchmark.faults import MachineFault
from benchmark.files import PARTIAL, finished_in, remove_folder
from benchmark.locks import LockedElsewhere, is_free, locked

LEFT_FOR_DEAD = 86_400.0
"""Seconds after which the temporary file or folder of a writer that holds no lock is left over."""
ABANDONED = 30 * 86_400.0
"""Seconds after which unfinished work that nobody asks for is removed."""
_TEMPORARY_NAME = re.compile(re.escape(PARTIAL) + r"[0-9a-f]{32}-(.+)", re.DOTALL)
_NAME_BY_CONTENT = re.compile(r".+-[0-9a-f]{16,24}", re.DOTALL)


def sweep_partial(
    folder: Path,
    lock_of: Callable[[str], Path | None] = lambda target: None,
    *,
    is_ours: bool = False,
) -> None:
    """Remove what killed writers left below ``folder``.

    Args:
        lock_of: the lock file that the writer of the file or folder of a name holds, if it has one.
            What is locked stays and what is not goes; without a lock, the young stay, since they
            may belong to a living writer.
        is_ours: nobody but the caller may write below the folder now, so that all of it goes.
    """
    for path in list(_partial_below(folder)):
        target = _TEMPORARY_NAME.fullmatch(path.name)
        lock = lock_of(target[1]) if target else None
        with suppress(OSError):
            if is_ours or (is_free(lock) if lock else _is_old(path)):
                _remove_partial(path)


def sweep_partial_of(path: Path) -> None:
    """Remove what killed writers and removers of ``path`` left beside it.

    The caller is the only one who may write it now, so that nothing of a living writer goes.
    """
    for partial in list(path.parent.glob(f"{PARTIAL}*")):
        target = _TEMPORARY_NAME.fullmatch(partial.name)
        if target and target[1] == path.name:
            with suppress(OSError):
                _remove_partial(partial)


def _is_old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime >= LEFT_FOR_DEAD


def _remove_partial(path: Path) -> None:
    is_folder = path.is_dir() and not path.is_symlink()
    shutil.rmtree(path) if is_folder else path.unlink()


def lock_by_content(root: Path) -> Callable[[str], Path | None]:
    """``lock_of`` for a folder whose folders are named by a hash, with a lock file beside each."""

    def lock_of(target: str) -> Path | None:
        return root / f"{target}.lock" if _NAME_BY_CONTENT.fullmatch(target) else None

    return lock_of


def _partial_below(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        yield from (Path(folder, name) for name in (*folders, *files) if _is_name_of_partial(name))
        folders[:] = [name for name in folders if not _is_name_of_partial(name)]


def _is_name_of_partial(name: str) -> bool:
    return name.startswith(PARTIAL)


def seconds_untouched(path: Path) -> float:
    """Seconds since ``path``, or anything in it, was last written; 0 if it is no more."""
    try:
        newest = path.stat().st_mtime
        for folder, _, files in os.walk(path):
            newest = max(newest, Path(folder).stat().st_mtime)
            for name in files:
                newest = max(newest, Path(folder, name).stat().st_mtime)
    except OSError:
        return 0.0
    return time.time() - newest


def sweep_abandoned(folder: Path, suffix: str) -> None:
    """Remove the folders of unfinished work called ``*suffix`` that nobody went on with for long.

    Each is the work of whoever holds the lock of its name with ``.lock`` instead of ``suffix``.
    """
    for path in finished_in(folder, f"*{suffix}"):
        lock = path.with_name(path.name.removesuffix(suffix) + ".lock")
        if seconds_untouched(path) >= ABANDONED:
            with suppress(LockedElsewhere, MachineFault, OSError), locked(lock, waits=False):
                remove_folder(path)


def sweep_locks(folder: Path, pattern: str = "*.lock") -> None:
    """Remove old lock files that nobody holds from ``folder``; each is held while it goes.

    A process that waits for one finds it gone, and takes the next one of that name.
    """
    for path in list(folder.glob(pattern)) if folder.is_dir() else ():
        if seconds_untouched(path) >= LEFT_FOR_DEAD:
            with suppress(LockedElsewhere, MachineFault, OSError), locked(path, waits=False):
                path.unlink()
