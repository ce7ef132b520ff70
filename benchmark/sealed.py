"""Parts of unfinished work: arrays in a file, with what they are of and a hash of it all.

A part is taken only if it is what it is asked for to be (for scores: job, task, events) and holds
what was written, array by array. Its length alone says nothing: a part of other events is as long.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.files import atomic_path, sha256_of_arrays

_SEAL = "seal"


def write_part(path: Path, what: str, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write arrays by name; ``what`` says what they are of.

    Raises:
        MachineFault: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        sealed: dict[str, Any] = {**arrays, _SEAL: np.array(_seal(what, arrays))}
        np.savez(temporary, **sealed)


def read_part(path: Path, what: str) -> dict[str, NDArray[np.generic]] | None:
    """The arrays of a part; None if it is absent, damaged, changed or of something else."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        seal = str(arrays.pop(_SEAL))
    except Exception:  # whatever is wrong with it, it is made again
        return None
    return arrays if seal == _seal(what, arrays) else None


def _seal(what: str, arrays: Mapping[str, NDArray[np.generic]]) -> str:
    names = sorted(arrays)
    content = sha256_of_arrays([arrays[name] for name in names])
    return hashlib.sha256(repr((what, names, content)).encode()).hexdigest()
