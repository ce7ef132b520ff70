"""Systems that kill the worker which runs them, once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmark.jobs import publish as publishing
from benchmark.protocol.requests import Requests
from benchmark.systems.contract import FloatArray, System, SystemConfig
from benchmark.systems.upstream import upstream
from benchmark.systems.view import Corpus, TrainingView
from tests.faults.systems import FITS
from tests.tune.systems import Toy


class DeadlyConfig(SystemConfig):
    """At which moment it kills."""

    moment: Literal["artifact", "job", "publishing", "never", "waits"] = "never"


def _worker() -> int:
    """The worker's process: it started the one that this process was forked from."""
    stat = Path(f"/proc/{os.getppid()}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


class Deadly(System):
    Config = DeadlyConfig

    def _reached(self, moment: str) -> None:
        mark = Path(os.environ[FITS], f"killed-{moment}")
        if self.config.moment == moment and not mark.exists():
            mark.touch()
            os.kill(_worker(), signal.SIGKILL)
            time.sleep(60)  # nobody goes on from here

    def fit(self, view: TrainingView) -> None:
        def build(folder: Path) -> None:
            self._reached("artifact")
            np.save(folder / "counts.npy", np.bincount(view.examples("recommendation").target))

        if self.config.moment == "publishing":  # the other one is to build what both need
            while not Path(os.environ[FITS], "killed-artifact").exists():
                time.sleep(0.05)
        self.context.artifacts.get("counts", {"view": view.fingerprint}, build)
        self._reached("job")
        if self.config.moment == "waits":
            Path(os.environ[FITS], "waiting").touch()
            while not Path(os.environ[FITS], "go").exists():
                time.sleep(0.05)
        Path(os.environ[FITS], f"{self.context.identity}-{time.time_ns()}").touch()

    def score(self, requests: Requests) -> FloatArray:
        return (requests.candidates % 7).astype(np.float32)

    def save(self, folder: Path) -> None:
        (folder / "empty").touch()

    def load(self, folder: Path, corpus: Corpus) -> None:
        if self.config.moment != "publishing":
            return
        whole: Callable[..., Any] = publishing.build_folder

        def publish(target: Path, fill: Callable[[Path], None]) -> Any:
            def filled(place: Path) -> None:
                fill(place)
                self._reached("publishing")

            return whole(target, filled)

        publishing.build_folder = publish  # in this job's process alone


class Above(Deadly):
    """Builds on a fitted one."""

    def fit(self, view: TrainingView) -> None:
        upstream(self.context, view, "trained")


class Tuned(Toy):
    """Kills its worker when two have a trial."""

    def fit(self, view: TrainingView) -> None:
        if FITS in os.environ:
            folder = Path(os.environ[FITS])
            (folder / f"worker-{os.getppid()}").touch()
            while len(list(folder.glob("worker-*"))) < 2:
                time.sleep(0.05)
            with suppress(FileExistsError):
                (folder / "killed").touch(exist_ok=False)
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(60)  # nobody goes on from here
        super().fit(view)
