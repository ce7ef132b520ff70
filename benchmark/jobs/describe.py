"""What every record says of its data and protocol, whoever made the scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.data.dataset import Dataset
from benchmark.jobs.record import DatasetPart, ProtocolPart
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task


def dataset_part(dataset: Dataset) -> DatasetPart:
    """The data set's name, content and size."""
    log = dataset.log
    return DatasetPart(
        name=dataset.name,
        fingerprint=dataset.fingerprint,
        users=dataset.number_of_users,
        items=dataset.number_of_items,
        queries=len(dataset.queries),
        recommendation_events=len(log.recommendation.positions),
        search_events=len(log.search.positions),
    )


def protocol_part(
    name: str,
    settings: Mapping[str, Any],
    dataset: Dataset,
    tasks: Mapping[str, Task],
    all_items: Mapping[str, float],
) -> ProtocolPart:
    """The protocol, and what it made of the ranked tasks.

    Args:
        name: the preset's, or ``custom:<preset>``.
        settings: every one in force, as JSON has them.
        dataset: the data.
        tasks: those that are ranked.
        all_items: task → mean number of items that a target is ranked among.
    """
    return ProtocolPart(
        name=name,
        settings=dict(settings),
        candidates={name: task.test_candidates.fingerprint for name, task in tasks.items()},
        test_events={name: len(task.test) for name, task in tasks.items()},
        list_lengths={
            name: int(task.test_candidates.lengths.max()) for name, task in tasks.items()
        },
        shortest_lists={
            name: int(task.test_candidates.lengths.min())
            for name, task in tasks.items()
            if task.test_candidates.is_absent is not None
        },
        graded=tuple(
            name for name, task in tasks.items() if task.test_candidates.gains is not None
        ),
        outside_lists=tuple(name for name, task in tasks.items() if task.has_outside_lists),
        all_items=dict(all_items),
        notes={name: task.notes for name, task in tasks.items() if task.notes},
        remarks=ProtocolSettings.model_validate(settings).remarks,
        cold_users={name: task.share_of_cold_users(dataset) for name, task in tasks.items()},
    )
