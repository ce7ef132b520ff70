"""The machine under a run: which one it is, how many threads it gives, how much memory was used."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from benchmark.errors import BenchmarkError, unknown_value
from benchmark.jobs.store import JobSpec
from benchmark.systems.processes import number_of_processes
from benchmark.systems.provenance import library_versions


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Limit the numerical libraries that are loaded already to ``number`` threads."""
    from threadpoolctl import threadpool_limits

    if "torch" in sys.modules:
        set_torch_threads(number)
    with threadpool_limits(limits=number):
        yield


def set_torch_threads(number: int) -> None:
    """Limit torch, which is loaded by now, to ``number`` threads."""
    import torch

    torch.set_num_threads(number)


def environment_of(job: JobSpec) -> dict[str, str]:
    """What a job's record says of libraries, platform, processor, threads, device and precision."""
    environment = {
        **library_versions(),
        "platform": platform.platform(),
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "threads": str(job.threads),
        "processes": str(number_of_processes()),
        "device": job.device,
        "precision": job.precision,
    }
    if job.device.startswith("cuda"):
        import torch

        environment["accelerator"] = torch.cuda.get_device_name(job.device)
    return environment


@lru_cache(maxsize=1)
def processor() -> str:
    """The name of the processor, as the machine tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def reset_peak_memory() -> None:
    """Start a new measurement of peak memory where the kernel allows it (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory() -> int:
    """Peak resident memory in bytes, since the last reset where that is possible."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource  # Unix only

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def chosen_device(asked: str | None) -> str:
    """The device that ``--device`` asks for; without torch if there is plainly no accelerator.

    Raises:
        BenchmarkError: it is no device, or not here.
    """
    if asked and not re.fullmatch(r"cpu|cuda(:\d+)?", asked):
        raise unknown_value("device", asked, ("cpu", "cuda", "cuda:N"), "--device")
    if asked == "cpu" or (not asked and not Path("/dev/nvidiactl").exists()):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        number, there = (asked or "").partition(":")[2], torch.cuda.device_count()
        if number and int(number) >= there:
            raise BenchmarkError(f"--device {asked}: the CUDA devices here are 0 to {there - 1}.")
        return asked or "cuda"
    if asked:
        raise BenchmarkError(f"--device {asked}: no CUDA device is available.")
    return "cpu"


def visible_cuda_devices() -> list[str]:
    """The CUDA devices that this process may use, as ``CUDA_VISIBLE_DEVICES`` calls them.

    They are found without torch: a process that has asked the driver cannot be forked any more.
    """
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        # In a container files may be missing; CUDA counts those that are there.
        return [str(number) for number, _ in enumerate(Path("/dev").glob("nvidia[0-9]*"))]
    devices = [device.strip() for device in allowed.split(",")]
    # As CUDA reads it: what follows a number that is none is not there.
    ends = (place for place, device in enumerate(devices) if device in ("", "-1"))
    return devices[: next(ends, len(devices))]


def least_held(devices: Sequence[str], held: Sequence[str | None]) -> str | None:
    """The device for one process more, that which the fewest of those in ``held`` have.

    Args:
        devices: to choose from; None is chosen if there are none.
        held: what the living processes have.
    """
    return min(devices, key=held.count, default=None)


MEMORY_OF_A_JOB = 4 * 2**30  # bytes

CONTROL_GROUP = Path("/sys/fs/cgroup")
"""Where a container sees what it may use."""


def jobs_at_once(device: str) -> int:
    """How many jobs this machine has room for: one a GPU, or one a core with enough memory.

    Models of the size that a processor trains gain more from a core each than from several cores
    together. Under ``torchrun`` it is one, and on one chosen GPU.
    """
    if number_of_processes() > 1 or ":" in device:
        return 1
    if device == "cuda":
        return max(1, len(visible_cuda_devices()))
    return max(1, min(usable_cores(), memory() // MEMORY_OF_A_JOB))


def usable_cores() -> int:
    """The whole cores that this process, or its container, may use; at least one."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _limits("cpu.max") or _limits("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")
    if len(quota) == 2 and min(quota) > 0:
        cores = min(cores, quota[0] // quota[1])
    return max(1, cores)


def memory() -> int:
    """The bytes of this machine's memory, or those that its container may use."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([total, *_limits("memory.max"), *_limits("memory/memory.limit_in_bytes")])


def _limits(*files: str) -> list[int]:
    """What control groups of version 2 or 1 allow; none without a limit, or without such files."""
    try:
        return [int(w) for name in files for w in (CONTROL_GROUP / name).read_text().split()]
    except (OSError, ValueError):  # no container, or "max"
        return []


def threads_of_a_job(asked: int | None, jobs: int) -> int:
    """The threads that ``--threads`` asks for, or a share of the cores for each of the jobs.

    Raises:
        BenchmarkError: they are none.
    """
    if asked is not None and asked < 1:
        raise BenchmarkError(f"--threads {asked}: must be at least 1.")
    return asked or max(1, usable_cores() // jobs)
