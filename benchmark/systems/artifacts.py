"""Artifacts: what one stage makes and others use (text embeddings, pseudo-queries, item vectors).

An artifact is a folder named by the hash of everything that determines it, and holding all of that.
It is built once, under a lock, and verified at every use: by its manifest, and by what it says that
it is, so that a folder under another's name is never taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmark.errors import BenchmarkError
from benchmark.faults import MachineFault
from benchmark.files import (
    build_folder,
    check_manifest,
    is_complete,
    read_json,
    remove_folder,
    sha256_of_json,
    write_json,
)
from benchmark.locks import locked
from benchmark.systems.effort import Effort, effort_so_far
from benchmark.systems.processes import (
    agreed,
    is_first_process,
    number_of_processes,
    wait_for_all,
)

_COST_FILE = "cost.json"
_CONTENT_FILE = "artifact.json"


class ArtifactStore:
    """Folders by content below one root.

    ``reused_seconds`` is what the artifacts that this store handed out would have taken to build
    if somebody else had not done so before: a system's training time includes them, whichever run
    came first. ``used`` holds, by name, what each artifact that it handed out took by itself, and
    what each took that such a one was built from, whoever built it. ``verify`` is called before
    something built is kept, and may refuse it by raising. ``waits`` is whether to wait for an
    artifact that another process is building.
    """

    def __init__(
        self, root: Path, verify: Callable[[], None] = lambda: None, *, waits: bool = True
    ) -> None:
        self.root = root
        self._verify = verify
        self._waits = waits
        self._is_shared = False
        self.reused_seconds = 0.0
        self.used: dict[str, Effort] = {}
        self._known: set[Path] = set()
        self._open: list[set[str]] = []  # what the artifacts that are being built have asked for
        self.built = Effort()

    @contextmanager
    def shared_with_all_processes(self) -> Iterator[None]:
        """Within it all processes of ``torchrun`` ask for the same artifacts in the same order.

        Each builds what is missing, since building may be a training, and the first one's is kept.
        """
        self._is_shared = number_of_processes() > 1
        try:
            yield
        finally:
            self._is_shared = False

    def get(
        self, kind: str, determined_by: Mapping[str, Any], build: Callable[[Path], None]
    ) -> Path:
        """The folder of the artifact, built by ``build(folder)`` if no sound one is there.

        ``kind`` names the artifact for people ("text-embeddings"); ``determined_by`` is the JSON
        value of everything that its content depends on, seeds and model hashes included. ``build``
        may get other artifacts.

        Raises:
            MachineFault: the artifact or its lock cannot be written.
            LockedElsewhere: another process is building it, and this store does not wait.
        """
        content = {"kind": kind, "determined_by": dict(determined_by)}
        identity = sha256_of_json(content)
        folder = self.root / f"{kind}-{identity[:24]}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MachineFault(f"{self.root}: cannot be written ({error.strerror}).") from error
        follows = self._is_shared and not is_first_process()
        with nullcontext() if follows else locked(Path(f"{folder}.lock"), waits=self._waits):
            is_there = not follows and _is_sound(folder, identity)
            if self._is_shared:
                is_there = agreed(is_there)
            if is_there:
                cost = read_json(folder / _COST_FILE)
                if folder not in self._known:
                    self._known.add(folder)
                    self.reused_seconds += cost["seconds"]
                self._note(folder.name, cost)
                return folder
            reused_before = self.reused_seconds

            def build_and_measure(place: Path) -> None:
                started, built_before, parts = effort_so_far(), self.built, set[str]()
                self._open.append(parts)
                try:
                    build(place)
                finally:
                    self._open.pop()
                self._verify()
                whole = effort_so_far().minus(started)
                own = whole.minus(self.built.minus(built_before))
                self.built = self.built.plus(own)
                cost = {
                    "seconds": whole.wall + self.reused_seconds - reused_before,
                    "own": own._asdict(),
                    "parts": {name: self.used[name]._asdict() for name in sorted(parts)},
                }
                write_json(place / _COST_FILE, cost)
                write_json(place / _CONTENT_FILE, content)
                self._note(folder.name, cost)

            if follows:
                with TemporaryDirectory() as place:
                    build(Path(place))
            else:
                build_folder(folder, build_and_measure)
            if self._is_shared:
                wait_for_all()
            self._known.add(folder)
        return folder

    def _note(self, name: str, cost: Mapping[str, Any]) -> None:
        """Remember what an artifact and its parts took; one of before has the seconds alone."""
        own = cost.get("own", {"cpu": cost["seconds"], "wall": cost["seconds"]})
        efforts = {name: Effort(**own)}
        efforts |= {part: Effort(**took) for part, took in cost.get("parts", {}).items()}
        self.used |= efforts
        for asked in self._open:
            asked.update(efforts)


def _is_sound(folder: Path, identity: str) -> bool:
    """Whether the artifact is there; one that is damaged or another is removed."""
    if not is_complete(folder):
        return False
    try:
        check_manifest(folder)
        is_asked = sha256_of_json(read_json(folder / _CONTENT_FILE)) == identity
    except BenchmarkError:
        is_asked = False
    if not is_asked:
        remove_folder(folder)
    return is_asked
