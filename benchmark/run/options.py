"""Options that several commands have; adding them loads nothing that is slow."""

from __future__ import annotations

from argparse import ArgumentParser

from benchmark.systems.arithmetic import ARITHMETICS, NATIVE

BACKENDS = PROCESSES, DASK = "processes", "dask"


def add_backend_options(parser: ArgumentParser, what: str) -> None:
    """Where ``what`` (jobs, trials) run; :func:`benchmark.run.backend.opened` reads the answers."""
    parser.add_argument(
        "--backend",
        default=PROCESSES,
        choices=BACKENDS,
        help=f"where {what} run: in processes of this machine, or on a Dask cluster whose machines "
        "share the results folder; see docs/clusters.md (default: %(default)s)",
    )
    parser.add_argument(
        "--scheduler",
        help="with --backend dask: tcp://HOST:PORT, or local:N for N workers here (default: none)",
    )


def add_arithmetic_option(parser: ArgumentParser) -> None:
    """How products are computed; :func:`benchmark.systems.arithmetic.use` takes the answer."""
    parser.add_argument(
        "--arithmetic",
        default=NATIVE,
        choices=ARITHMETICS,
        help="portable: the same ranks on every x86-64 processor with AVX2, slower "
        "(default: %(default)s)",
    )
