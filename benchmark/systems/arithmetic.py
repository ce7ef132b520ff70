"""Arithmetic that is the same on every x86-64 processor with AVX2.

Numerical libraries choose their kernels by the processor: a wider one sums in another order, and so
each processor trains another model from the same seed. ``portable`` holds all of them to kernels
that every such processor has. What then still differs between processors is Intel's square root of
whole tensors, which optimisers take that are not fused (:mod:`benchmark.kit.training.optimizers`):
those of complex weights.

The libraries read these variables when they are loaded, so a command sets them before that, and its
processes inherit them. To a job, a process that has other ones is another machine, and refused.

Sources: the documentation of oneMKL on conditional numerical reproducibility, of oneDNN on run-time
controls, of NumPy on its build options, of OpenBLAS on environment variables; for ATen the source
of ``aten/src/ATen/native/DispatchStub.cpp``.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmark.errors import BenchmarkError

NATIVE = "native"
PORTABLE = "portable"
ARITHMETICS = (NATIVE, PORTABLE)

VARIABLES: Mapping[str, str] = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
}


def arithmetic() -> str:
    """That of this process: ``portable`` if its variables say so."""
    is_portable = all(os.environ.get(name) == value for name, value in VARIABLES.items())
    return PORTABLE if is_portable else NATIVE


def use(asked: str, device: str | None) -> str | None:
    """Let this process and those that it starts have an arithmetic.

    Args:
        asked: one of :data:`ARITHMETICS`.
        device: the one that was asked for, None if none was.

    Returns:
        The device; with portable arithmetic the CPU if none was asked for.

    Raises:
        BenchmarkError: it cannot be had here, or a library that has to know of it is loaded.
    """
    if asked == NATIVE:
        return device
    option = f"--arithmetic {asked}"
    if device not in (None, "cpu"):
        raise BenchmarkError(f"{option}: is for the CPU, not for --device {device}.")
    if arithmetic() == PORTABLE:
        return "cpu"
    if platform.machine().lower() not in ("x86_64", "amd64") or not _may_have_avx2():
        raise BenchmarkError(f"{option}: needs an x86-64 processor with AVX2.")
    loaded = [name for name in ("numpy", "torch") if name in sys.modules]
    if loaded:
        raise BenchmarkError(f"{option}: {loaded[0]} is loaded already; use it on a command line.")
    os.environ.update(VARIABLES)
    return "cpu"


def _may_have_avx2() -> bool:
    """Whether the processor has AVX2, or cannot be asked."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return True
    flags = [line for line in told.splitlines() if line.startswith("flags")]
    return not flags or "avx2" in flags[0].split()
