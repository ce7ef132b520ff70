"""What studies come to: a preset that extends the one they began with, and says where it is from.

A preset is written system by system: what it says of other systems stays. Its bytes follow from
the trials alone; the minutes, which are measured, stand in a file beside it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmark.errors import BenchmarkError
from benchmark.files import read_json, sha256_of_json, write_json, write_text
from benchmark.leftovers import sweep_partial_of
from benchmark.locks import locked
from benchmark.systems.catalogue import entries
from benchmark.systems.configuration import Preset, Tuning, minutes_file, read_typed
from benchmark.systems.view import SELECTION_METRIC
from benchmark.tune.studies import Found, Study, Trial, best_of, seconds_spent

_HEADER = "# Written by `python -m benchmark.tune`, which writes it again when it is run again.\n"


def preset_path(folder: Path, dataset: str) -> Path:
    """Where the preset of a data set is written."""
    return folder / "tuned" / f"{dataset}.yaml"


def refuse_other_base(path: Path, base: str) -> None:
    """Stop before any trial if the preset that would be written is another one's.

    Raises:
        BenchmarkError: it is no preset, or extends another preset than ``base``.
    """
    if path.exists():
        extended = read_typed(Preset, path).extends
        if extended != extends(path, base):
            raise BenchmarkError(
                f"{path}: extends {extended!r}, and systems tuned from {base!r} do not belong into "
                "it; name another folder with --presets, or remove the file."
            )


def extends(path: Path, base: str) -> str:
    """What the preset at ``path`` calls the one that it extends."""
    if not base.endswith((".yaml", ".yml")):
        return base
    # Relative, so that no folder of this machine is named; a bare name would be one of the index.
    return os.path.relpath(base, path.parent)


def tuned_settings(path: Path, system: str) -> dict[str, Any]:
    """What the preset at ``path`` says of a system; nothing if it is not there."""
    return read_typed(Preset, path).systems.get(system, {}) if path.exists() else {}


def provenance(study: Study, trials: Sequence[Trial]) -> Tuning | None:
    """Where a study's settings come from; None if no trial was finished."""
    best = best_of(trials)
    if best is None or best.outcome.value is None:
        return None
    job = study.job
    first = next((trial for trial in trials if trial.number == 0 and trial.is_finished), None)
    return Tuning(
        dataset=job.dataset,
        protocol=job.protocol,
        seed=job.seed,
        most_trials=study.budget.trials,
        most_minutes=study.budget.minutes,
        clock="CPU" if job.device == "cpu" else "device",
        trials=len(trials),
        pruned=sum(trial.outcome.is_pruned for trial in trials),
        failed=sum(bool(trial.outcome.failure) for trial in trials),
        best_trial=best.number,
        metric=_metric(study.tasks),
        validation=best.outcome.value,
        published=None if first is None else first.outcome.value,
        code=sha256_of_json(job.code),
        base=job.identity_but_code,
    )


def write_preset(path: Path, base: str, found: Found, lock: Path) -> list[str]:
    """Write what the studies have found; the rest of the preset stays as it is.

    A system is taken out that was tuned on top of another one whose settings are now others: what
    was validated is not what the preset would run.

    Args:
        path: of the preset.
        base: the preset that the studies began with.
        found: each study with its trials.
        lock: held meanwhile, so that two commands do not write over each other.

    Returns:
        Sentences on what was taken out.

    Raises:
        BenchmarkError: the preset that is there is none, or extends another.
        MachineFault: it cannot be written.
    """
    told = []
    with locked(lock):
        refuse_other_base(path, base)
        before = read_typed(Preset, path) if path.exists() else Preset()
        systems: dict[str, Any] = dict(before.systems)
        tuning = {name: one.model_dump(mode="json") for name, one in before.tuning.items()}
        times = minutes_file(path)
        minutes = dict(read_json(times)) if times.exists() else {}
        for study, trials in found:
            best, where_from = best_of(trials), provenance(study, trials)
            if best is None or where_from is None:
                continue
            name = study.job.system
            systems[name] = study.changes(best.values)
            tuning[name] = where_from.model_dump(mode="json")
            minutes[name] = round(seconds_spent(study, trials) / 60, 3)
        for name in _outdated(before.systems, systems, {study.job.system for study, _ in found}):
            del systems[name], tuning[name]
            told.append(
                f"{name}: is taken out of {path}, since it was tuned on top of settings that are "
                "now others; tune it again."
            )
        for one in tuning.values():
            one.pop("minutes", None)
        for written in (times, path):
            sweep_partial_of(written)
        # The minutes first: a preset without them is one whose minutes are not told.
        write_json(times, minutes)
        content = {
            "description": f"Settings chosen on {path.stem} by validation figures, each system's "
            "under a budget of its own.",
            "extends": extends(path, base),
            "systems": {name: systems[name] for name in _in_order(systems)},
            "tuning": {name: tuning[name] for name in _in_order(tuning)},
        }
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
        write_text(path, _HEADER + text)
    return told


def _metric(tasks: Sequence[str]) -> str:
    of_both = f", mean of {' and '.join(tasks)}" if len(tasks) > 1 else ""
    return f"validation {SELECTION_METRIC}{of_both}"


def _outdated(
    before: Mapping[str, Any], now: Mapping[str, Any], just_tuned: Collection[str]
) -> list[str]:
    """Systems that stand in both and build on one that does not stand in both alike."""
    rows = entries()
    return [
        name
        for name in before
        if name not in just_tuned
        and name in rows
        and any(before.get(one) != now.get(one) for one in rows[name].upstream)
    ]


def _in_order(names: Mapping[str, Any]) -> list[str]:
    """As in the catalogue."""
    order = {name: place for place, name in enumerate(entries())}
    return sorted(names, key=lambda name: (order.get(name.partition(":")[0], len(order)), name))
