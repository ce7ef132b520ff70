"""What a Dask worker does for a tuning: it runs trials as one machine does, in another process.

Whose turn it is, the journal in the results folder says, so workers speak with each other by its
locks alone. The process ends with the worker, or when Dask takes the trials away from it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from distributed import get_worker

from benchmark.run.errand import Outcome, run_errand
from benchmark.tune.crew import Crew

_BETWEEN_NEWS = 0.5  # seconds


def run_trials(sent: Mapping[str, Mapping[str, Any]], *, token: str, topic: str) -> Outcome:
    """Run trials of studies on this worker until none is left to run.

    Args:
        sent: name of a study → what its processes make it of.
        token: of the command.
        topic: under which the command is told what goes on.
    """
    worker, last = get_worker(), 0.0
    device = next(iter(sent.values()))["job"]["device"]

    def hears(news: Mapping[str, Any]) -> None:
        nonlocal last
        if news["kind"] == "progress":
            if time.monotonic() - last < _BETWEEN_NEWS:
                return
            last = time.monotonic()
        worker.log_event(topic, {"style": "", **news})

    def gives_up(study: str, number: int, failure: str) -> None:
        hears({"kind": "gives-up", "study": study, "number": number, "text": failure})

    def work(devices: Sequence[str], is_wanted: Callable[[], bool]) -> Outcome:
        if find_spec("optuna") is None:
            return Outcome("stopped", f"worker {worker.address}: has no Optuna.")
        crew = Crew(sent, hears, gives_up, lambda: True, devices)
        try:
            crew.hire()
            crew.watch(is_wanted)
        finally:
            crew.dismiss()
        return Outcome("done")

    return run_errand(work, token, device)
