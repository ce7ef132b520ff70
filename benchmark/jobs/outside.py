"""A run record for a system that ran elsewhere: its TREC files, ranked as any system is.

Files are named by task and view: ``search.trec``, ``search-all-items.trec`` and so on, packed as
``.trec.gz`` or not. A record is found again by a hash of the files, of what the contributor says
of the system, of data, protocol and of the code that ranks, so the same command does nothing twice
and changed files make another record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np

from benchmark.data.dataset import Dataset, LongArray
from benchmark.errors import BenchmarkError, quoted, unknown_value
from benchmark.files import build_folder, remove_folder, sha256_of_file, sha256_of_json, write_json
from benchmark.jobs.describe import dataset_part, protocol_part
from benchmark.jobs.ranks import metrics_of_views, write_judged, write_ranks
from benchmark.jobs.record import (
    JUDGED_FILE,
    METRICS_FILE,
    OUTSIDE_PRESET,
    RANKS_FILE,
    RUN_FILE,
    CostPart,
    OutsidePart,
    Run,
    RunRecord,
    SystemPart,
    TaskName,
)
from benchmark.jobs.store import RunStore
from benchmark.loaded import sources_as_loaded
from benchmark.protocol.all_items import eligible_items
from benchmark.protocol.metrics import VIEWS, Ranks, View
from benchmark.protocol.outside import read_run, read_run_among_all
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task
from benchmark.systems.catalogue import OUTSIDE_FAMILY, entries, family_order

SUFFIXES = (".trec", ".trec.gz")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
_LONGEST = 300  # characters of what a contributor says

Files = dict[tuple[str, View], Path]


@dataclass(frozen=True)
class OutsideSystem:
    """What a contributor says of a system. ``label`` is how tables call it; ``seed`` its run's."""

    name: str
    label: str
    family: str = OUTSIDE_FAMILY
    seed: int = 0
    contributor: str = ""
    url: str = ""
    hardware: str = ""

    def refuse_unusable(self, where: str) -> None:
        """Stop at what no table can show.

        Args:
            where: an option or file that begins the sentence, with ``{}`` for the field's name.

        Raises:
            BenchmarkError: the name is none or a row's of the catalogue, the family is unknown, or
                a text is empty, too long, or no address.
        """
        place = where.format("name")
        if not _NAME.fullmatch(self.name):
            raise BenchmarkError(
                f"{place} {quoted(self.name)}: must be at most 60 of A-Z, a-z, 0-9, '.', '_' and "
                "'-', and begin with none of these three."
            )
        if self.name.lower() in entries():
            raise BenchmarkError(
                f"{place} {quoted(self.name)}: is a system of the suite; another one needs another "
                "name."
            )
        if self.family not in _families():
            raise unknown_value("family", self.family, _families(), where.format("family"))
        if not 0 <= self.seed < 2**32:
            raise BenchmarkError(f"{where.format('seed')} {self.seed}: must be from 0 to 2^32 - 1.")
        for field in ("label", "contributor", "url", "hardware"):
            text = getattr(self, field)
            if len(text) > _LONGEST or any(not character.isprintable() for character in text):
                raise BenchmarkError(
                    f"{where.format(field)} {quoted(text)}: must be at most {_LONGEST} characters "
                    "on one line."
                )
        if not self.label.strip():
            raise BenchmarkError(f"{where.format('label')}: must not be empty.")
        if self.url and not self.url.startswith(("https://", "http://")):
            raise BenchmarkError(
                f"{where.format('url')} {quoted(self.url)}: must begin with https:// or http://."
            )


def _families() -> tuple[str, ...]:
    return tuple(dict.fromkeys((*family_order(), OUTSIDE_FAMILY)))


def file_key(task: str, view: View) -> str:
    """How a file of a task and view is called, without its ending."""
    return task if view == "lists" else f"{task}-{view}"


def files_in(folder: Path) -> Files:
    """The TREC files of a folder by task and view.

    Raises:
        BenchmarkError: there are none, one has another name, or one is there packed and not.
    """
    known: dict[str, tuple[str, View]] = {
        file_key(task, view): (task, view) for task in _task_names() for view in VIEWS
    }
    found: Files = {}
    for path in sorted(folder.iterdir()):
        suffix = next((one for one in reversed(SUFFIXES) if path.name.endswith(one)), None)
        if suffix is None or path.name.startswith("."):
            continue
        key = known.get(path.name.removesuffix(suffix))
        allowed = ", ".join(f"{name}.trec" for name in known)
        if key is None:
            raise BenchmarkError(
                f"{path}: is no name of a run; allowed are {allowed}, each also as .trec.gz."
            )
        if key in found:
            raise BenchmarkError(
                f"{path}: is there beside {found[key].name}; remove one of the two."
            )
        found[key] = path
    if not found:
        raise BenchmarkError(
            f"{folder}: holds no run; one is called {' or '.join(f'{n}.trec' for n in known)}."
        )
    return {key: found[key] for key in known.values() if key in found}


def _task_names() -> tuple[TaskName, ...]:
    return get_args(TaskName)


@dataclass(frozen=True)
class RankedFile:
    """Where a file ranks each target, and ``others``, (events,), against how many.

    ``unnamed`` counts the candidates, or admitted items, that it does not name, over all events;
    ``passed_over`` its lines of items that are not ranked for their event.
    """

    path: Path
    ranks: Ranks
    others: LongArray
    unnamed: int
    passed_over: int


Ranked = dict[tuple[str, View], RankedFile]


def rank_files(
    files: Mapping[tuple[str, View], Path],
    dataset: Dataset,
    tasks: Mapping[str, Task],
    settings: ProtocolSettings,
) -> Ranked:
    """Rank the test events by the scores of some files.

    Raises:
        BenchmarkError: the data set lacks a task; or a file is no run of these tests, as
            :func:`benchmark.protocol.outside.read_run` says.
    """
    for (name, _), path in files.items():
        if name not in tasks:
            raise BenchmarkError(f"{path}: data set {dataset.name} has no {name} events.")
    return {
        (name, view): _ranked(path, dataset, tasks[name], settings, view)
        for (name, view), path in files.items()
    }


def _ranked(
    path: Path, dataset: Dataset, task: Task, settings: ProtocolSettings, view: View
) -> RankedFile:
    if view == "lists":
        lists = task.test_candidates
        found = read_run(path, dataset, task)
        ranks = lists.ranks(found.scores)
        return RankedFile(path, ranks, lists.lengths - 1, found.unscored, found.outside)
    barred = task.barred(dataset, settings)
    others = eligible_items(barred, len(task.test))
    among_all = read_run_among_all(path, dataset, task, barred)
    return RankedFile(path, among_all.ranks, others, among_all.unnamed, among_all.barred)


def tasks_in(keys: Iterable[tuple[str, View]]) -> tuple[TaskName, ...]:
    """The tasks that any view has, in their usual order."""
    present = {name for name, _ in keys}
    return tuple(name for name in _task_names() if name in present)


@dataclass(frozen=True)
class _Place:
    """Where a record goes; see :class:`benchmark.jobs.store.HasPlace`."""

    identity: str
    dataset: str
    protocol: str
    system: str


def record_outside(
    system: OutsideSystem,
    ranked: Ranked,
    dataset: Dataset,
    tasks: Mapping[str, Task],
    protocol: str,
    settings: ProtocolSettings,
    results: Path,
    *,
    fresh: bool = False,
) -> tuple[Run, bool]:
    """Keep what was ranked as a run below ``results``, unless it is there already.

    Args:
        system: what is said of it.
        ranked: of :func:`rank_files`.
        dataset: the data.
        tasks: of the data set under ``settings``.
        protocol: the name of the protocol.
        settings: of the protocol.
        results: the results folder.
        fresh: write it again even if it is there.

    Returns:
        The run, and whether it was written now.

    Raises:
        MachineFault: the folder cannot be written.
    """
    files = {file_key(*key): sha256_of_file(one.path) for key, one in ranked.items()}
    shown = settings.model_dump(mode="json")
    determined_by = {
        "outside": asdict(system),
        "files": files,
        "dataset": dataset.content_and_salt,
        "protocol": [protocol, shown],
        "code": sources_as_loaded("benchmark.protocol"),
    }
    place = _Place(sha256_of_json(determined_by), dataset.name, protocol, system.name)
    store = RunStore(results)
    store.prepare()
    with store.locked(place):
        done = None if fresh else store.read(place)
        if done is not None:
            return done, False
        chosen: dict[str, Task] = {name: tasks[name] for name in tasks_in(ranked)}
        record = _record(place, system, files, ranked, dataset, chosen, shown)
        by_view = {view: {n: one for (n, v), one in ranked.items() if v == view} for view in VIEWS}
        ranks = {view: {n: one.ranks for n, one in of.items()} for view, of in by_view.items()}
        others = {view: {n: one.others for n, one in of.items()} for view, of in by_view.items()}
        users = {name: dataset.log.user[task.test.position] for name, task in chosen.items()}

        def fill(folder: Path) -> None:
            write_json(folder / RUN_FILE, record.model_dump(mode="json"))
            write_json(folder / METRICS_FILE, metrics_of_views(ranks, settings))
            write_ranks(folder / RANKS_FILE, ranks, others, users)
            write_judged(folder / JUDGED_FILE, ranks)

        remove_folder(store.folder(place))
        build_folder(store.folder(place), fill)
        run = store.read(place)
    if run is None:
        raise BenchmarkError(f"{store.folder(place)}: the run just written cannot be read back.")
    return run, True


def _record(
    place: _Place,
    system: OutsideSystem,
    files: dict[str, str],
    ranked: Ranked,
    dataset: Dataset,
    tasks: Mapping[str, Task],
    settings: dict[str, Any],
) -> RunRecord:
    def left_out(view: View) -> dict[str, float]:
        return {
            name: float(np.mean(~one.ranks.returned))
            for (name, of_view), one in ranked.items()
            if of_view == view
        }

    all_items = {
        name: float(one.others.mean()) + 1
        for (name, view), one in ranked.items()
        if view == "all-items"
    }
    return RunRecord(
        identity=place.identity,
        status="finished",
        dataset=dataset_part(dataset),
        protocol=protocol_part(place.protocol, settings, dataset, tasks, all_items),
        system=SystemPart(
            name=system.name,
            display_name=system.label,
            family=system.family,
            tasks=tasks_in(ranked),
            reference="",
            configuration={},
            left_out=left_out("all-items"),
        ),
        preset=OUTSIDE_PRESET,
        seed=system.seed,
        cost=CostPart(),
        outside=OutsidePart(
            files=files,
            contributor=system.contributor,
            url=system.url,
            hardware=system.hardware,
            left_out_of_lists=left_out("lists"),
        ),
        environment={},
        finished_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
