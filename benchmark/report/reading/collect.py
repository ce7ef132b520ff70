"""From a folder of run folders to groups of runs that may stand in one table.

Two runs are comparable if they agree in the prepared data (by fingerprint), in the protocol's name
and every one of its settings, and in the preset. Runs that were handed in have no preset: they
stand in every group of their data and protocol. Nothing is dropped in silence: whatever is found
and not used (a damaged folder, an older run of the same system and seed) has its sentence. Suites
may go on meanwhile: a folder that they remove is not there, and one that they replace is read anew.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from benchmark.errors import BenchmarkError, shortened
from benchmark.files import files_below, is_complete, is_partial, sha256_of_json
from benchmark.jobs.record import (
    METRICS_FILE,
    RANKS_FILE,
    RUN_FILE,
    SYSTEM_FOLDER,
    Run,
    finished_at,
    read_run,
)
from benchmark.report.reading.text import counted, file_name

REFERENCE_FAMILY = "references"
"""The family of the rankers that learn nothing: they stand apart from what is compared."""

_NAMED = 3  # folders that a sentence names before it only counts the rest


@dataclass(frozen=True)
class GroupKey:
    """What the runs of one table have in common."""

    dataset: str
    protocol: str
    preset: str
    variant: str  # hash of the names, the data's fingerprint and the protocol's settings

    def stem(self, variant: str = "") -> str:
        """How files about the group begin; with ``variant`` if another group has the same names."""
        parts = (self.dataset, self.protocol, self.preset)
        return file_name(*parts, variant) if variant else file_name(*parts)


@dataclass(frozen=True)
class RunGroup:
    """Comparable runs: for each system one configuration, and one run a seed.

    ``variant`` is empty unless another group has the same names of data set, protocol and preset;
    then it is the key's, and tells the two apart.
    """

    key: GroupKey
    variant: str
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Collection:
    """Everything that was found; ``sentences`` say what of it is not in ``groups`` and why."""

    groups: tuple[RunGroup, ...]
    sentences: tuple[str, ...]


def group_key(run: Run) -> GroupKey:
    """The group that ``run`` belongs to."""
    record = run.record
    names = (record.dataset.name, record.protocol.name, record.preset)
    # The names are hashed too: different ones may look alike once they are made safe for a file.
    determined_by = [*names, record.dataset.fingerprint, record.protocol.settings]
    return GroupKey(*names, variant=sha256_of_json(determined_by)[:8])


def collect(root: Path) -> Collection:
    """Read every run folder below ``root``."""
    runs, sentences = _read_all(root)
    grouped: defaultdict[GroupKey, list[Run]] = defaultdict(list)
    for run in runs:
        if run.record.outside is None:
            grouped[group_key(run)].append(run)
    handed_in = [run for run in runs if run.record.outside is not None]
    alone, told = _guests(handed_in, grouped)
    sentences += told
    for run in alone:
        grouped[group_key(run)].append(run)

    # Case is ignored, since some file systems do.
    sharing = Counter(key.stem().casefold() for key in grouped)
    groups = []
    for key in sorted(grouped, key=lambda key: (key.stem(), key.variant, key.preset)):
        where = f"{key.dataset}, protocol {key.protocol}, preset {key.preset}"
        same_lists, other_lists = _with_the_newest_candidates(grouped[key], where)
        counting, superseded = _newest_of_each_system(same_lists, where)
        sentences += other_lists + superseded
        variant = key.variant if sharing[key.stem().casefold()] > 1 else ""
        groups.append(RunGroup(key, variant, tuple(counting)))
    return Collection(tuple(groups), tuple(sentences))


def _guests(
    handed_in: Sequence[Run], grouped: Mapping[GroupKey, list[Run]]
) -> tuple[list[Run], list[str]]:
    """Put each run that was handed in into every group of its data and protocol.

    Returns:
        Those that no group takes, which have a group of their own, and what must be told: of runs
        on other lists than a group's newest run ranked, since these are no reason to leave its own
        runs aside.
    """
    alone, sentences = [], []
    own = {key: list(runs) for key, runs in grouped.items()}
    for run in handed_in:
        copies = {key: _with_preset(run, key.preset) for key in own}
        hosts = [key for key, copy in copies.items() if group_key(copy) == key]
        for key in hosts:
            newest = _newest_candidates(own[key])
            lists = run.record.protocol.candidates
            if all(newest.get(task, found) == found for task, found in lists.items()):
                grouped[key].append(copies[key])
            else:
                sentences.append(
                    f"{run.folder}: was ranked on other candidate lists than the newest run of "
                    f"{key.dataset}, protocol {key.protocol}, preset {key.preset}; left aside."
                )
        if not hosts:
            alone.append(run)
    return alone, sentences


def _with_preset(run: Run, preset: str) -> Run:
    """A run that was handed in, as a guest among runs of a preset."""
    return run.model_copy(update={"record": run.record.model_copy(update={"preset": preset})})


def _read_all(root: Path) -> tuple[list[Run], list[str]]:
    """Every run below ``root``, and a sentence for each folder that looks like one and is none."""
    # A damaged run may have lost any one of its files, run.json as well.
    found = files_below(root, (RUN_FILE, METRICS_FILE, RANKS_FILE))
    runs, sentences = [], []
    for folder in dict.fromkeys(path.parent for path in found):
        places = (folder, *folder.parents)[: len(folder.relative_to(root).parts)]
        if any(is_partial(place) for place in places):
            if folder.exists():
                sentences.append(f"{folder}: is still being written or was left by a killed run.")
            continue
        if any(place.name == SYSTEM_FOLDER and is_complete(place.parent) for place in places):
            continue  # what a system keeps may have any name
        run = _read(folder)
        if isinstance(run, str):
            run = _read(folder)  # it may have been replaced between two of its files
        if isinstance(run, Run):
            runs.append(run)
        elif folder.exists():
            sentences.append(run)
    return runs, sentences


def _read(folder: Path) -> Run | str:
    """The run in ``folder``, or a sentence on why there is none."""
    try:
        run = read_run(folder)
        finished_at(run)
        group_key(run)
        return run
    except BenchmarkError as error:
        return f"{error} It is not in the report."
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        # The manifest itself may hold anything once the disk or a hand has changed it.
        what = "manifest or record" if is_complete(folder) else "record"
        reason = shortened(f"{type(error).__name__}: {error}")
        return f"{folder}: its {what} is damaged ({reason}). It is not in the report."


def _age(run: Run) -> tuple[datetime, str]:
    # The folder decides between equal times, so that the choice never depends on reading order.
    return finished_at(run), str(run.folder)


def _named(runs: Sequence[Run]) -> str:
    names = [str(run.folder) for run in sorted(runs, key=_age, reverse=True)]
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + rest


def _with_the_newest_candidates(runs: Sequence[Run], where: str) -> tuple[list[Run], list[str]]:
    """The runs that ranked the same candidate lists as the newest one, and the others' sentence.

    Equal settings give equal lists, unless the code that draws them has changed in between.
    """
    newest = _newest_candidates(runs)

    def agrees(run: Run) -> bool:
        return all(newest[task] == found for task, found in run.record.protocol.candidates.items())

    others = [run for run in runs if not agrees(run)]
    if not others:
        return list(runs), []
    sentence = (
        f"{where}: {counted(len(others), 'run')} ranked other candidate lists than the newest run "
        f"and cannot be compared with it; left aside: {_named(others)}."
    )
    return [run for run in runs if agrees(run)], [sentence]


def _newest_candidates(runs: Iterable[Run]) -> dict[str, str]:
    """Task → fingerprint of the lists that the newest run with the task ranked."""
    newest: dict[str, str] = {}
    for run in sorted(runs, key=_age):
        newest.update(run.record.protocol.candidates)
    return newest


def _newest_of_each_system(runs: Iterable[Run], where: str) -> tuple[list[Run], list[str]]:
    """For each system the configuration of its newest run, and of that the newest run a seed."""
    by_system: defaultdict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_system[run.record.system.name].append(run)

    counting, sentences = [], []
    for name in sorted(by_system):
        newest = max(by_system[name], key=_age)
        configuration = newest.record.system.configuration
        same = [run for run in by_system[name] if run.record.system.configuration == configuration]
        others = [run for run in by_system[name] if run not in same]
        if others:
            sentences.append(
                f"{where}: {name} has runs with different configurations; the newest counts "
                f"({newest.folder}); left aside: {_named(others)}."
            )
        by_seed: defaultdict[int, list[Run]] = defaultdict(list)
        for run in same:
            by_seed[run.record.seed].append(run)
        for seed, repeated in sorted(by_seed.items()):
            *older, last = sorted(repeated, key=_age)
            counting.append(last)
            if older:
                sentences.append(
                    f"{where}: {name} has {len(repeated)} runs with seed {seed}; the newest counts "
                    f"({last.folder}); left aside: {_named(older)}."
                )
    return counting, sentences
