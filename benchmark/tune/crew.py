"""The processes of one command, which run the trials; one that dies is replaced.

A trial whose process dies is tried once more, and then recorded as failed, so that a system that
crashes takes no more than its trial. A command that is killed takes its processes with it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from rich.console import Console
from rich.status import Status

from benchmark.errors import BenchmarkError
from benchmark.faults import MachineFault
from benchmark.run.workers import devices_of
from benchmark.runs.machine import least_held
from benchmark.tune.journal import Ledger, open_journal
from benchmark.tune.studies import Study

_TRIES = 2
_PATIENCE = 10.0  # seconds that a process has to end when it is told to
_BEGIN = "from benchmark.tune.worker import main; main({}, {})"


@dataclass
class _Worker:
    """``alive`` is the end of a pipe by which the process sees that the command lives."""

    process: subprocess.Popen[bytes]
    connection: Connection
    alive: int
    device: str | None = None
    trial: tuple[str, int] | None = None


def run_studies(
    studies: Sequence[Study], processes: int, console: Console, goes_on: Callable[[], bool]
) -> None:
    """Run the trials of studies on one data set until none is left to run.

    ``goes_on`` is asked before each trial; when it says no, those that run are run to their end.

    Raises:
        BenchmarkError: the input is bad, or the code has changed.
        MachineFault: no process can be started, or the results cannot be written.
    """
    with console.status("tuning") as status:
        jobs = [study.job for study in studies]
        crew = _Crew(studies, console, status, goes_on, devices_of(jobs, processes))
        try:
            for _ in range(processes):
                crew.hire()
            crew.watch()
        finally:
            crew.dismiss()


class _Crew:
    def __init__(
        self,
        studies: Sequence[Study],
        console: Console,
        status: Status,
        goes_on: Callable[[], bool],
        devices: Sequence[str],
    ) -> None:
        self._devices = devices
        self._studies = {study.name: study for study in studies}
        self._console, self._status, self._goes_on = console, status, goes_on
        self._workers: list[_Worker] = []
        self._deaths: dict[tuple[str, int], int] = {}

    def hire(self) -> None:
        """Start one more process."""
        # A new interpreter: a process with threads, or with a GPU in use, cannot be forked.
        device = least_held(self._devices, [worker.device for worker in self._workers])
        own = {} if device is None else {"CUDA_VISIBLE_DEVICES": device}
        paths = os.pathsep.join(map(os.path.abspath, sys.path))
        try:
            ours, theirs = multiprocessing.Pipe()
            command, alive = os.pipe()
            process = subprocess.Popen(
                [sys.executable, "-c", _BEGIN.format(theirs.fileno(), command)],
                pass_fds=(theirs.fileno(), command),
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": paths, **own},
                start_new_session=True,  # a terminal's Ctrl-C is for the command
            )
        except OSError as error:
            raise MachineFault(f"no process could be started ({error.strerror}).") from error
        theirs.close()
        os.close(command)
        worker = _Worker(process, ours, alive, device)
        self._workers.append(worker)
        sent = [study.sent() for study in self._studies.values()]
        # One that has died meanwhile shows it when it is waited for.
        with suppress(BrokenPipeError, ConnectionResetError):
            ours.send_bytes(json.dumps(sent).encode())

    def watch(self) -> None:
        """Hear the processes until all are done."""
        while self._workers:
            speakers = {id(worker.connection): worker for worker in self._workers}
            for connection in wait([worker.connection for worker in self._workers]):
                worker = speakers[id(connection)]
                try:
                    self._heard(worker, json.loads(worker.connection.recv_bytes()))
                except (EOFError, ConnectionResetError):
                    self._died(worker)

    def dismiss(self) -> None:
        """End all processes; their trials are begun anew by the next command."""
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            try:
                worker.process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            self._forget(worker, is_listed=False)
        self._workers.clear()

    def _forget(self, worker: _Worker, is_listed: bool = True) -> None:
        worker.connection.close()
        os.close(worker.alive)
        if is_listed:
            self._workers.remove(worker)

    def _heard(self, worker: _Worker, news: Mapping[str, Any]) -> None:
        kind = news["kind"]
        if kind == "progress":
            self._status.update(news["text"])
        elif kind == "asks":
            with suppress(BrokenPipeError, ConnectionResetError):
                worker.connection.send_bytes(json.dumps(self._goes_on()).encode())
        elif kind == "begins":
            worker.trial = (news["study"], news["number"])
        elif kind == "ended":
            worker.trial = None
            self._console.print(news["text"])
        elif kind == "stopped":
            raise BenchmarkError(news["text"])
        elif kind == "broken":
            raise RuntimeError(f"the suite itself failed.\n{news['text']}")
        else:
            worker.process.wait()
            self._forget(worker)

    def _died(self, worker: _Worker) -> None:
        code = worker.process.wait()
        self._forget(worker)
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        if worker.trial is None:
            raise MachineFault(f"tuning: a process {how} outside of any trial.")
        name, number = worker.trial
        study = self._studies[name]
        self._deaths[worker.trial] = self._deaths.get(worker.trial, 0) + 1
        said = f"{study.job.system}, trial {number}: its process {how}"
        if self._deaths[worker.trial] < _TRIES:
            self._console.print(f"{said}; it is tried again.")
        else:
            self._console.print(f"{said} twice; it has failed.")
            ledger = Ledger(study, open_journal(study.folder))
            ledger.give_up(number, f"its process {how} twice.")
        self.hire()
