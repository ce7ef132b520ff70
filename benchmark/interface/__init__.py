"""What notebooks call: :func:`evaluate`, :func:`run_suite`, :func:`results` and :func:`events`.

They give pandas frames with one row a system, task, view and metric; ``docs/python.md`` is their
page. ``import benchmark`` has them by name and loads none of this before the first use.
"""

from __future__ import annotations

from benchmark.interface.evaluate import evaluate
from benchmark.interface.frames import events, results
from benchmark.interface.suite import run_suite

__all__ = ["evaluate", "events", "results", "run_suite"]
