"""The test events of all runs, by view, task and system, and which of them are the same ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.errors import BenchmarkError
from benchmark.jobs.record import Run, TaskName
from benchmark.protocol.metrics import View
from benchmark.report.reading.events import TaskEvents, read_events


@dataclass(frozen=True)
class EventsOfRuns:
    """View → task → system → the events of its finished runs, one entry a seed.

    ``sentences`` say which runs have none.
    """

    by_view: Mapping[View, Mapping[str, Mapping[str, Sequence[TaskEvents]]]]
    sentences: tuple[str, ...]

    def of(self, view: View, task: str) -> Mapping[str, Sequence[TaskEvents]]:
        """System → its events; none if no run has that view of the task."""
        return self.by_view.get(view, {}).get(task, {})


def collect_events(runs: Sequence[Run]) -> EventsOfRuns:
    """Read the events of comparable runs."""
    found: dict[View, defaultdict[str, dict[str, list[TaskEvents]]]] = {}
    sentences: list[str] = []
    without: list[str] = []
    for run in sorted(runs, key=lambda run: (run.record.system.name, run.record.seed)):
        if run.record.status != "finished":
            continue
        try:
            events = read_events(run)
        except BenchmarkError as error:
            sentences.append(f"{error} It takes no part in the statistics.")
            continue
        if not events:
            without.append(run.record.system.name)
        for view, tasks in events.items():
            of_view = found.setdefault(view, defaultdict(dict))
            for task, of_task in tasks.items():
                of_view[task].setdefault(run.record.system.name, []).append(of_task)
    if without:
        names = ", ".join(dict.fromkeys(without))
        sentences.append(f"Without ranks of single events, hence without intervals: {names}.")
    return EventsOfRuns(found, tuple(sentences))


def of_the_same_events(
    task: TaskName, events: Mapping[str, Sequence[TaskEvents]]
) -> tuple[dict[str, Sequence[TaskEvents]], list[str]]:
    """The systems whose runs have as many events as most, of the same users; and the others."""
    lengths = {name: {len(e.gains) for e in seeds} for name, seeds in events.items()}
    counted: defaultdict[int, int] = defaultdict(int)
    for of_system in lengths.values():
        for length in of_system:
            counted[length] += 1
    if not counted:
        return {}, []
    usual = max(counted, key=lambda length: (counted[length], length))
    kept = {name: e for name, e in events.items() if lengths[name] == {usual} and usual}
    sentences = [
        f"{name}: its number of {task} events differs from others'."
        for name in sorted(set(events) - set(kept))
    ]
    users = users_of(kept)
    for name in sorted(kept):
        known = [e.users for e in kept[name] if e.users is not None]
        if users is not None and any(not np.array_equal(own, users) for own in known):
            del kept[name]
            sentences.append(f"{name}: its {task} events are of other users than others'.")
    return kept, sentences


def users_of(events: Mapping[str, Sequence[TaskEvents]]) -> NDArray[np.int64] | None:
    """The users of test events that all systems share; None if no run says them."""
    for name in sorted(events):
        for of_seed in events[name]:
            if of_seed.users is not None:
                return of_seed.users
    return None
