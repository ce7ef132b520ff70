"""Which workers of a Dask cluster may run a suite's jobs: those on which they would be the same.

Dask gives a job to any worker that has the resources it asks for. Each job asks, beside GPU or CPU,
for a resource that bears its suite's name, and a worker has that one only after it was looked at:
its code, its libraries, and whether it sees the results folder and its locks as the suite does.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distributed import WorkerPlugin
from distributed.core import Status

from benchmark.errors import BenchmarkError
from benchmark.files import read_json
from benchmark.jobs.machine import visible_cuda_devices
from benchmark.locks import is_free
from benchmark.run.errand import dismiss_crews
from benchmark.systems.provenance import code_digests, library_versions

if TYPE_CHECKING:
    from distributed import Worker

CPU, GPU = "CPU", "GPU"
_ANY_NUMBER = 1_000_000
_NAMED = 3  # of what differs, in a sentence


@dataclass(frozen=True)
class Passport:
    """What a worker must have to run jobs of the suite ``token``.

    ``modules`` are those of its systems, ``code`` and ``libraries`` what the suite has of them.
    ``sign`` is a file in the results folder that holds ``word``; the suite holds ``lock``.
    """

    token: str
    modules: tuple[str, ...]
    code: Mapping[str, str]
    libraries: Mapping[str, str]
    sign: Path
    word: str
    lock: Path
    logs: Path

    @property
    def resource(self) -> str:
        """What a worker has that was let in, and each job asks for."""
        return f"suite-{self.token}"

    @property
    def topic(self) -> str:
        """Under which workers tell the suite what goes on."""
        return f"gensar-benchmark-{self.token}"

    def refusal(self) -> str:
        """Why this process may run no job of the suite, in half a sentence; "" if it may."""
        libraries = library_versions()
        others = [
            f"{name} {libraries.get(name, 'absent')} instead of {wanted}"
            for name, wanted in self.libraries.items()
            if libraries.get(name, "absent") != wanted
        ]
        if others:
            return f"it has {_listed(others)}"
        try:
            code = code_digests(*self.modules)
        except BenchmarkError as error:
            return str(error).rstrip(".")
        others = [name for name in {**code, **self.code} if code.get(name) != self.code.get(name)]
        if others:
            return f"it has other code in {_listed(sorted(others))}"
        try:
            is_seen = read_json(self.sign) == {"word": self.word}
        except BenchmarkError:
            is_seen = False
        if not is_seen:
            return f"it does not see the folder {self.sign.parent}, where the suite works"
        if is_free(self.lock):
            return (
                f"the file system of {self.lock.parent} keeps no locks between machines, so that "
                "jobs could run twice"
            )
        return ""


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


@dataclass
class Membership(WorkerPlugin):
    """Looks at each worker, also at those that join later, and lets it in or says why not."""

    passport: Passport
    handlers: dict[str, logging.Handler] = field(default_factory=dict)

    async def setup(self, worker: Worker) -> None:
        """Look at a worker; one that names no resources has a CPU a thread and the GPUs it sees."""
        refusal = await asyncio.to_thread(self.passport.refusal)
        if not refusal:
            self._keep_log(worker)
        told = worker.state.total_resources
        own = {CPU: worker.state.nthreads, GPU: len(visible_cuda_devices())}
        given = {name: number for name, number in own.items() if name not in told and number}
        await worker.set_resources(
            **given, **{self.passport.resource: 0 if refusal else _ANY_NUMBER}
        )
        news = {"kind": "looked-at", "worker": worker.address, "text": refusal}
        # A worker that joins has, until it is registered, no stream on which news would go.
        asyncio.get_running_loop().call_later(0.5, worker.log_event, self.passport.topic, news)

    async def teardown(self, worker: Worker) -> None:
        """End what the suite has running here, and take its resource away."""
        await asyncio.to_thread(dismiss_crews, self.passport.token)
        if worker.status == Status.running:
            with suppress(OSError):
                await worker.set_resources(**{self.passport.resource: 0})
        handler = self.handlers.pop(worker.address, None)
        if handler is not None:
            logging.getLogger("distributed").removeHandler(handler)
            handler.close()

    def _keep_log(self, worker: Worker) -> None:
        """What the worker logs stands in the results folder too, and outlives the worker."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", worker.address).strip("-")
        with suppress(OSError):
            self.passport.logs.mkdir(parents=True, exist_ok=True)
            handler = logging.FileHandler(self.passport.logs / f"{name}.txt", encoding="utf-8")
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
            logging.getLogger("distributed").addHandler(handler)
            self.handlers[worker.address] = handler

    def __getstate__(self) -> dict[str, Any]:
        return {"passport": self.passport, "handlers": {}}
