"""A small suite that was run once, as a notebook would: its frame, its folders, its models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import benchmark as gb

SYSTEMS = ("popularity", "jsr")


@dataclass(frozen=True)
class Ran:
    """What a suite left: ``frame`` has its rows, ``root`` its results and prepared data."""

    root: Path
    frame: Any

    def again(self, **changes: Any) -> Any:
        """The same call, or with changes."""
        given: dict[str, Any] = {
            "systems": SYSTEMS,
            "dataset": "generated",
            "preset": "smoke",
            "threads": 1,
            "device": "cpu",
            "results": self.root / "results",
            "prepared": self.root / "prepared",
        }
        return gb.run_suite(**(given | changes))

    def folder(self, system: str) -> Path:
        """The run folder of a system."""
        rows = self.frame[self.frame.system == system]
        return Path(rows.folder.iloc[0])

    def model(self, system: str) -> Any:
        """Its model."""
        return gb.load(
            self.folder(system), prepared=self.root / "prepared", device="cpu", threads=1
        )


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    root = tmp_path_factory.mktemp("suite")
    return Ran(root, Ran(root, None).again())


@pytest.fixture(scope="session")
def jsr(ran: Ran) -> Any:
    return ran.model("jsr")
