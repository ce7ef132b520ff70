"""Probes of what a system saves: it gives the same scores elsewhere, and holds no code."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np

from benchmark.check.subject import Subject, Violation, disturb_global_generators, require_equal
from benchmark.systems.view import Corpus

SAFE_FILES = (".safetensors", ".npy", ".npz", ".json", ".parquet", ".txt")


def saved_and_loaded_it_gives_same_scores(subject: Subject) -> str:
    """Saved, moved and loaded by a fresh system, it gives equal scores."""
    folder = subject.new_folder("saved")
    subject.fitted.save(folder)
    elsewhere = folder.rename(folder.with_name(f"{folder.name}-moved"))
    loaded = subject.new_system(subject.fitted.context.artifacts)
    disturb_global_generators(0)
    loaded.load(elsewhere, Corpus.of(subject.world.dataset))
    for task in subject.tasks:
        requests = subject.world.requests(task)
        there = subject.score(requests, loaded)
        require_equal(requests, subject.expected[task], there, "after save and load")
    return "equal to the bit"


def saved_files_hold_no_code(subject: Subject) -> str:
    """What it saves are plain data files without pickle."""
    folder = subject.new_folder("files")
    subject.fitted.save(folder)
    found = sorted(path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    for path in found:
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or path.suffix not in SAFE_FILES:
            raise Violation(f"{name} is none of {', '.join(SAFE_FILES)}.")
        try:
            _read_as_named(path)
        except Exception as error:
            raise Violation(f"{name} is no plain {path.suffix[1:]} file ({error}).") from error
    return ", ".join(path.relative_to(folder).as_posix() for path in found) or "no files"


def _read_as_named(path: Path) -> None:
    """Read the file the way its suffix says, without unpickling anything.

    Raises:
        Exception: it is something else.
    """
    head = path.read_bytes()[:4]
    if path.suffix in (".json", ".txt"):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            json.loads(text)
        elif "\x00" in text or (text.startswith("(") and text.rstrip(" ").endswith(".")):
            raise ValueError("it looks like a pickle of protocol 0")
    elif path.suffix == ".npy":
        np.load(path, allow_pickle=False)
    elif path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            strange = [name for name in archive.namelist() if not name.endswith(".npy")]
        if strange:
            raise ValueError(f"it holds {strange[0]}")
        with np.load(path, allow_pickle=False) as stored:
            for name in stored.files:
                _ = stored[name]
    elif path.suffix == ".parquet" and head != b"PAR1":
        raise ValueError("its first bytes are not those of Parquet")
    elif path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, framework="np") as stored:
            list(stored.keys())
