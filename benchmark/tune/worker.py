"""The process that runs trials, one after another, until the studies that it was given are done.

Whose turn it is, the journal says, so any number of such processes work on the same studies,
whichever command started them. A process ends with the command that started it.
"""

from __future__ import annotations

import json
import os
import threading
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.faults import MachineFault, machine_cause
from benchmark.locks import locked
from benchmark.systems.catalogue import choose
from benchmark.systems.view import TrainingView
from benchmark.tune.journal import Ledger, open_journal
from benchmark.tune.studies import Outcome, Study, received
from benchmark.tune.trial import clear_up, run_trial, view_for_tuning, warm_up


def main(orders: int, command: int) -> None:
    """Begin in a new process; the arguments are file descriptors.

    ``orders`` is a connection, over which the studies come and news goes; ``command`` a pipe whose
    other end the command holds while it lives.
    """
    threading.Thread(target=_end_with, args=(command,), daemon=True).start()
    connection = Connection(orders)
    studies = [received(one) for one in json.loads(connection.recv_bytes())]
    _Worker(connection).work(studies)


def _end_with(command: int) -> None:
    os.read(command, 1)
    os._exit(1)


class _Worker:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._goes_on = True

    def work(self, studies: Sequence[Study]) -> None:
        """Run what there is to run, and say how that ended."""
        try:
            self._run_all(studies)
        except BenchmarkError as error:
            self._tell(kind="stopped", text=str(error))
        except (OSError, MemoryError) as error:
            cause = machine_cause(error)
            reason = cause.reason if cause else str(error)
            self._tell(kind="stopped", text=str(MachineFault(f"tuning: stopped ({reason}).")))
        except Exception:  # of the suite's own code, not of a system
            self._tell(kind="broken", text=traceback.format_exc())
        else:
            self._tell(kind="done")

    def _run_all(self, studies: Sequence[Study]) -> None:
        view = view_for_tuning([study.job for study in studies])
        for study in studies:
            choose(study.job.system).entry.load()
        warm_up(studies[0].job)  # what libraries do when they are first used is nobody's effort
        ledgers = [Ledger(study, open_journal(study.folder)) for study in studies]
        while True:
            for ledger in ledgers:
                while not ledger.is_done() and self._may_begin():
                    if not self._runs_one(ledger, view):
                        break
            if not self._goes_on:
                return
            elsewhere = [lock for ledger in ledgers for lock in ledger.running_elsewhere()]
            if not elsewhere:
                return
            with locked(elsewhere[0]):
                pass  # it has ended, or its process has

    def _may_begin(self) -> bool:
        """Whether the command wants one more trial; once it wants none, it wants none ever."""
        if self._goes_on:
            self._tell(kind="asks")
            self._goes_on = json.loads(self._connection.recv_bytes())
        return self._goes_on

    def _runs_one(self, ledger: Ledger, view: TrainingView) -> bool:
        turn = ledger.take()
        if turn is None:
            return False
        study = ledger.study
        self._tell(kind="begins", study=study.name, number=turn.number)

        def progress(message: str) -> None:
            self._tell(kind="progress", text=f"{study.job.system}, trial {turn.number}: {message}")

        progress("fitting")
        outcome = run_trial(study, turn, view, progress)
        ledger.end(turn, outcome)
        clear_up(study, turn.number)
        self._tell(
            kind="ended",
            study=study.name,
            number=turn.number,
            text=f"{study.job.system}, trial {turn.number}: {_in_words(study, outcome)}",
        )
        return True

    def _tell(self, **news: Any) -> None:
        told: Mapping[str, Any] = news
        self._connection.send_bytes(json.dumps(told).encode())


def _in_words(study: Study, outcome: Outcome) -> str:
    took = f"{study.seconds(outcome.own):.1f} s"
    if outcome.artifacts:
        shared = sum(map(study.seconds, outcome.artifacts.values()))
        took += f" and {shared:.1f} s of artifacts"
    took += f" in {'CPU' if study.job.device == 'cpu' else 'device'} time"
    if outcome.failure:
        return f"failed after {took}: {outcome.failure}"
    if outcome.is_pruned:
        best = max(outcome.curve, default=0.0)
        return f"given up at {best:.4f} after {len(outcome.curve)} validations, {took}"
    return f"validation {outcome.value:.4f}, {took}"
