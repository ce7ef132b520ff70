"""The system under check: made, fitted, scored and compared the way the probes need it."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.check.world import World, make_world
from benchmark.protocol.requests import Requests
from benchmark.systems.artifacts import ArtifactStore
from benchmark.systems.contract import FloatArray, RunContext, System, SystemConfig
from benchmark.systems.scores import checked_scores
from benchmark.systems.view import TrainingView

SEED = 2024

OF_THE_RANGE = 1e-4
OF_THE_MAGNITUDE = 4e-6
"""Two scores are near when they differ by less than this part of the list's range, or by what
float32 loses: this part of its largest magnitude. Ranks can then differ between near ties only."""


class Violation(Exception):
    """A broken promise; the message says what was seen."""


class Subject:
    """One system with a configuration; ``root`` is an empty folder for all that it writes."""

    def __init__(
        self,
        name: str,
        tasks: tuple[str, ...],
        system_class: type[System],
        config: SystemConfig,
        root: Path,
        required: Mapping[str, Any] | None = None,
        upstream: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.name, self.tasks, self.system_class, self.config = name, tasks, system_class, config
        self.required = dict(required or {})  # fields that the catalogue's variant sets
        self.upstream = dict(upstream or {})  # configurations of the systems it builds on
        self.root = root
        self.world: World = make_world()
        self._made = 0

    def new_folder(self, purpose: str) -> Path:
        """A folder that is not used for anything else."""
        self._made += 1
        folder = self.root / f"{self._made:02d}-{purpose}"
        folder.mkdir(parents=True)
        return folder

    def new_system(self, artifacts: ArtifactStore | None = None) -> System:
        """A fresh system in fresh folders; the artifacts are its own unless they are given."""
        folder = self.new_folder("system")
        if artifacts is None:
            artifacts = ArtifactStore(folder / "artifacts")
        context = RunContext(
            seed=SEED, folder=folder / "run", artifacts=artifacts, upstream=self.upstream
        )
        return self.system_class(self.config, context)

    def fit(self, view: TrainingView) -> System:
        """A fresh system, fitted on ``view`` while the global random states are arbitrary."""
        system = self.new_system()
        system.context.folder.mkdir(parents=True)
        disturb_global_generators(self._made)
        system.fit(view)
        return system

    @cached_property
    def fitted(self) -> System:
        """The system fitted on the world."""
        return self.fit(self.world.view())

    @cached_property
    def expected(self) -> dict[str, FloatArray]:
        """What the fitted system says to the test requests of each of its tasks."""
        return {task: self.score(self.world.requests(task)) for task in self.tasks}

    def score(self, requests: Requests, system: System | None = None) -> FloatArray:
        """The checked scores of ``requests``, by the fitted system unless another one is given."""
        asked = self.fitted if system is None else system
        return checked_scores(asked.score(requests), requests, self.name).copy()


def disturb_global_generators(seed: int) -> None:
    """Put the global random states where no system can expect them."""
    random.seed(seed)
    np.random.seed(seed)
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(seed)


def tolerance(scores: FloatArray) -> NDArray[np.float64]:
    """How far apart near scores of each list may lie, shape (requests, 1)."""
    finite = np.where(np.isfinite(scores), scores, np.nan).astype(np.float64)
    empty = np.isnan(finite).all(axis=1)
    finite[empty] = 0.0
    spread = np.nanmax(finite, axis=1) - np.nanmin(finite, axis=1)
    magnitude = np.nanmax(np.abs(finite), axis=1)
    return (OF_THE_RANGE * spread + OF_THE_MAGNITUDE * magnitude)[:, None]


def require_near(requests: Requests, here: FloatArray, there: FloatArray, change: str) -> float:
    """The largest difference between two answers to ``requests``.

    Raises:
        Violation: it is too large; ``change`` says what "there" is, such as "in batches of 7".
    """
    same = (here == there) | (np.abs(_difference(here, there)) <= tolerance(here))
    _require(same, requests, here, there, change)
    return float(np.abs(_difference(here, there)).max(initial=0.0))


def require_equal(requests: Requests, here: FloatArray, there: FloatArray, change: str) -> None:
    """Like :func:`require_near`, to the bit.

    Raises:
        Violation: any bit differs.
    """
    _require(here == there, requests, here, there, change)


def _difference(here: FloatArray, there: FloatArray) -> NDArray[np.float64]:
    """0 where both are -inf, infinite where one is."""
    both = (here == there) | ~(np.isfinite(here) | np.isfinite(there))
    one = np.where(both, 0.0, here).astype(np.float64)
    return one - np.where(both, 0.0, there)


def _require(
    same: NDArray[np.bool_], requests: Requests, here: FloatArray, there: FloatArray, change: str
) -> None:
    if same.all():
        return
    row, column = np.argwhere(~same)[0]
    raise Violation(
        f"{np.count_nonzero(~same)} of {same.size} scores of the {requests.task} task differ, "
        f"first request {row} (user {requests.user[row]}), candidate "
        f"{requests.candidates[row, column]}: {here[row, column]:.8g}, but "
        f"{there[row, column]:.8g} {change}."
    )


def difference_in_words(largest: float) -> str:
    """What a probe says of the largest difference that it saw."""
    return f"largest difference {largest:.1e}" if largest else "equal to the bit"
