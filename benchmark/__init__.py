"""The harness of the GenSAR benchmark: data, protocol, systems contract, runs and report.

It runs every system under one protocol and knows none of them by name. In Python::

    import benchmark as gb

    gb.evaluate(MyRanker(), dataset="ml-100k", task="search")
    gb.run_suite(systems=["popularity", "bm25"], dataset="ml-100k")
    gb.results("results/runs")
    gb.events(folder_of_a_run)
    gb.load(folder_of_a_run).search("action 1990s", history=["50", "181"], k=10)

``docs/python.md`` describes each. What they need is loaded at their first use.
"""

from importlib import import_module
from typing import Any

from benchmark.loaded import watch

__version__ = "0.2.0"

_INTERFACE = {
    "evaluate": "benchmark.interface",
    "run_suite": "benchmark.interface",
    "results": "benchmark.interface",
    "events": "benchmark.interface",
    "load": "benchmark.serve",
    "System": "benchmark.systems.contract",
    "SystemConfig": "benchmark.systems.contract",
    "BenchmarkError": "benchmark.errors",
    "SystemFailure": "benchmark.errors",
}
"""Name → the module that has it. Modules by name, so that no import leads uphill."""

__all__ = ["__version__", *_INTERFACE]


def __getattr__(name: str) -> Any:
    """The interface, each part loaded when it is first asked for."""
    if name not in _INTERFACE:
        raise AttributeError(f"module 'benchmark' has no attribute {name!r}")
    return getattr(import_module(_INTERFACE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_INTERFACE})


watch()  # before any other module of the project is loaded
