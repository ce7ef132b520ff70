"""What a table says of its rows' training: how settings were chosen, and what ended it.

Settings stand in the records as the preset's provenance has them. Training that ends by patience
has its best epoch before its last; where the last is the best, a cap on the epochs has ended it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmark.jobs.record import Run, SettingsPart
from benchmark.report.reading.collect import REFERENCE_FAMILY
from benchmark.report.reading.curves import DIGITS, Curve, read_curves
from benchmark.report.reading.text import counted
from benchmark.report.tables.grid import Footnote

if TYPE_CHECKING:
    from benchmark.report.tables.rows import Row

_NAMED = 4  # systems that share how their settings were chosen; of more the number is said


def settings_footnote(rows: Sequence[Row], runs: Sequence[Run]) -> Footnote | None:
    """How the settings of each trained row were chosen; none if no record tells."""
    how: defaultdict[str, list[str]] = defaultdict(list)
    trained = {row.system: row for row in rows if row.family != REFERENCE_FAMILY and row.seeds}
    for system, row in trained.items():
        told = {_in_words(run) for run in runs if run.record.system.name == system}
        how[" or ".join(sorted(told))].append(row.display_name)
    if not how or set(how) == {_UNKNOWN}:
        return None
    if len(how) == 1:
        return Footnote("", f"Settings of every trained system: {next(iter(how))}.")
    most = max(how.values(), key=len)
    parts = [
        f"{_systems(names, is_rest=names is most and len(names) > _NAMED)}: {told}"
        for told, names in sorted(how.items(), key=lambda one: one[1] is most)
    ]
    return Footnote("", f"Settings. {'; '.join(parts)}.")


_UNKNOWN = "not recorded"


def _systems(names: Sequence[str], is_rest: bool) -> str:
    return "all others" if is_rest else ", ".join(names)


def _in_words(run: Run) -> str:
    settings = run.record.settings
    if run.record.outside is not None:
        return "its contributor's, of which nothing is recorded"
    if settings is None:
        return _UNKNOWN
    changed = ", some of them changed by hand" if settings.is_changed else ""
    return f"{_choice(settings, run.record.preset)}{changed}"


def _choice(settings: SettingsPart, preset: str) -> str:
    tuning = settings.tuning
    if settings.chosen == "published":
        return "published defaults"
    if tuning is None:
        return f"preset {preset}"
    trials = counted(tuning.trials, "trial")
    minutes = "an unknown number of" if tuning.minutes is None else f"{tuning.minutes:.1f}"
    return (
        f"tuned on validation lists of {tuning.dataset} with {trials} in {minutes} {tuning.clock} "
        f"minutes (allowed: {tuning.most_trials}, {tuning.most_minutes:g})"
    )


def capped_sentence(runs: Sequence[Run]) -> str:
    """What is said of a system whose best epoch is its last in some of its runs; else nothing."""
    capped = sum(ended_by_its_cap(run) for run in runs)
    if not capped:
        return ""
    where = "Its" if capped == len(runs) else f"In {capped} of {len(runs)} runs its"
    return (
        f"{where} best epoch is its last: a cap on the epochs ended training, not patience, so "
        "longer training may give more."
    )


def ended_by_its_cap(run: Run) -> bool:
    """Whether some validated training of a run was at its best when it ended."""
    return any(map(_is_best_at_its_end, read_curves(run.folder)))


def _is_best_at_its_end(curve: Curve) -> bool:
    # Reference runs hold so many digits, and a table of them must say what one of the runs says.
    figures = [
        round(sum(round(figure, DIGITS) for figure in of_tasks) / len(of_tasks), DIGITS)
        for of_tasks in zip(*curve.validation.values(), strict=True)
        if all(map(math.isfinite, of_tasks))
    ]
    return bool(figures) and figures.index(max(figures)) == len(figures) - 1
