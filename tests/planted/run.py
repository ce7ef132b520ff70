"""Plants one fault after another into a copy of the code, and says which the tests find.

``python -m tests.planted.run`` runs all faults of ``faults.yaml``; words after it choose those
whose names hold one of them. A fault is found if the tests named with it fail (and are not merely
impossible to run); before that, the same tests must pass without it. The exit code is 1 if fewer
than 95 % are found.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
FAULTS = Path(__file__).with_name("faults.yaml")
COPIED = ("benchmark", "baselines", "gensar", "tests", "datasets", "pyproject.toml")
LEAST_SHARE = 0.95
SECONDS = 1200
"""A test that hangs because of a fault has found it."""


@dataclass(frozen=True)
class Fault:
    """In ``file``, ``old`` becomes ``new``; one of ``tests`` must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: str

    def plant(self, root: Path) -> None:
        """Put the fault into the code below ``root``.

        Raises:
            ValueError: what it changes is not there, or more than once.
        """
        path = root / self.file
        text = path.read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name}: {self.file} holds {text.count(self.old)} such places.")
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


def faults() -> list[Fault]:
    """All of them."""
    return [Fault(**row) for row in yaml.safe_load(FAULTS.read_text(encoding="utf-8"))]


def copied(root: Path) -> None:
    """A copy of the project below ``root``."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            left_out = shutil.ignore_patterns("__pycache__", "prepared")
            shutil.copytree(ROOT / name, root / name, ignore=left_out)
        else:
            shutil.copy2(ROOT / name, root / name)


def outcome(root: Path, tests: str) -> int | None:
    """The exit code of the tests below ``root``; None if they did not come to an end."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        ran = subprocess.run(
            [*command, *shlex.split(tests)],
            cwd=root,
            env=environment,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return ran.returncode


@cache
def passes_without(tests: str) -> bool:
    """Whether the tests pass on the code as it is."""
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        copied(Path(folder))
        return outcome(Path(folder), tests) == 0


def is_found(fault: Fault) -> bool:
    """Whether the tests fail with the fault and pass without."""
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        copied(Path(folder))
        fault.plant(Path(folder))
        code = outcome(Path(folder), fault.tests)
    return code in (1, None) and passes_without(fault.tests)


def main(words: Sequence[str]) -> int:
    """Plant the chosen faults; returns the exit code."""
    chosen = [one for one in faults() if not words or any(word in one.name for word in words)]
    found = 0
    for fault in chosen:
        is_caught = is_found(fault)
        found += is_caught
        print(f"{'found ' if is_caught else 'MISSED'}  {fault.file}: {fault.name}", flush=True)
    print(f"{found} of {len(chosen)} planted faults found.")
    return 0 if chosen and found >= LEAST_SHARE * len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
