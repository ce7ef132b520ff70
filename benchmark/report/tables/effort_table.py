"""The effort that the settings of each system took: trials and minutes of its tuning.

It is read from the records, which keep how settings were chosen, so that reference runs tell it as
well as a journal of studies does.
"""

from __future__ import annotations

from collections import defaultdict

from benchmark.jobs.record import Run
from benchmark.report.reading.collect import REFERENCE_FAMILY, RunGroup
from benchmark.report.reading.text import clean, file_name, shortened
from benchmark.report.tables.grid import DASH, Entry, Grid, GridGroup, number
from benchmark.report.tables.headings import name_entries
from benchmark.report.tables.rows import DECIMALS, place_in_catalogue, place_of_family
from benchmark.systems.catalogue import base_name, family_title
from benchmark.systems.configuration import Tuning

_LONGEST_NAME = 60


def effort_grid(group: RunGroup) -> Grid | None:
    """A row a trained system; None if the settings of none were tuned."""
    runs = {
        run.record.system.name: run
        for run in group.runs
        if run.record.system.name == base_name(run.record.system.name)
        and run.record.system.family != REFERENCE_FAMILY
    }
    tunings = [tuning for run in runs.values() if (tuning := _tuning(run)) is not None]
    if not tunings:
        return None
    names = name_entries(
        (name, shortened(run.record.system.display_name, _LONGEST_NAME), "")
        for name, run in runs.items()
    )
    by_family: defaultdict[str, list[tuple[Entry, ...]]] = defaultdict(list)
    for name in sorted(runs, key=place_in_catalogue):
        cells = _cells(_tuning(runs[name]))
        by_family[runs[name].record.system.family].append((names[name], *cells))
    key = group.key
    return Grid(
        stem=file_name(key.stem(group.variant), "tuning"),
        caption=clean(
            f"What the settings on {key.dataset}, protocol {key.protocol}, preset {key.preset}, "
            f"took to choose: {_budgets(tunings)}. Figures are those of validation that settings "
            "were chosen by: with published values of what was searched, and the best; the best "
            f"trial's number counts from 0. {DASH}: not tuned."
        ),
        head=("System", "Trials", "Pruned", "Failed", "Minutes", "Published", "Best", "Trial"),
        groups=tuple(
            GridGroup(family_title(family), tuple(by_family[family]))
            for family in sorted(by_family, key=place_of_family)
        ),
    )


def _tuning(run: Run) -> Tuning | None:
    settings = run.record.settings
    return None if settings is None else settings.tuning


def _budgets(tunings: list[Tuning]) -> str:
    """The budgets, the same for every tuned system or not."""
    told = dict.fromkeys(
        f"at most {one.most_trials} trials, none begun after {one.most_minutes:g} {one.clock} "
        f"minutes, on {one.dataset}"
        for one in tunings
    )
    same = ", the same for every tuned system" if len(told) == 1 else ""
    return f"{' or '.join(told)}{same}"


def _cells(tuning: Tuning | None) -> tuple[Entry, ...]:
    if tuning is None:
        return (Entry(DASH),) * 7
    counts = (tuning.trials, tuning.pruned, tuning.failed)
    minutes, published = tuning.minutes, tuning.published
    return (
        *(number(count, str(count)) for count in counts),
        number(minutes, f"{minutes or 0.0:.2f}"),
        number(published, f"{published or 0.0:.{DECIMALS}f}"),
        number(tuning.validation, f"{tuning.validation:.{DECIMALS}f}"),
        number(tuning.best_trial, str(tuning.best_trial)),
    )
