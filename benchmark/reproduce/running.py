"""Run a line and leave its compact record.

Runs go through the suite's own jobs, so a killed one goes on where it was; a line whose record is
there and is of its present settings is not run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from benchmark.data.dataset import Dataset
from benchmark.errors import BenchmarkError
from benchmark.faults import MachineFault
from benchmark.files import build_folder, remove_folder, write_json
from benchmark.jobs.machine import processor
from benchmark.jobs.store import RunStore
from benchmark.overrides import PROTOCOL_KEY
from benchmark.report.reference import write_run
from benchmark.reproduce.lines import EnginesPart, Line, RunPart
from benchmark.reproduce.measured import (
    AGREEMENT_FILE,
    PRESET,
    PROTOCOL,
    found_of,
    record_folder,
    recorded_runs,
)
from benchmark.run.parts import find_parts
from benchmark.run.plan import Options, plan
from benchmark.run.suite import Row, Suite
from benchmark.run.workers import run_jobs


@dataclass(frozen=True)
class Running:
    """How lines are run: ``folder`` takes the records, ``options`` are those of any suite."""

    folder: Path
    options: Options
    console: Console
    is_fresh: bool = False
    """Whether what is there of a line, its record included, is forgotten first."""


def run_lines(lines: Mapping[str, Line], running: Running) -> list[str]:
    """Run each line in turn; returns a sentence for each that could not be run.

    Raises:
        BenchmarkError: the only line cannot be run: its data are not the published ones, a model
            is not here, or its settings are bad.
        MachineFault: the results cannot be written.
    """
    failed = []
    for name, line in lines.items():
        try:
            failed += _run_line(name, line, running)
        except MachineFault:
            raise
        except BenchmarkError as error:
            if len(lines) == 1:
                raise
            failed.append(str(error))  # such as a model that is not here: the others go on
    return failed


def _run_line(name: str, line: Line, running: Running) -> list[str]:
    if line.run is not None:
        return _run(name, line, line.run, running)
    if line.compare is not None:
        _compare(name, line, line.compare, running)
    return []


def _run(name: str, line: Line, part: RunPart, running: Running) -> list[str]:
    wanted = part.seeds
    if not running.is_fresh:
        there, _ = recorded_runs(name, line, part, running.folder)
        recorded = {run.record.seed for run in there}
        wanted = tuple(seed for seed in part.seeds if seed not in recorded)
    if not wanted:
        running.console.print(f"{name}: its record is there.")
        return []
    _refuse_other_data(name, line, _dataset(line, running))
    suite = Suite(
        datasets=(line.dataset,),
        systems=(Row(system=part.system, name=name, label=line.title, settings=part.settings),),
        protocols=(PROTOCOL,),
        seeds=wanted,
        preset=PRESET,
    )
    store = RunStore(running.options.results)
    store.prepare()
    planned = plan(suite, {PROTOCOL_KEY: part.protocol} if part.protocol else {}, running.options)
    jobs = [job.spec for job in planned.jobs]
    find_parts(jobs)
    # A job that failed is tried again: whoever asks for one line wants to see it run.
    tried = {job.spec.identity for job in planned.jobs if job.state == "failed"}
    if running.is_fresh:
        tried = {job.identity for job in jobs}
    run_jobs(jobs, 1, running.console, afresh=tried)
    failed = []
    for job in jobs:
        run = store.read(job)
        if run is None or run.record.status != "finished":
            why = "no run was left" if run is None else run.record.error
            failed.append(f"{name}, seed {job.seed}: {why}")
            continue
        place = record_folder(running.folder, name, job.seed)
        remove_folder(place)
        write_run(run, place)
    return failed


def _compare(name: str, line: Line, part: EnginesPart, running: Running) -> None:
    from benchmark.retrieval.compare import compare_engines

    if not running.is_fresh and found_of(name, line, running.folder).figures:
        running.console.print(f"{name}: its record is there.")
        return
    dataset = _dataset(line, running)
    _refuse_other_data(name, line, dataset)
    documents, queries = dataset.items.text[1:], dataset.queries.text[1:]
    if not queries:
        raise BenchmarkError(f"{name}: dataset: {line.dataset} has no queries to ask.")
    found = compare_engines(part.engines, documents, queries, part.hits)
    place = record_folder(running.folder, name)
    record = {
        **part.model_dump(mode="json"),
        "documents": len(documents),
        **asdict(found),
        "processor": processor(),
    }
    remove_folder(place)
    build_folder(place, lambda folder: write_json(folder / AGREEMENT_FILE, record))


def _dataset(line: Line, running: Running) -> Dataset:
    from benchmark.data.prepare import load

    return load(line.dataset, root=running.options.prepared_root)


def _refuse_other_data(name: str, line: Line, dataset: Dataset) -> None:
    ours = {
        "users": dataset.number_of_users,
        "items": dataset.number_of_items,
        "events": len(dataset.log.recommendation.positions),
    }
    published = line.counts.model_dump()
    if ours != published:
        there = ", ".join(f"{number:,} {what}" for what, number in ours.items())
        wanted = ", ".join(f"{number:,} {what}" for what, number in published.items())
        raise BenchmarkError(
            f"{name}: dataset: {line.dataset} has {there} here, and the published figures are of "
            f"{wanted}; give the folder with those files: python -m benchmark.data prepare "
            f"{line.dataset} --source FOLDER."
        )
