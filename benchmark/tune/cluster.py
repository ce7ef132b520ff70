"""The trials of studies on a Dask cluster whose machines share the results folder.

Each worker has a process that takes one trial after another from the journal, until none is left.
Dask decides where those processes are, and this command how many: as many as there is room for on
the workers, and not more than there are trials. A worker that dies frees its trial, which another
one runs again with the same values.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from distributed import Client, Future
from distributed.scheduler import KilledWorker
from rich.console import Console
from rich.status import Status

from benchmark.errors import BenchmarkError
from benchmark.faults import MachineFault
from benchmark.run.cluster import MOST_DEATHS, TRIES
from benchmark.run.company import ROUND, TICK, Company, Needs, gathered, needs_of
from benchmark.run.errand import Outcome
from benchmark.run.progress import say
from benchmark.run.scheduler import LOST
from benchmark.tune.errand import run_trials
from benchmark.tune.journal import Ledger, open_journal
from benchmark.tune.studies import Study


def run_studies_on_cluster(
    studies: Sequence[Study], client: Client, console: Console, goes_on: Callable[[], bool]
) -> None:
    """Run the trials of studies on one data set until none is left to run.

    ``goes_on`` is asked before workers are given trials, of which they then run all.

    Raises:
        BenchmarkError: the input is bad, the code has changed, or no worker may or can run a trial.
        MachineFault: the scheduler is gone, or the results cannot be written.
    """
    with console.status("tuning") as status:
        news = _News(console, status)
        jobs = [study.job for study in studies]
        with gathered(jobs, client, news.tells, news.hear) as company:
            _Trials(studies, company, news, goes_on).run()


@dataclass
class _News:
    """What workers say; heard in the client's own thread."""

    console: Console
    status: Status
    begun: Counter[tuple[str, int]] = field(default_factory=Counter)
    hopeless: SimpleQueue[tuple[str, int, str]] = field(default_factory=SimpleQueue)

    def tells(self, sentence: str, style: str = "") -> None:
        say(self.console, sentence, style)

    def hear(self, news: Mapping[str, Any]) -> None:
        if news["kind"] == "progress":
            self.status.update(news["text"])
        elif news["kind"] == "begins":
            trial = (news["study"], news["number"])
            self.begun[trial] += 1
            if self.begun[trial] == MOST_DEATHS:  # if this process dies as well, it has failed
                self.hopeless.put((*trial, f"the workers that ran it died, {MOST_DEATHS} times."))
        elif news["kind"] == "gives-up":
            self.hopeless.put((news["study"], news["number"], news["text"]))
        elif news["kind"] == "ended":
            del self.begun[news["study"], news["number"]]
            self.tells(news["text"])


@dataclass
class _Trials:
    studies: Sequence[Study]
    company: Company
    news: _News
    goes_on: Callable[[], bool]
    faults: int = 0

    def __post_init__(self) -> None:
        self._ledgers = {
            study.name: Ledger(study, open_journal(study.folder)) for study in self.studies
        }

    def run(self) -> None:
        """Watch until each study is done."""
        try:
            self._begin()
        except LOST:
            self.company.come_back(self._begin)
        looked = time.monotonic()
        while self.company.given or self._left():
            time.sleep(TICK)
            if self.company.is_lost():
                self.company.come_back(self._begin)
                continue
            for future in list(self.company.given.values()):
                if future.status in ("finished", "error"):
                    self._came(future)
            while not self.news.hopeless.empty():
                name, number, failure = self.news.hopeless.get()
                self._ledgers[name].give_up(number, failure)
            if time.monotonic() - looked >= ROUND or not self.company.given:
                looked = time.monotonic()
                with suppress(*LOST):  # the next look at the connection sees it
                    self._fill()

    def _begin(self) -> None:
        self.company.join({study.job.label: needs_of(study.job) for study in self.studies})
        self._fill()

    def _fill(self) -> None:
        """Have as many workers at trials as there is room for, and as there are trials."""
        assigned = self.company.assigned()
        idle = [one for one in self.company.given.values() if one.key not in assigned]
        self.company.take_back([one for one in idle if one.status == "pending"])
        needs = self._needs()
        wanted = min(max(self.company.room(needs), 1), self._left())
        sent = {study.name: study.sent() for study in self.studies}
        for _ in range(wanted - len(self.company.given)):
            self.company.give(run_trials, sent, name="trials", needs=needs)

    def _left(self) -> int:
        """The trials that may be run yet."""
        if not self.goes_on():
            return 0
        return sum(
            ledger.study.budget.trials - len(ledger.ended())
            for ledger in self._ledgers.values()
            if not ledger.is_done()
        )

    def _needs(self) -> Needs:
        """What any of the trials needs, since a process runs those of all studies."""
        needs: dict[str, int] = {}
        for study in self.studies:
            for name, number in needs_of(study.job).items():
                needs[name] = max(needs.get(name, 0), number)
        return needs

    def _came(self, future: Future) -> None:
        try:
            outcome: Outcome | None = self.company.result(future)
        except KilledWorker:
            self.news.tells("the workers that were to run trials died; they are given to others.")
            return
        if outcome is not None and outcome.kind == "stopped":
            raise BenchmarkError(outcome.text)
        if outcome is not None and outcome.kind == "fault":
            self.faults += 1
            if self.faults >= TRIES:
                raise MachineFault(outcome.text)
            self.news.tells(outcome.text)
