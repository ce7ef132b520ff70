"""A sitting: units of a programme's work, one after another, until all is done or time is up.

Each system of a part is tuned, one after another, and stands in the tuned preset when its study is
done. Then all systems run with the first seed, with the second, and so on. A run is kept in its
compact form as soon as it is there, and its folder with the trained system is removed. The tables
are made when the runs of a part are there, and at the end of a sitting that made some of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from benchmark.errors import BenchmarkError
from benchmark.files import files_below, read_json, sha256_of_file, sha256_of_json, write_json
from benchmark.jobs.record import Run
from benchmark.jobs.store import JobSpec, RunStore
from benchmark.leftovers import sweep_partial
from benchmark.reference.programme import Part, Programme, Tuning
from benchmark.reference.state import Place, Runs, runs_of, state_of_tuning, systems_to_tune
from benchmark.report.reference import RUNS, write_reference
from benchmark.report.shown import write_shown_of
from benchmark.run.backend import Processes
from benchmark.run.parts import find_parts
from benchmark.run.workers import run_jobs
from benchmark.systems.precisions import SINGLE_PRECISION
from benchmark.tune.campaign import Campaign, Wanted
from benchmark.tune.studies import Budget

_SHOWN = "shown.json"
"""Says of which reference runs the tables beside it were made."""


@dataclass
class Clock:
    """Says whether one more unit may begin; ``minutes`` by the clock, None for no end."""

    minutes: float | None = None
    started: float = field(default_factory=time.monotonic)
    is_over: bool = False

    def goes_on(self) -> bool:
        """Whether one more may begin; after the first no there is no yes."""
        if self.minutes is not None and time.monotonic() - self.started >= 60 * self.minutes:
            self.is_over = True
        return not self.is_over


@dataclass
class Sitting:
    """The work of one command; ``failed`` are sentences on units that came to nothing.

    Nobody else may write into the folders of ``place`` meanwhile.
    """

    place: Place
    console: Console
    goes_on: Callable[[], bool]
    retry_failed: bool = False
    failed: list[str] = field(default_factory=list)

    def work(self, programme: Programme) -> bool:
        """Do what is left of the programme, as far as there is time; whether all is done.

        Raises:
            BenchmarkError: the input is bad.
            MachineFault: something cannot be written.
        """
        RunStore(self.place.work).prepare()
        self.place.out.mkdir(parents=True, exist_ok=True)
        sweep_partial(self.place.out, is_ours=True)
        is_done = True
        for part in programme.parts:
            if not self.goes_on():
                return False
            is_done &= self._done(part)
        return is_done

    def _done(self, part: Part) -> bool:
        if part.tuning is not None and not self._tuned(part, part.tuning):
            return False
        runs = runs_of(part, self.place)
        self.failed += runs.sentences
        self._run(runs)
        is_done = not runs_of(part, self.place).due(retry_failed=False)
        self._show(runs.stem)
        return is_done

    def _tuned(self, part: Part, tuning: Tuning) -> bool:
        """Tune what is not tuned; whether all of it is."""
        systems = tuple(systems_to_tune(part))
        campaign = campaign_of(part, tuning, systems, self.place, self.console)
        for system in campaign.systems:
            if state_of_tuning(campaign.planned(system), tuning, self.place) == "done":
                continue
            found = campaign.run(self.goes_on, [system])
            if not found:
                return False
            ((_, trials),) = found
            if not any(trial.is_finished for trial in trials):
                why = next((t.outcome.failure for t in trials if t.outcome.failure), "no reason")
                self.failed.append(
                    f"{system} on {part.label}: none of its trials was trained to its end ({why}), "
                    "so it runs with the settings that tuning began from."
                )
        return True

    def _run(self, runs: Runs) -> None:
        store = RunStore(self.place.work)
        due = runs.due(self.retry_failed)
        store.sweep_work({job.identity: store.state(job) for job, _ in runs.states})
        identities = {job.identity for job in due}
        for job, _ in runs.states:
            if job.identity not in identities:
                store.discard(job)  # a kill came between the keeping and the removing
        if not due:
            return
        find_parts(due)

        def keep(job: JobSpec, run: Run) -> None:
            if run.record.status == "failed":
                self.failed.append(f"{job.label}: {run.record.error}")
            if not run.record.retryable:
                write_reference(run, self.place.out)
                store.discard(job)

        run_jobs(due, self.place.jobs, self.console, goes_on=self.goes_on, ended=keep)

    def _show(self, stem: str) -> None:
        """Make the tables of a part, unless they were made of the same runs."""
        folder = self.place.out / stem
        manifests = files_below(folder / RUNS, ["manifest.json"])
        if not manifests:
            return
        made_of = {"runs": sha256_of_json([sha256_of_file(path) for path in manifests])}
        if _said(folder / _SHOWN) == made_of:
            return
        self.console.print(f"{folder}: tables of {len(manifests)} runs")
        for sentence in write_shown_of(self.place.out, stem):
            self.console.print(sentence)
        write_json(folder / _SHOWN, made_of)


def campaign_of(
    part: Part, tuning: Tuning, systems: tuple[str, ...], place: Place, console: Console
) -> Campaign:
    """The tuning of a part's systems.

    Raises:
        BenchmarkError: see :class:`benchmark.tune.campaign.Campaign`.
    """
    return Campaign(
        Wanted(
            dataset=part.dataset,
            systems=systems,
            preset=part.preset,
            protocol=part.protocol,
            seed=tuning.seed,
            assignments=(),
            budget=Budget(tuning.trials, tuning.minutes),
            backend=Processes(place.jobs),
            threads=place.threads,
            device=place.device,
            precision=SINGLE_PRECISION,
            results=place.work,
            presets=place.presets,
            prepared_root=place.prepared_root,
        ),
        console,
    )


def _said(path: Path) -> object:
    try:
        return read_json(path)
    except BenchmarkError:
        return None
