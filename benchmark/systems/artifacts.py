"""Artifacts: what one stage makes and others use (text embeddings, pseudo-queries, item vectors).

An artifact is a folder named by the hash of everything that determines it. It is built once, under
a lock, and verified by its manifest at every use.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from benchmark.errors import BenchmarkError
from benchmark.files import (
    build_folder,
    check_manifest,
    is_complete,
    read_json,
    sha256_of_json,
    write_json,
)

_COST_FILE = "cost.json"


class ArtifactStore:
    """Folders by content below one root.

    ``reused_seconds`` is what the artifacts that this store handed out would have taken to build
    if somebody else had not done so before: a system's training time includes them, whichever run
    came first.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.reused_seconds = 0.0
        self._known: set[Path] = set()

    def get(
        self, kind: str, determined_by: Mapping[str, Any], build: Callable[[Path], None]
    ) -> Path:
        """The folder of the artifact, built by ``build(folder)`` if it is not there or damaged.

        ``kind`` names the artifact for people ("text-embeddings"); ``determined_by`` is the JSON
        value of everything that its content depends on, seeds and model hashes included. ``build``
        may get other artifacts.
        """
        folder = self.root / f"{kind}-{sha256_of_json([kind, dict(determined_by)])[:24]}"
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if is_complete(folder):
                try:
                    check_manifest(folder)
                    if folder not in self._known:
                        self._known.add(folder)
                        self.reused_seconds += read_json(folder / _COST_FILE)["seconds"]
                    return folder
                except BenchmarkError:
                    shutil.rmtree(folder)
            reused_before, started = self.reused_seconds, time.perf_counter()

            def build_and_measure(place: Path) -> None:
                build(place)
                seconds = time.perf_counter() - started + self.reused_seconds - reused_before
                write_json(place / _COST_FILE, {"seconds": seconds})

            build_folder(folder, build_and_measure)
            self._known.add(folder)
        return folder
