"""Tasks kept in files by the content of data set and settings, so that lists are made once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.dataset import Dataset
from benchmark.data.prepare import BLOCKS_SUFFIX
from benchmark.errors import BenchmarkError
from benchmark.files import (
    atomic_path,
    build_folder,
    check_manifest,
    is_complete,
    read_json,
    remove_folder,
    sha256_of_json,
    write_json,
)
from benchmark.loaded import sources_as_loaded
from benchmark.locks import locked
from benchmark.protocol.blocks import Blocks
from benchmark.protocol.candidates import Candidates
from benchmark.protocol.histories import EventSet
from benchmark.protocol.lists import HELD_OUT
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import TASKS, Task, build_tasks, origin_of


def load_tasks(dataset: Dataset, settings: ProtocolSettings, root: Path) -> dict[str, Task]:
    """:func:`build_tasks`, kept below ``root`` by the content of data set and settings.

    Lists are kept block by block while they are made, so what was finished outlasts a kill.

    Raises:
        BenchmarkError: see :func:`build_tasks`; or ``root`` cannot be written.
    """
    key = sha256_of_json([dataset.content_and_salt, settings.of_lists(), _code_version()])
    folder = root / f"tasks-{key[:24]}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with locked(Path(f"{folder}.lock")):
            blocks = Blocks(Path(f"{folder}{BLOCKS_SUFFIX}"), key)
            kept = _read_if_whole(folder, key)
            if kept is not None:
                blocks.remove()  # a kill came between the keeping and the clearing up
                # Kept lists serve settings that they do not hang on, but an origin does.
                origin = origin_of(dataset, settings)
                return {name: replace(task, origin=origin) for name, task in kept.items()}
            tasks = build_tasks(dataset, settings, blocks)
            remove_folder(folder)
            build_folder(folder, lambda place: _write(place, tasks, key))
            blocks.remove()
    except OSError as error:
        reason = error.strerror or error
        raise BenchmarkError(f"{root}: tasks cannot be kept there ({reason}).") from error
    return tasks


def _code_version() -> str:
    """A hash of the sources that decide what the lists are, as this process has loaded them."""
    packages = ("benchmark.protocol", "benchmark.retrieval", "benchmark.hashing")
    return sha256_of_json([sources_as_loaded(package) for package in packages])


def _read_if_whole(folder: Path, key: str) -> dict[str, Task] | None:
    """The tasks kept in ``folder``; None if there are none, or damaged ones, or others than asked.

    Args:
        key: that of the tasks that are asked for.
    """
    if not is_complete(folder):
        return None
    try:
        check_manifest(folder)
        return _read(folder) if read_json(folder / _INDEX)["key"] == key else None
    except Exception:
        return None  # whatever is wrong with it, it is made again


_INDEX = "tasks.json"
_EVENT_COLUMNS = ("position", "seen_recommendation", "seen_search", "hidden")


def _write(folder: Path, tasks: dict[str, Task], key: str) -> None:
    index: dict[str, Any] = {}
    for name, task in tasks.items():
        arrays: dict[str, Any] = {"known_users": task.known_users}
        for part in ("train", *HELD_OUT):
            events: EventSet = getattr(task, part)
            arrays.update({f"{part}/{c}": getattr(events, c) for c in _EVENT_COLUMNS})
        for part in HELD_OUT:
            arrays[f"{part}/candidates"] = task.candidates(part).items
            arrays[f"{part}/target_column"] = task.candidates(part).target_column
            if task.candidates(part).gains is not None:
                arrays[f"{part}/gains"] = task.candidates(part).gains
        arrays["unranked"] = task.unranked
        arrays["unranked_test"] = task.unranked_test
        with atomic_path(folder / f"{name}.npz") as path, path.open("wb") as opened:
            np.savez(opened, **arrays)
        index[name] = {"fill_ups": task.fill_ups, "notes": list(task.notes)}
    write_json(folder / _INDEX, {"key": key, "tasks": index})


def _read(folder: Path) -> dict[str, Task]:
    index = read_json(folder / _INDEX)["tasks"]
    tasks = {}
    for name in sorted(index, key=TASKS.index):
        with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
            train, valid, test = (
                EventSet(*(arrays[f"{part}/{column}"] for column in _EVENT_COLUMNS))
                for part in ("train", *HELD_OUT)
            )
            valid_lists, test_lists = (
                Candidates(
                    arrays[f"{part}/candidates"],
                    arrays[f"{part}/target_column"],
                    arrays.get(f"{part}/gains"),
                )
                for part in HELD_OUT
            )
            known_users = arrays["known_users"]
            unranked = arrays["unranked"]
            unranked_test = arrays["unranked_test"]
        tasks[name] = Task(
            name=name,
            train=train,
            valid=valid,
            test=test,
            valid_candidates=valid_lists,
            test_candidates=test_lists,
            known_users=known_users,
            unranked=unranked,
            unranked_test=unranked_test,
            fill_ups=index[name]["fill_ups"],
            notes=tuple(index[name]["notes"]),
        )
    return tasks
