"""A table and a plot of studies: what was spent on each system, and how its best figure rose."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmark.report.build import write_drawing, write_grid
from benchmark.report.group import Drawing
from benchmark.report.plots.panels import Line, Panel, panels_figure
from benchmark.report.plots.style import report_style
from benchmark.report.reading.text import clean
from benchmark.report.tables.grid import DASH, Entry, Grid, GridGroup, number
from benchmark.report.tables.headings import name_entries
from benchmark.report.tables.rows import DECIMALS, place_in_catalogue, place_of_family
from benchmark.systems.catalogue import choose, family_title
from benchmark.systems.view import SELECTION_METRIC
from benchmark.tune.studies import Found, Study, Trial, best_of, seconds_spent

_STEM = "tuning"


def write_tuning_report(found: Found, folder: Path) -> list[Path]:
    """Write the table in its three forms and the plot in its two."""
    paths = write_grid(tuning_grid(found), folder)
    drawing = tuning_drawing(found)
    return paths + (write_drawing(drawing, folder) if drawing is not None else [])


def sentences(found: Found) -> list[str]:
    """What came of each study, in a sentence."""
    told = []
    for study, trials in found:
        best, spent = best_of(trials), seconds_spent(study, trials) / 60
        clock = "CPU" if study.job.device == "cpu" else "device"
        head = f"{study.job.system}: {len(trials)} trials, {spent:.2f} {clock} minutes"
        if best is None:
            why = next((trial.outcome.failure for trial in trials if trial.outcome.failure), "")
            told.append(f"{head}, none trained to its end{f' ({why})' if why else ''}.")
            continue
        published = trials[0].outcome.value
        beside = "" if published is None else f", {published:.4f} with published values"
        told.append(f"{head}; best is trial {best.number}: {best.outcome.value:.4f}{beside}.")
    return told


def tuning_grid(found: Found) -> Grid:
    """A row a system: trials, minutes, and the figures of published, preset's and best settings."""
    by_family: defaultdict[str, list[tuple[Entry, ...]]] = defaultdict(list)
    names = name_entries((s.job.system, s.job.display_name, "") for s, _ in _in_order(found))
    for study, trials in _in_order(found):
        family = choose(study.job.system).entry.family
        by_family[family].append((names[study.job.system], *_cells(study, trials)))
    return Grid(
        stem=_STEM,
        caption=_caption(found[0][0]),
        head=(
            "System",
            "Trials",
            "Pruned",
            "Failed",
            "Minutes",
            "Published",
            "Preset",
            "Best",
            "Trial",
        ),
        groups=tuple(
            GridGroup(family_title(family), tuple(by_family[family]))
            for family in sorted(by_family, key=place_of_family)
        ),
    )


def _in_order(found: Found) -> Found:
    return sorted(found, key=lambda one: place_in_catalogue(one[0].job.system))


def _caption(study: Study) -> str:
    job, budget = study.job, study.budget
    clock = "CPU" if job.device == "cpu" else "device"
    return clean(
        f"Tuning on {job.dataset}, protocol {job.protocol}, from the preset {job.preset}, seed "
        f"{job.seed}: at most {budget.trials} trials, none begun after {budget.minutes:g} {clock} "
        "minutes, the same for every system; what trials share is counted once for each system. "
        f"Figures are validation {SELECTION_METRIC}, of systems with two tasks the mean of both. "
        "Published: of the published values of what is searched; preset: of the preset's; best: of "
        "the best trial, whose number counts from 0."
    )


def _cells(study: Study, trials: Sequence[Trial]) -> tuple[Entry, ...]:
    best = best_of(trials)
    minutes = seconds_spent(study, trials) / 60
    given = [_figure(trials, place) for place in (0, len(study.first) - 1)]
    return (
        number(len(trials), str(len(trials))),
        *(
            number(count, str(count))
            for count in (
                sum(trial.outcome.is_pruned for trial in trials),
                sum(bool(trial.outcome.failure) for trial in trials),
            )
        ),
        number(minutes, f"{minutes:.2f}"),
        *given,
        _figure(trials, best.number if best else -1),
        Entry(DASH) if best is None else number(best.number, str(best.number)),
    )


def _figure(trials: Sequence[Trial], place: int) -> Entry:
    for trial in trials:
        if trial.number == place and trial.is_finished and trial.outcome.value is not None:
            return number(trial.outcome.value, f"{trial.outcome.value:.{DECIMALS}f}")
    return Entry(DASH)


def best_by_minutes(study: Study, trials: Sequence[Trial]) -> tuple[list[float], list[float]]:
    """Minutes, and the best figure by then, a step wherever a trial ended; by number of trial."""
    minutes, best = list[float](), list[float]()
    for place, trial in enumerate(trials):
        spent = seconds_spent(study, trials[: place + 1]) / 60
        if trial.is_finished and trial.outcome.value is not None:
            before = best[-1] if best else trial.outcome.value
            minutes += [spent, spent] if best else [spent]
            best += [before, max(before, trial.outcome.value)] if best else [before]
    if best:
        minutes.append(seconds_spent(study, trials) / 60)
        best.append(best[-1])
    return minutes, best


def tuning_drawing(found: Found) -> Drawing | None:
    """The best figure against the minutes, a panel a family; None if no trial was finished."""
    lines: defaultdict[tuple[str, str], list[Line]] = defaultdict(list)
    for study, trials in _in_order(found):
        minutes, best = best_by_minutes(study, trials)
        if best:
            name = study.job.display_name
            said = f"{name}: {best[-1]:.4f} after {minutes[-1]:.1f} minutes"
            family = choose(study.job.system).entry.family
            lines[" and ".join(study.tasks), family].append(Line(name, minutes, best, said))
    if not lines:
        return None
    panels: defaultdict[str, list[Panel]] = defaultdict(list)
    for tasks, family in sorted(lines, key=lambda key: (key[0], place_of_family(key[1]))):
        panels[tasks].append(Panel(clean(family_title(family)), lines[tasks, family]))
    job = found[0][0].job
    title = clean(f"Tuning on {job.dataset}, protocol {job.protocol}, from preset {job.preset}")
    clock = "CPU" if job.device == "cpu" else "Device"
    with report_style():
        labels = (f"{clock} minutes", f"Validation {SELECTION_METRIC}")
        figure = panels_figure(panels, title, labels, log_x=False, whole_x=False)
    return Drawing(_STEM, "The best validation figure against the minutes spent.", figure)
