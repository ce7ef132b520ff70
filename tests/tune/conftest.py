"""Studies without trainings, and a project whose systems are small."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.jobs.store import JobSpec
from benchmark.overrides import Overrides
from benchmark.systems.catalogue import choose
from benchmark.systems.configuration import configure, load_preset
from benchmark.tune.studies import Budget, Study, make_study
from tests.run.conftest import ProjectCopy, project

__all__ = ["ProjectCopy", "project"]


def job_of(root: Path, system: str = "gru4rec", preset: str = "laptop", **changes: Any) -> JobSpec:
    choice = choose(system)
    configuration = configure(choice, load_preset(preset).overrides_for(system))
    known: dict[str, Any] = {
        "identity": "0" * 64,
        "code": {"a": "b"},
        "recipe": "tiny",
        "dataset": "tiny",
        "prepared_root": "prepared",
        "protocol": "paper",
        "protocol_settings": {},
        "candidates_folder": None,
        "system": system,
        "display_name": choice.display_name,
        "configuration": configuration.model_dump(mode="json"),
        "upstream": {},
        "preset": preset,
        "seed": 1,
        "device": "cpu",
        "precision": "fp32",
        "threads": 1,
        "trackers": (),
        "results": str(root),
    }
    return JobSpec(**{**known, **changes})


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Study]:
    def make(
        trials: int = 12, minutes: float = 20.0, given: Overrides | None = None, **changes: Any
    ) -> Study:
        return make_study(job_of(tmp_path, **changes), Budget(trials, minutes), given or {})

    return make
