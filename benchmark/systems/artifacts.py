"""Artifacts: what one stage makes and others use (text embeddings, pseudo-queries, item vectors).

An artifact is a folder named by the hash of everything that determines it. It is built once, under
a lock, and verified by its manifest at every use.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from benchmark.errors import BenchmarkError
from benchmark.files import build_folder, check_manifest, is_complete, sha256_of_json


class ArtifactStore:
    """Folders by content below one root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(
        self, kind: str, determined_by: Mapping[str, Any], build: Callable[[Path], None]
    ) -> Path:
        """The folder of the artifact, built by ``build(folder)`` if it is not there or damaged.

        ``kind`` names the artifact for people ("text-embeddings"); ``determined_by`` is the JSON
        value of everything that its content depends on, seeds and model hashes included.
        """
        folder = self.root / f"{kind}-{sha256_of_json([kind, dict(determined_by)])[:24]}"
        self.root.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if is_complete(folder):
                try:
                    check_manifest(folder)
                    return folder
                except BenchmarkError:
                    shutil.rmtree(folder)
            build_folder(folder, build)
        return folder
