"""Every figure of a submission, computed anew from its ranks or TREC files.

Ranks alone give the figures without any data. Where the data set is at hand, it is compared with
what the manifest names, the ranks with its events, and TREC files are ranked again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.dataset import Dataset
from benchmark.data.prepare import load, stored_with
from benchmark.data.recipe import load_recipe, recipe_names
from benchmark.errors import BenchmarkError
from benchmark.jobs.outside import Ranked, file_key, rank_files
from benchmark.jobs.ranks import metrics_of_views
from benchmark.jobs.record import JUDGED_FILE, RANKS_FILE
from benchmark.protocol.all_items import eligible_items
from benchmark.protocol.graded import COLUMNS, JudgedItems, JudgedRanks
from benchmark.protocol.kept_tasks import load_tasks
from benchmark.protocol.metrics import VIEWS, View
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task
from benchmark.report.reading.ranks import EventRanks, read_ranks
from benchmark.report.submissions import (
    MANIFEST_FILE,
    Submission,
    figures_of_ranks,
    read_submission,
    refuse_other_figures,
)


@dataclass(frozen=True)
class Checked:
    """A submission that is what it says; ``sentences`` say what was compared and what was not."""

    submission: Submission
    sentences: tuple[str, ...]


def check_submission(folder: Path, prepared: Path) -> Checked:
    """Compute every figure of a submission anew.

    Args:
        folder: of the submission.
        prepared: where prepared data sets lie.

    Raises:
        BenchmarkError: the manifest is wrong, a figure deviates by more than 1e-6, the data or the
            lists are others than named, or only TREC files are there and the data are not.
    """
    submission = read_submission(folder)
    sentences = []
    has_ranks = submission.ranks_file is not None
    if has_ranks:
        refuse_other_figures(submission, figures_of_ranks(submission), RANKS_FILE)
        sentences.append(f"its figures follow from {RANKS_FILE}")
    dataset = _dataset_of(submission, prepared)
    if dataset is not None:
        tasks = load_tasks(dataset, submission.settings, prepared)
        _refuse_other_data(submission, dataset, tasks)
        sentences.append("data and lists are those that it names")
        if has_ranks:
            _refuse_other_events(submission, dataset, tasks)
        if submission.trec_files:
            _check_trec(submission, dataset, tasks)
            sentences.append("its TREC files give the same figures")
    elif not has_ranks:
        raise BenchmarkError(
            f"{folder}: holds TREC files alone, and data set {submission.manifest.dataset} is not "
            f"at hand; prepare it, or hand in {RANKS_FILE} beside them."
        )
    else:
        sentences.append(
            f"data set {submission.manifest.dataset} is not at hand, so lists and TREC files were "
            "not looked at"
        )
    return Checked(submission, tuple(sentences))


def _dataset_of(submission: Submission, prepared: Path) -> Dataset | None:
    """The data set, if it is prepared or needs no files; nothing is downloaded."""
    manifest = submission.manifest
    found = stored_with(manifest.dataset_fingerprint, prepared)
    if found is not None or manifest.dataset not in recipe_names():
        return found
    if load_recipe(manifest.dataset).reads_a_folder:
        return None
    return load(manifest.dataset, root=prepared)


def _refuse_other_data(submission: Submission, dataset: Dataset, tasks: Mapping[str, Task]) -> None:
    manifest, path = submission.manifest, submission.folder / MANIFEST_FILE
    if dataset.fingerprint != manifest.dataset_fingerprint:
        raise BenchmarkError(
            f"{path}: dataset_fingerprint: is not that of {dataset.name} here, which is "
            f"{dataset.fingerprint}."
        )
    for name, given in manifest.lists.items():
        own = tasks[name].test_candidates.fingerprint if name in tasks else "none"
        if given != own:
            raise BenchmarkError(
                f"{path}: lists.{name}: is not the fingerprint of the lists of {dataset.name} "
                f"under protocol {submission.protocol}, which is {own}."
            )


def _refuse_other_events(
    submission: Submission, dataset: Dataset, tasks: Mapping[str, Task]
) -> None:
    """Ranks must be of the events that the protocol tests, against as many items as it says."""
    path = submission.folder / RANKS_FILE
    for view, of_view in read_ranks(path).items():
        for name, found in of_view.items():
            task = tasks[name]
            if view == "lists":
                others = task.test_candidates.lengths - 1
            else:
                barred = task.barred(dataset, submission.settings)
                others = eligible_items(barred, len(task.test))
            users = dataset.log.user[task.test.position]
            for column, own in (("others", others), ("user", users)):
                given = found.others if column == "others" else found.users
                if given is None or not np.array_equal(given, own):
                    raise BenchmarkError(
                        f"{path}: column {column}: is not that of the {name} test ({view}) of "
                        f"{dataset.name} under protocol {submission.protocol}."
                    )
            given_items, own_items = (
                None if one is None else [one.event, one.gain]
                for one in (found.ranks.judged, _judged(dataset, task, submission.settings, view))
            )
            if not _are_equal(given_items, own_items):
                raise BenchmarkError(
                    f"{path.with_name(JUDGED_FILE)}: does not hold the items that were judged for "
                    f"the {name} test ({view}) of {dataset.name}, and nothing else."
                )


def _judged(
    dataset: Dataset, task: Task, settings: ProtocolSettings, view: View
) -> JudgedItems | JudgedRanks | None:
    """The items with a gain that a view ranks, in the order of their ranks; None if not graded."""
    lists, judged = task.test_candidates, task.judged(dataset)
    if judged is None or lists.gains is None:
        return None
    if view == "lists":
        return JudgedRanks.in_lists(np.zeros(lists.items.shape), lists.gains, lists.is_absent)
    return judged.without(task.barred(dataset, settings))


def _are_equal(given: Sequence[Any] | None, own: Sequence[Any] | None) -> bool:
    if given is None or own is None:
        return given is own
    return all(np.array_equal(one, other) for one, other in zip(given, own, strict=True))


def _check_trec(submission: Submission, dataset: Dataset, tasks: Mapping[str, Task]) -> None:
    ranked = rank_files(submission.trec_files, dataset, tasks, submission.settings)
    if submission.ranks_file is not None:
        _refuse_other_ranks(submission, ranked)
        return
    ranks = {
        view: {name: one.ranks for (name, of_view), one in ranked.items() if of_view == view}
        for view in VIEWS
    }
    found = metrics_of_views({view: of for view, of in ranks.items() if of}, submission.settings)
    refuse_other_figures(submission, found, "TREC files")


def _refuse_other_ranks(submission: Submission, ranked: Ranked) -> None:
    """Where both are there, each file must give the very ranks."""
    path = submission.folder / RANKS_FILE
    stored = read_ranks(path)
    for (name, view), one in ranked.items():
        given: EventRanks | None = stored.get(view, {}).get(name)
        same = given is not None and all(
            np.array_equal(getattr(given.ranks, column), getattr(one.ranks, column))
            for column in ("above", "tied", "returned")
        )
        if same and given is not None:
            same = _are_equal(_columns_of(given.ranks.judged), _columns_of(one.ranks.judged))
        if not same:
            raise BenchmarkError(
                f"{one.path}: gives other ranks than {RANKS_FILE} has for {file_key(name, view)}."
            )


def _columns_of(judged: JudgedRanks | None) -> list[Any] | None:
    return None if judged is None else [getattr(judged, name) for name in COLUMNS]
