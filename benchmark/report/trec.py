"""Ranks as TREC run and qrels files, so that an outside evaluator can check our metrics.

A run keeps how many candidates stood above an event's target and how many were tied with it, not
which ones; so the others are called ``above-0``, ``tied-0`` and so on. Tied candidates have the
target's score. Evaluators break ties by rules of their own; trec_eval takes the name that is last
in the alphabet first, so it ranks ``target`` below every ``tied-*``: with ties, its figures
are those of the pessimistic rule. Reference runs keep no ranks below the largest cutoff: a target
below it is left out, which changes no metric up to there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmark.errors import BenchmarkError
from benchmark.files import atomic_path
from benchmark.protocol.metrics import Ranks
from benchmark.report.collect import collect
from benchmark.report.events import LARGEST_CUTOFF, TOP_FILE, read_ranks, read_top
from benchmark.report.text import file_name
from benchmark.runs.record import RANKS_FILE, Run

_TARGET = "target"


def write_trec(runs_root: Path, out: Path) -> tuple[list[Path], list[str]]:
    """Write ``out/<group>/<system>-<seed>-<task>.trec`` and ``out/<group>/<task>.qrels``.

    Returns:
        The files, and what the reader must be told.

    Raises:
        BenchmarkError: there are no runs, or ``out`` cannot be written.
    """
    collection = collect(runs_root)
    if not collection.groups:
        raise BenchmarkError(f"{runs_root}: there are no runs to export.")
    paths: list[Path] = []
    sentences = list(collection.sentences)
    for group in collection.groups:
        folder = out / group.key.stem(group.variant)
        events: dict[str, int] = {}
        for run in group.runs:
            if run.record.status != "finished":
                continue
            try:
                found = _ranks(run)
            except BenchmarkError as error:
                sentences.append(f"{error} It is not exported.")
                continue
            name = file_name(run.record.system.name, str(run.record.seed))
            for task, ranks in found.items():
                events[task] = max(events.get(task, 0), len(ranks))
                path = folder / f"{name}-{file_name(task)}.trec"
                paths.append(_write(path, _run_lines(task, ranks, name)))
        for task, number in events.items():
            lines = (f"{_event(task, i)} 0 {_TARGET} 1\n" for i in range(number))
            paths.append(_write(folder / f"{file_name(task)}.qrels", lines))
    return paths, sentences


def _ranks(run: Run) -> dict[str, Ranks]:
    if (run.folder / RANKS_FILE).is_file():
        return read_ranks(run.folder / RANKS_FILE)
    if (run.folder / TOP_FILE).is_file():
        top = {task: ranks for task, (ranks, _) in read_top(run.folder / TOP_FILE).items()}
        return {
            task: Ranks(ranks.above, ranks.tied, ranks.above < LARGEST_CUTOFF)
            for task, ranks in top.items()
        }
    raise BenchmarkError(f"{run.folder}: has no ranks of single events.")


def _event(task: str, row: int) -> str:
    """The id of a test event, as in the exported candidate lists."""
    return f"{task}-test-{row:06d}"


def _run_lines(task: str, ranks: Ranks, tag: str) -> Iterator[str]:
    """The lines of a run file, event by event, with scores 2 above, 1 at and below the target."""
    for row in range(len(ranks)):
        event = _event(task, row)
        above, tied = int(ranks.above[row]), int(ranks.tied[row])
        names = [f"above-{i}" for i in range(above)]
        scores = ["2"] * above
        if ranks.returned[row]:
            names += [_TARGET, *(f"tied-{i}" for i in range(tied))]
            scores += ["1"] * (1 + tied)
        elif not above:
            # An event without any line would count as none at all.
            names, scores = ["above-0"], ["2"]
        yield "".join(
            f"{event} Q0 {name} {place} {score} {tag}\n"
            for place, (name, score) in enumerate(zip(names, scores, strict=True), start=1)
        )


def _write(path: Path, lines: Iterator[str]) -> Path:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as opened:
        opened.writelines(lines)
    return path
