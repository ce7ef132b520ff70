"""What the compact records say of a line: figures with intervals, passes, minutes.

A record is a reference run (:mod:`benchmark.report.reference`) below ``runs/``, one for each line
and seed, or ``agreement.json`` where two engines were compared. Nothing is taken from a record that
was made by other settings than the line has now.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.errors import BenchmarkError
from benchmark.files import check_manifest, is_complete, read_json
from benchmark.jobs.record import Run, read_run
from benchmark.overrides import as_given
from benchmark.protocol.metrics import Ranks, View, gains
from benchmark.protocol.settings import configure_protocol
from benchmark.report.reading.curves import read_curves
from benchmark.report.reading.events import tie_rule
from benchmark.report.reading.text import file_name
from benchmark.report.reading.top import TOP_FILE, read_top
from benchmark.report.statistics.bootstrap import CONFIDENCE, bootstrap_means
from benchmark.reproduce.lines import SAME_ORDER, EnginesPart, Line, RunPart
from benchmark.reproduce.verdicts import Measured
from benchmark.run.suite import Row
from benchmark.systems.catalogue import SystemChoice, choose, with_settings
from benchmark.systems.configuration import configure, load_preset

PROTOCOL = "paper"
PRESET = "original"
TASK = "recommendation"
AGREEMENT_FILE = "agreement.json"
RUNS = "runs"


@dataclass(frozen=True)
class Found:
    """What is there of a line. ``stale`` are sentences on records that are not those of the line.

    ``figures``: view → metric → ours. ``passes`` has for each seed the passes trained and the one
    that was kept. ``minutes`` are wall-clock, of all seeds together.
    """

    figures: dict[View, dict[str, Measured]]
    seeds: tuple[int, ...] = ()
    passes: tuple[tuple[int, int], ...] = ()
    minutes: float = 0.0
    processor: str = ""
    stale: tuple[str, ...] = ()


def record_folder(folder: Path, name: str, seed: int | None = None) -> Path:
    """Where the record of a line, and of a seed if it has any, lies."""
    return folder / RUNS / (name if seed is None else file_name(name, str(seed)))


def choice_of(name: str, part: RunPart) -> SystemChoice:
    """The system of a line, as a suite's row of its own.

    Raises:
        BenchmarkError: there is no such system.
    """
    row = Row(system=part.system, name=name, settings=part.settings)
    return with_settings(choose(row.system), row.name, row.label, row.settings)


def found_of(name: str, line: Line, folder: Path) -> Found:
    """Read the records of a line.

    Raises:
        BenchmarkError: a record is damaged.
    """
    if line.run is not None:
        return _found_of_runs(name, line, line.run, folder)
    if line.compare is not None:
        return _found_of_engines(name, line, line.compare, folder)
    raise TypeError("a line has run or compare")


def differs_from_line(run: Run, name: str, line: Line, part: RunPart) -> str:
    """What of a run is not as the line has it now, in words; empty if it is the line's.

    Raises:
        BenchmarkError: the line's system, settings or protocol are not known.
    """
    record = run.record
    choice = choice_of(name, part)
    overrides = load_preset(PRESET).overrides_for(choice.base_name)
    configuration = configure(choice, overrides, choice.settings).model_dump(mode="json")
    _, settings = configure_protocol(PROTOCOL, part.protocol)
    size = (record.dataset.users, record.dataset.items, record.dataset.recommendation_events)
    expected = {
        "system": (record.system.name, choice.name),
        "configuration": (record.system.configuration, configuration),
        "protocol": (record.protocol.settings, settings.model_dump(mode="json")),
        "data set": (record.dataset.name, _name_of(line.dataset)),
        "size of the data": (size, tuple(line.counts.model_dump().values())),
        "state": (record.status, "finished"),
    }
    other = [what for what, (one, now) in expected.items() if one != now]
    return " and ".join(other)


def _name_of(recipe: str) -> str:
    """The name of a data set whose recipe is given by name or by path."""
    return Path(recipe).stem if recipe.endswith((".yaml", ".yml")) else recipe


def recorded_runs(
    name: str, line: Line, part: RunPart, folder: Path
) -> tuple[list[Run], tuple[str, ...]]:
    """The recorded runs of the line as it stands, and a sentence on each that is of another.

    Raises:
        BenchmarkError: a record is damaged.
    """
    runs, stale = [], []
    for seed in part.seeds:
        place = record_folder(folder, name, seed)
        if not is_complete(place):
            continue
        run = read_run(place)
        why = differs_from_line(run, name, line, part)
        if why:
            stale.append(f"The record of {name}, seed {seed}, has another {why}: it is not shown.")
        else:
            runs.append(run)
    return runs, tuple(stale)


def _found_of_runs(name: str, line: Line, part: RunPart, folder: Path) -> Found:
    runs, stale = recorded_runs(name, line, part, folder)
    if not runs:
        return Found({}, stale=stale)
    return Found(
        {view: _figures(runs, view, metrics) for view, metrics in wanted_metrics(line).items()},
        tuple(run.record.seed for run in runs),
        tuple(passes for run in runs if (passes := _passes(run)) is not None),
        sum(map(_minutes, runs)),
        runs[0].record.environment.get("processor", ""),
        stale,
    )


def wanted_metrics(line: Line) -> dict[View, tuple[str, ...]]:
    """View → the metrics that are published or shown of it, in the order of the file."""
    wanted: dict[View, dict[str, None]] = {}
    for row in line.published:
        wanted.setdefault(row.view, {}).update(dict.fromkeys(row.figures))
    for shown in line.unmatched:
        wanted.setdefault(shown.view, {}).update(dict.fromkeys(shown.metrics))
    return {view: tuple(metrics) for view, metrics in wanted.items()}


def _figures(runs: list[Run], view: View, metrics: tuple[str, ...]) -> dict[str, Measured]:
    """Means over users and seeds; users, and runs where there are several, are resampled."""
    values, users = [], None
    for run in runs:
        kept = read_top(run.folder / TOP_FILE)[view][TASK]
        values.append(_gains(run, kept.placed, view, metrics))
        users = kept.users if users is None else users
    stacked = np.stack(values)  # (seeds, events, metrics)
    of_events = np.arange(stacked.shape[1]) if users is None else users
    means = bootstrap_means({"ours": stacked}, of_events, purpose=f"reproduce {view}")["ours"]
    tail = (1.0 - CONFIDENCE) / 2.0
    ends = np.quantile(means, (tail, 1.0 - tail), axis=0)  # (2, metrics)
    centre = stacked.mean(axis=(0, 1))
    return {
        metric: Measured(float(centre[place]), float(ends[0, place]), float(ends[1, place]))
        for place, metric in enumerate(metrics)
    }


def _gains(run: Run, ranks: Ranks, view: View, metrics: tuple[str, ...]) -> Any:
    """(events, metrics); they must give the metrics that the run records.

    Raises:
        BenchmarkError: a cut-off is not among the run's, or the record contradicts itself.
    """
    recorded = run.metrics_of(view)[TASK]
    found = np.empty((len(ranks), len(metrics)))
    for place, metric in enumerate(metrics):
        if metric not in recorded:
            known = ", ".join(recorded)
            raise BenchmarkError(
                f"{run.folder}: has no {metric} of view {view}; it has {known}. Set cutoffs or "
                "all_items_cutoffs in the line's protocol."
            )
        found[:, place] = gains(ranks, metric, tie_rule(run))
        if abs(found[:, place].mean() - recorded[metric]) > 1e-6:
            raise BenchmarkError(f"{run.folder}: its ranks do not give the {metric} it records.")
    return found


def _passes(run: Run) -> tuple[int, int] | None:
    """Passes trained, and the pass whose weights were kept; of the system's last training."""
    curves = [curve for curve in read_curves(run.folder) if curve.epochs]
    if not curves:
        return None
    curve = curves[-1]
    scores = np.array([values for values in curve.validation.values()])
    if not scores.size or np.isnan(scores).all():
        return curve.epochs[-1], curve.epochs[-1]
    return curve.epochs[-1], curve.epochs[int(np.nanargmax(scores.mean(axis=0)))]


def _minutes(run: Run) -> float:
    cost = run.record.cost
    scoring = [*cost.score_seconds.values(), *cost.all_items_seconds.values()]
    return (cost.fit_seconds + sum(scoring)) / 60.0


class _Agreement(EnginesPart):
    """What ``agreement.json`` holds."""

    documents: int
    queries: int
    same_order: int
    same_set: int
    largest_difference: float
    seconds: tuple[float, float]
    processor: str


def _found_of_engines(name: str, line: Line, part: EnginesPart, folder: Path) -> Found:
    place = record_folder(folder, name)
    if not is_complete(place):
        return Found({})
    check_manifest(place)
    record = as_given(_Agreement, read_json(place / AGREEMENT_FILE))
    if (record.engines, record.hits, record.documents) != (
        part.engines,
        part.hits,
        line.counts.items,
    ):
        return Found({}, stale=(f"The record of {name} is of other engines, hits or documents.",))
    share = record.same_order / record.queries
    return Found(
        {"all-items": {SAME_ORDER: Measured(share, share, share)}},
        minutes=sum(record.seconds) / 60.0,
        processor=record.processor,
    )
