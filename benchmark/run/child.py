"""A Python process of ours at the other end of a pipe: how it begins, and how it ends."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Self

from benchmark.faults import MachineFault
from benchmark.jobs.machine import least_held

_PATIENCE = 10.0  # seconds that a process has to end when it is told to


@dataclass
class Child:
    """``alive`` is the end of a pipe by which the process sees that this one lives.

    ``device`` is the only one that it sees; None where it sees what this process does.
    """

    process: subprocess.Popen[bytes]
    connection: Connection
    alive: int
    device: str | None = None

    @classmethod
    def started(
        cls,
        begin: str,
        devices: Sequence[str],
        others: Sequence[Child],
        *,
        has_own_session: bool = False,
    ) -> Self:
        """A new interpreter: a process with threads, or with a GPU in use, cannot be forked.

        Nor would ``multiprocessing`` do, which runs the script again that asked for the process.

        Args:
            begin: what it runs; the two pairs of braces are the numbers of its ends of the pipes.
            devices: of which it sees the one that the fewest ``others`` see.
            has_own_session: whether a terminal's Ctrl-C is for this process alone.

        Raises:
            MachineFault: no process can be started.
        """
        device = least_held(devices, [other.device for other in others])
        own = {} if device is None else {"CUDA_VISIBLE_DEVICES": device}
        paths = os.pathsep.join(map(os.path.abspath, sys.path))
        try:
            ours, theirs = multiprocessing.Pipe()
            lives, alive = os.pipe()
            process = subprocess.Popen(
                [sys.executable, "-c", begin.format(theirs.fileno(), lives)],
                pass_fds=(theirs.fileno(), lives),
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": paths, **own},
                start_new_session=has_own_session,
            )
        except OSError as error:
            raise MachineFault(f"no process could be started ({error.strerror}).") from error
        theirs.close()
        os.close(lives)
        return cls(process, ours, alive, device)

    def wait_or_kill(self) -> None:
        """Give it a while to end, as it was told to; then end it."""
        try:
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def close(self) -> None:
        """Close this process's ends of the pipes."""
        self.connection.close()
        os.close(self.alive)
