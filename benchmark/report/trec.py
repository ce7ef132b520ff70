"""Runs as TREC run and qrels files of both views, so that others can check our metrics.

A run folder keeps the scores of all candidates, and data set and protocol give the lists; so the
files hold the items' own ids and the events' ids of ``python -m benchmark.protocol export``. Of
the ranks among all items it keeps the best, as many as the largest cut-off: their files give every
metric of that view, and no rank below.

Tied candidates have equal scores there, so ``python -m benchmark.protocol evaluate`` finds the
figures of a table of lists: it counts ties as the protocol does, by the mean over all their orders
unless a setting says otherwise. Other evaluators break ties by rules of their own (trec_eval takes
the item whose id is last in the alphabet first), so their figures differ where targets are tied.

Reference runs hold neither scores nor full ranks: they cannot be exported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from benchmark.data.dataset import Dataset, IntArray
from benchmark.data.prepare import load, stored_with
from benchmark.errors import BenchmarkError
from benchmark.jobs.record import BEST_FILE, SCORES_FILE, Run
from benchmark.jobs.scores import read_best, read_scores
from benchmark.protocol.kept_tasks import load_tasks
from benchmark.protocol.metrics import View
from benchmark.protocol.outside import event_ids
from benchmark.protocol.settings import ProtocolSettings
from benchmark.protocol.task import Task
from benchmark.protocol.trec import item_words, write_qrels, write_run
from benchmark.report.reading.collect import RunGroup, collect
from benchmark.report.reading.text import file_name
from benchmark.report.reading.views import with_view

TIES_EXPLAINED = (
    "tied candidates have equal scores there, which `python -m benchmark.protocol evaluate` counts "
    "by the protocol's rule; other evaluators break ties by rules of their own"
)


def write_trec(runs_root: Path, out: Path, prepared: Path) -> tuple[list[Path], list[str]]:
    """Write ``out/<group>/<system>-<seed>-<task>.trec`` and ``out/<group>/<task>.qrels``.

    What a run ranked among all items is beside it, ``<system>-<seed>-<task>-all-items.trec``; the
    relevant items are the same.

    Args:
        runs_root: a folder of run folders, at any depth.
        out: where the files are written.
        prepared: where the prepared data sets of the runs lie.

    Returns:
        The files, and what the reader must be told: which runs are not exported and why.

    Raises:
        BenchmarkError: there are no runs, or ``out`` cannot be written.
    """
    collection = collect(runs_root)
    if not collection.groups:
        raise BenchmarkError(f"{runs_root}: there are no runs to export.")
    paths: list[Path] = []
    sentences = list(collection.sentences)
    for group in collection.groups:
        written, told = _export_group(group, out / group.key.stem(group.variant), prepared)
        paths += written
        sentences += told
    return paths, sentences


def _export_group(group: RunGroup, folder: Path, prepared: Path) -> tuple[list[Path], list[str]]:
    finished = [run for run in group.runs if run.record.status == "finished"]
    with_scores = [run for run in finished if (run.folder / SCORES_FILE).is_file()]
    sentences = []
    if len(with_scores) < len(finished):
        without = [run.record.system.name for run in finished if run not in with_scores]
        names = ", ".join(dict.fromkeys(without))
        sentences.append(f"Without the scores of single candidates, hence not exported: {names}.")
    if not with_scores:
        return [], sentences
    try:
        dataset, tasks = _lists_of(with_scores[0], prepared)
    except BenchmarkError as error:
        return [], [*sentences, f"{error} Its runs are not exported."]
    words = item_words(dataset.items.external_id)
    paths: list[Path] = []
    used: dict[str, Task] = {}
    for run in with_scores:
        try:
            for task in run.metrics:
                paths.append(_export_run(run, task, tasks, words, folder))
                used[task] = tasks[task]
                if task in run.all_items:
                    targets = dataset.log.item[tasks[task].test.position]
                    paths.append(_export_best(run, tasks[task], targets, words, folder))
        except BenchmarkError as error:
            sentences.append(f"{error} It is not exported.")
    for name, of_task in used.items():
        paths.append(folder / f"{file_name(name)}.qrels")
        targets = dataset.log.item[of_task.test.position]
        judged = of_task.judged(dataset)
        write_qrels(paths[-1], event_ids(of_task), targets, words, judged)
    return paths, sentences


def _lists_of(run: Run, prepared: Path) -> tuple[Dataset, dict[str, Task]]:
    """The data set and the candidate lists that ``run`` was made on.

    Raises:
        BenchmarkError: they are not there and cannot be made.
    """
    of_run = run.record.dataset
    dataset = stored_with(of_run.fingerprint, prepared) or load(of_run.name, root=prepared)
    if dataset.fingerprint != of_run.fingerprint:
        raise BenchmarkError(
            f"{run.folder}: was made on another state of data set {of_run.name} than "
            f"{prepared} holds."
        )
    try:
        settings = ProtocolSettings.model_validate(run.record.protocol.settings)
    except ValidationError:
        raise BenchmarkError(
            f"{run.folder}: its protocol has settings that this version does not take."
        ) from None
    return dataset, load_tasks(dataset, settings, prepared)


def _export_run(
    run: Run, name: str, tasks: Mapping[str, Task], words: list[str], folder: Path
) -> Path:
    task = tasks.get(name)
    recorded = run.record.protocol.candidates.get(name)
    if task is None or task.test_candidates.fingerprint != recorded:
        raise BenchmarkError(
            f"{run.folder}: ranked other {name} lists than its protocol gives here: lists from "
            "outside, or those of another version."
        )
    candidates = task.test_candidates.items
    scores = read_scores(run.folder / SCORES_FILE, name)
    if scores.shape != candidates.shape:
        raise BenchmarkError(
            f"{run.folder / SCORES_FILE}: has {name} scores of shape {scores.shape}, and the lists "
            f"are {candidates.shape}."
        )
    path, tag = _path_and_tag(run, name, "lists", folder)
    write_run(path, event_ids(task), candidates, scores, words, tag)
    return path


def _export_best(
    run: Run, task: Task, targets: IntArray, words: Sequence[str], folder: Path
) -> Path:
    """The best of all items of each event; ``targets`` (events,) are the relevant ones."""
    items, scores = read_best(run.folder / BEST_FILE, task.name)
    if len(items) != len(targets):
        raise BenchmarkError(
            f"{run.folder / BEST_FILE}: has {len(items)} {task.name} events, and the test has "
            f"{len(targets)}."
        )
    # An event of which nothing was returned still has a line, with an item that is not relevant.
    first = np.where(items[:, 0] > 0, items[:, 0], np.where(targets == 1, 2, 1))
    items = np.column_stack([first, items[:, 1:]])
    path, tag = _path_and_tag(run, task.name, "all-items", folder)
    write_run(path, event_ids(task), items, scores, words, tag)
    return path


def _path_and_tag(run: Run, task: str, view: View, folder: Path) -> tuple[Path, str]:
    tag = file_name(run.record.system.name, str(run.record.seed))
    return folder / f"{with_view(f'{tag}-{file_name(task)}', view)}.trec", tag
