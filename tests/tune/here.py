"""Trials that run in the process of the command, so that it is this one which is killed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from multiprocessing import Pipe
from types import ModuleType

import pytest
from rich.console import Console

from benchmark.errors import BenchmarkError
from benchmark.tune.studies import Study
from benchmark.tune.worker import _Worker


def run_studies_here(patch: pytest.MonkeyPatch, module: ModuleType) -> None:
    """Let the studies that ``module`` starts run in this process, one after another."""

    def run_studies(
        studies: Sequence[Study], processes: int, console: Console, goes_on: Callable[[], bool]
    ) -> None:
        heard, told = Pipe(duplex=False)
        worker = _Worker(told)
        patch.setattr(worker, "_tell", lambda **news: _refuse(news))
        patch.setattr(worker, "_may_begin", goes_on)
        worker.work(studies)
        heard.close()

    patch.setattr(module, "run_studies", run_studies)


def _refuse(news: dict[str, str]) -> None:
    if news["kind"] == "stopped":
        raise BenchmarkError(news["text"])
    assert news["kind"] != "broken", news["text"]
