"""``python -m benchmark.run`` as a function: run what is not done yet, and give the figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmark.cli import console
from benchmark.data.prepare import PREPARED_ROOT, sweep
from benchmark.errors import BenchmarkError
from benchmark.interface.frames import frame_of
from benchmark.jobs.store import RunStore
from benchmark.overrides import parse_assignments
from benchmark.run.backend import Processes
from benchmark.run.parts import find_parts
from benchmark.run.plan import Options, due, plan
from benchmark.run.suite import load_suite, refuse_repetitions

if TYPE_CHECKING:
    import pandas as pd


def run_suite(
    systems: Sequence[str] | Literal["all"] = "all",
    dataset: str | Path | Sequence[str] = "ml-100k",
    *,
    protocol: str | Sequence[str] = "paper",
    preset: str = "laptop",
    seeds: Sequence[int] = (2024,),
    settings: Sequence[str] = (),
    jobs: int | None = None,
    threads: int | None = None,
    device: str | None = None,
    retry_failed: bool = False,
    results: str | Path = Path("results"),
    prepared: str | Path = PREPARED_ROOT,
) -> pd.DataFrame:
    """Run systems under one protocol, each in a process of its own; what is done is not run again.

    An interrupted call goes on where it was when it is made again, and shares its results with
    ``python -m benchmark.run``, which has the same options.

    Args:
        systems: names of the catalogue, or "all".
        dataset: a recipe's name or file, or several.
        protocol: "paper", "released" or "clean", or several.
        preset: of overrides, by name, or a YAML file.
        seeds: a run each.
        settings: overrides such as "bm25.k1=1.2", as ``--set`` takes them.
        jobs: at the same time; one for each core that has 4 GiB of memory, or for each GPU, if
            absent.
        threads: of each job; the cores shared among them if absent.
        device: "cpu" or "cuda"; a CUDA device if there is one and this is absent.
        retry_failed: whether jobs that failed before run again.
        results: the folder where runs are kept.
        prepared: where prepared data lie.

    Returns:
        The rows of :func:`benchmark.results` for these jobs; one without a metric for a failed one.

    Raises:
        BenchmarkError: an argument is none of the allowed ones, or the data cannot be had.
    """
    changes: dict[str, Any] = {
        "systems": "all" if systems == "all" else _several(systems),
        "datasets": tuple(map(str, _several(dataset))),
        "protocols": _several(protocol),
        "seeds": tuple(seeds),
        "preset": preset,
    }
    for key in ("systems", "datasets", "protocols", "seeds"):
        refuse_repetitions(changes[key], key)
    if jobs is not None and jobs < 1:
        raise BenchmarkError(f"jobs {jobs}: must be at least 1.")
    backend = Processes(jobs)
    options = Options(
        results=Path(results), prepared_root=Path(prepared), device=backend.device(device)
    )
    store = RunStore(options.results)
    store.prepare()
    sweep(options.prepared_root)
    planned = plan(
        load_suite("all").model_copy(update=changes), parse_assignments(settings), options
    )
    number = backend.threads(threads, options.device, len(planned.jobs))
    planned = planned.with_threads(number)
    waiting = due(planned.jobs, retry_failed)
    find_parts(waiting)
    if waiting:
        backend.run(waiting, console(on_stderr=True))
    runs = (store.read(job.spec) for job in planned.jobs)
    return frame_of(run for run in runs if run is not None)


def _several(given: Any) -> tuple[Any, ...]:
    """One value as a tuple of it, several as a tuple."""
    return (given,) if isinstance(given, (str, Path)) else tuple(given)
