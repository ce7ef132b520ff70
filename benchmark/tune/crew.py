"""The processes of one command, which run the trials; one that dies is replaced.

A trial whose process dies is tried once more, and then recorded as failed, so that a system that
crashes takes no more than its trial. A command that is killed takes its processes with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

from rich.console import Console

from benchmark.errors import BenchmarkError
from benchmark.faults import MachineFault
from benchmark.run.child import Child
from benchmark.run.workers import Unwanted, devices_of
from benchmark.tune.journal import Ledger, open_journal
from benchmark.tune.studies import Study

_TRIES = 2
_TICK = 1.0  # seconds between two looks at whether trials are wanted
_BEGIN = "from benchmark.tune.worker import main; main({}, {})"


@dataclass
class _Worker(Child):
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
    of_name = {study.name: study for study in studies}

    def gives_up(name: str, number: int, failure: str) -> None:
        study = of_name[name]
        Ledger(study, open_journal(study.folder)).give_up(number, failure)

    with console.status("tuning") as status:

        def hears(news: Mapping[str, Any]) -> None:
            if news["kind"] == "progress":
                status.update(news["text"])
            elif news["kind"] in ("ended", "tells"):
                console.print(news["text"])

        devices = devices_of([study.job for study in studies], processes)
        sent = {study.name: study.sent() for study in studies}
        crew = Crew(sent, hears, gives_up, goes_on, devices)
        try:
            for _ in range(processes):
                crew.hire()
            crew.watch()
        finally:
            crew.dismiss()


class Crew:
    """Processes that run the trials of studies.

    Args:
        sent: name of a study → what its processes make it of.
        hears: is told what goes on: ``kind`` is progress, begins, ended or tells.
        gives_up: is told study, number and failure of a trial whose process has died twice.
        goes_on: is asked before each trial.
        devices: each process sees one of them, as evenly as can be; without them, what this one
            sees.
    """

    def __init__(
        self,
        sent: Mapping[str, Mapping[str, Any]],
        hears: Callable[[Mapping[str, Any]], None],
        gives_up: Callable[[str, int, str], None],
        goes_on: Callable[[], bool],
        devices: Sequence[str],
    ) -> None:
        self._sent, self._devices = sent, devices
        self._hears, self._gives_up, self._goes_on = hears, gives_up, goes_on
        self._workers: list[_Worker] = []
        self._deaths: dict[tuple[str, int], int] = {}

    def hire(self) -> None:
        """Start one more process."""
        worker = _Worker.started(_BEGIN, self._devices, self._workers, has_own_session=True)
        self._workers.append(worker)
        # One that has died meanwhile shows it when it is waited for.
        with suppress(BrokenPipeError, ConnectionResetError):
            worker.connection.send_bytes(json.dumps(list(self._sent.values())).encode())

    def watch(self, is_wanted: Callable[[], bool] | None = None) -> None:
        """Hear the processes until all are done.

        Raises:
            Unwanted: ``is_wanted``, which is asked about once a second, says no.
        """
        patience = None if is_wanted is None else _TICK
        while self._workers:
            if is_wanted is not None and not is_wanted():
                raise Unwanted
            speakers = {id(worker.connection): worker for worker in self._workers}
            for connection in wait([worker.connection for worker in self._workers], patience):
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
            worker.wait_or_kill()
            worker.close()
        self._workers.clear()

    def _forget(self, worker: _Worker) -> None:
        worker.close()
        self._workers.remove(worker)

    def _heard(self, worker: _Worker, news: Mapping[str, Any]) -> None:
        kind = news["kind"]
        if kind == "progress":
            self._hears(news)
        elif kind == "asks":
            with suppress(BrokenPipeError, ConnectionResetError):
                worker.connection.send_bytes(json.dumps(self._goes_on()).encode())
        elif kind == "begins":
            worker.trial = (news["study"], news["number"])
            self._hears(news)
        elif kind == "ended":
            worker.trial = None
            self._hears(news)
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
        self._deaths[worker.trial] = self._deaths.get(worker.trial, 0) + 1
        said = f"{self._sent[name]['job']['system']}, trial {number}: its process {how}"
        if self._deaths[worker.trial] < _TRIES:
            self._hears({"kind": "tells", "text": f"{said}; it is tried again."})
        else:
            self._hears({"kind": "tells", "text": f"{said} twice; it has failed."})
            self._gives_up(name, number, f"its process {how} twice.")
        self.hire()
