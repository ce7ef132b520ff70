"""Locks between processes: files that belong to a living process, so a killed one leaves none held.

A lock file stays where it is after its release. Old ones are removed by
:func:`benchmark.leftovers.sweep_locks`, which holds them while it does so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from benchmark.faults import MachineFault


class LockedElsewhere(Exception):
    """Another process holds the lock, and nobody wants to wait for it."""


@contextmanager
def locked(
    path: Path, *, waits: bool = True, waiting: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Hold the lock file ``path``.

    Args:
        waits: whether to wait for another process that holds it.
        waiting: called once before the waiting begins.

    Raises:
        LockedElsewhere: another process holds it, and ``waits`` is false.
        MachineFault: the file cannot be a lock: it is a folder, may not be written, or lies on a
            disk that is full or knows no locks.
    """
    lock = FileLock(path)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not waits:
                raise LockedElsewhere(str(path)) from None
            waiting()
            lock.acquire()
    # filelock raises the second where the file system has no locks.
    except (OSError, NotImplementedError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise MachineFault(f"lock file {path}: cannot be used ({reason}).") from error
    try:
        yield
    finally:
        lock.release()


def is_free(path: Path) -> bool:
    """Whether nobody holds the lock file ``path``, or there is none."""
    if not path.exists():
        return True
    try:
        with locked(path, waits=False):
            return True
    except (LockedElsewhere, MachineFault):
        return False
