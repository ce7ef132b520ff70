"""What the commands that use a trained run have in common: which run, and where its data lie."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmark.data.prepare import PREPARED_ROOT
from benchmark.serve.loading import load
from benchmark.serve.model import Model


def parser_of(command: str, description: str) -> argparse.ArgumentParser:
    """A parser of ``python -m benchmark.<command> RUN …``."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmark.{command}", description=description)
    add = parser.add_argument
    add("run", type=Path, help="the folder of a finished run, with run.json")
    add("--dataset", help="the recipe of its data, where the name in the record is not enough")
    add("--prepared", type=Path, default=PREPARED_ROOT, help="prepared data sets")
    add("--device", help="cpu or cuda[:N] (default: cuda if there is one)")
    add("--threads", type=int, help="threads of torch (default: all cores)")
    return parser


def model_of(arguments: argparse.Namespace) -> Model:
    """The model that the arguments name.

    Raises:
        BenchmarkError: see :func:`benchmark.serve.loading.load`.
    """
    return load(
        arguments.run,
        dataset=arguments.dataset,
        prepared=arguments.prepared,
        device=arguments.device,
        threads=arguments.threads,
    )
