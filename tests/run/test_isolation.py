"""What one system does to its process, and what the machine does to a job, ends no suite."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.runs.record import RunRecord, find_run_folders, read_run
from tests.run.conftest import ProjectCopy

SYSTEM = """
import ctypes, errno, os, sys
from pathlib import Path
import numpy as np
from benchmark.errors import BenchmarkError
from benchmark.systems.contract import System


class Added(System):
    def fit(self, view):
        {fit}

    def score(self, requests):
        return np.zeros(requests.candidates.shape, np.float32)

    def save(self, folder):
        {save}

    def load(self, folder, corpus):
        pass
"""


def system(fit: str = "pass", save: str = "pass") -> str:
    return SYSTEM.replace("{fit}", fit).replace("{save}", save)


def records(results: Path) -> dict[str, RunRecord]:
    found = [read_run(folder).record for folder in find_run_folders(results / "runs")]
    return {record.system.name: record for record in found}


FATAL = {
    "exits": ("sys.exit(0)", "it called sys.exit(0)."),
    "exits-hard": ("os._exit(0)", "its process ended with exit code 0 twice."),
    "segfaults": ("ctypes.string_at(0)", "its process was ended by SIGSEGV twice."),
    "aborts": ("os.abort()", "its process was ended by SIGABRT twice."),
    "interrupts": ("raise KeyboardInterrupt", "its process ended with exit code 0 twice."),
    "marks-up": ("raise ValueError('[/x] [bold] :boom: [red')", "ValueError: [/x] [bold] :boom:"),
    "halves": ("raise ValueError('a\\ud800b')", "ValueError: a?b"),
    "raises-nothing-usual": ("raise BaseException('odd')", "BaseException: odd"),
    "wrong-encoder": (
        "raise BenchmarkError('encoder /nowhere: there is no such folder.')",
        "encoder /nowhere: there is no such folder.",
    ),
    "misses-a-file": ("Path('/nowhere/x').read_text()", "FileNotFoundError"),
    "moves-away": ("os.chdir('/'); raise ValueError('elsewhere')", "ValueError: elsewhere"),
}


def test_each_way_to_fail_is_recorded_and_the_suite_goes_on(
    project: ProjectCopy, run_tiny: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    for name, (fit, _) in FATAL.items():
        project.add_system(name, system(fit))
    ran = run_tiny("--systems", ",".join([*FATAL, "popularity"]), "--results", "[/x]res")
    assert ran.returncode == 1, ran.stderr
    assert "Traceback" not in ran.stderr, ran.stderr
    assert "[/x]res/tables" in ran.stdout
    found = records(project.root / "[/x]res")
    assert found["popularity"].status == "finished"
    for name, (_, sentence) in FATAL.items():
        assert found[name].status == "failed", name
        assert not found[name].retryable, name
        assert sentence in (found[name].error or ""), (name, found[name].error)
    again = run_tiny("--systems", ",".join([*FATAL, "popularity"]), "--results", "[/x]res")
    assert again.returncode == 1
    assert "0 jobs run" in again.stderr


RETRIED = {
    "fills-memory": "raise MemoryError",
    "fills-the-gpu": "raise type('OutOfMemoryError', (RuntimeError,), {})('CUDA out of memory')",
    "allocates": "np.empty(1 << 60, np.uint8)",
    "is-killed": "os.kill(os.getpid(), 9)",
    "may-not-read": "raise PermissionError(errno.EACCES, 'Permission denied', '/models/x')",
    "opens-too-much": "raise OSError(errno.EMFILE, 'Too many open files')",
}


def test_what_the_machine_lacks_is_tried_again_by_the_next_command(
    project: ProjectCopy, run_tiny: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    for name, fit in RETRIED.items():
        project.add_system(name, system(f"if not Path('well').exists(): {fit}"))
    names = ",".join([*RETRIED, "popularity"])
    ran = run_tiny("--systems", names)
    assert ran.returncode == 1, ran.stderr
    assert "Traceback" not in ran.stderr, ran.stderr
    found = records(project.root / "results")
    assert found["popularity"].status == "finished"
    assert {n for n, record in found.items() if record.status == "failed"} == set(RETRIED)
    assert all(found[name].retryable for name in RETRIED)
    assert run_tiny("--systems", names, "--dry-run").stdout.count("will resume") == len(RETRIED)
    (project.root / "well").touch()
    again = run_tiny("--systems", names)
    assert again.returncode == 0, again.stderr
    assert f"{len(RETRIED)} jobs run" in again.stderr
    assert {record.status for record in records(project.root / "results").values()} == {"finished"}


NO_SPACE = "No space left on device"
FULL = {
    "python": "raise OSError(errno.ENOSPC, 'No space left on device', 'x')",
    "torch": "import torch; torch.save({'a': torch.zeros(99999)}, '/dev/full')",
    "tokenizers": "import tokenizers; "
    "tokenizers.Tokenizer(tokenizers.models.BPE()).save('/dev/full')",
    "safetensors": "raise Exception('Error while serializing: I/O error: "
    "No space left on device (os error 28)')",
    "numpy": "np.zeros(99999).tofile('/dev/full')",
    "wrapped": "\n".join(
        [
            "try:",
            "            raise OSError(errno.EDQUOT, 'Disk quota exceeded')",
            "        except OSError as error:",
            "            raise RuntimeError('could not save') from error",
        ]
    ),
    "input-output": "raise OSError(errno.EIO, 'Input/output error')",
}


@pytest.mark.parametrize("where", ["fit", "save"])
def test_a_full_disk_stops_the_suite_and_is_nobodys_failure(
    where: str, project: ProjectCopy, run_tiny: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    for name, code in FULL.items():
        project.add_system(name, system(**{where: code}))
    for name in FULL if where == "fit" else ("python", "torch", "tokenizers"):
        ran = run_tiny("--systems", f"{name},popularity", "--results", name)
        assert ran.returncode == 2, (name, ran.stderr)
        assert "Traceback" not in ran.stderr, ran.stderr
        (sentence,) = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
        assert f"{name}/work/" in sentence and "cannot be written" in sentence
        assert not records(project.root / name)
        assert run_tiny("--systems", name, "--results", name, "--dry-run").stdout.count(
            "will resume"
        )


@pytest.mark.parametrize("place", ["locks", "artifacts"])
def test_a_lock_that_is_none_is_the_machines_fault(
    place: str, project: ProjectCopy, run_tiny: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    project.add_system("asks", system("self.context.artifacts.get('a', {}, lambda f: None)"))
    assert run_tiny("--systems", "asks").returncode == 0
    (lock,) = (project.root / "results" / place).glob("*.lock")
    lock.unlink()
    lock.mkdir()
    for folder in find_run_folders(project.root / "results" / "runs"):
        (folder / "run.json").unlink()
    ran = run_tiny("--systems", "asks")
    assert ran.returncode == 2, ran.stderr
    assert "Traceback" not in ran.stderr, ran.stderr
    assert f"results/{place}/{lock.name}: cannot be used" in ran.stderr
    assert not records(project.root / "results")
    lock.rmdir()
    assert run_tiny("--systems", "asks").returncode == 0


def test_fresh_waits_for_a_living_job_and_then_forgets_it(project: ProjectCopy) -> None:
    project.add_system(
        "slow",
        system(
            "Path(f'began-{os.getpid()}').touch()\n"
            "        import time\n"
            "        while not Path('go').exists(): time.sleep(0.05)"
        ),
    )
    assert project.run("--dataset", "tiny", "--systems", "popularity").returncode == 0
    command = [sys.executable, "-m", "benchmark.run", "--dataset", "tiny", "--systems", "slow"]

    def start(*more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*command, *more],
            cwd=project.root,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    first = start()
    try:
        wait_for(lambda: list(project.root.glob("began-*")))
        work = project.root / "results" / "work"
        (before,) = work.iterdir()
        second = start("--fresh")
        threading.Event().wait(8)
        assert (before / "identity.json").exists()  # nobody has taken it away
        assert len(list(project.root.glob("began-*"))) == 1
        (project.root / "go").touch()
        for process in (first, second):
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors
    finally:
        for process in (first, second):
            process.kill()
    assert len(list(project.root.glob("began-*"))) == 2


def wait_for(happened: Callable[[], object], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_suites_on_one_folder_share_the_work(project: ProjectCopy) -> None:
    """The first holds one job until the second has done all others, whatever their order."""
    for name in ("one", "two", "three"):
        project.add_system(
            name,
            system(
                f"Path('by-{name}-' + os.environ['SUITE']).touch()\n"
                "        import time\n"
                f"        held = os.environ['SUITE'] == 'first' and '{name}' == 'one'\n"
                "        while held and len(list(Path('results/runs').rglob('run.json'))) < 2: "
                "time.sleep(0.05)"
            ),
        )
    command = [sys.executable, "-m", "benchmark.run", "--dataset", "tiny"]
    command += ["--systems", "one,two,three", "--preset", "smoke"]
    running = []
    try:
        for suite in ("first", "second"):
            running.append(
                subprocess.Popen(
                    command,
                    cwd=project.root,
                    env={**os.environ, "OMP_NUM_THREADS": "1", "SUITE": suite},
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            if suite == "first":
                wait_for(lambda: (project.root / "by-one-first").exists())
        for process in running:
            _, errors = process.communicate(timeout=300)
            assert process.returncode == 0, errors
    finally:
        for process in running:
            process.kill()
    done = sorted(path.name for path in project.root.glob("by-*"))
    assert done == ["by-one-first", "by-three-second", "by-two-second"]


def test_a_worker_does_not_outlive_its_suite(project: ProjectCopy) -> None:
    project.add_system(
        "slow",
        system("Path('worker').write_text(str(os.getpid()))\n        import time; time.sleep(600)"),
    )
    suite = subprocess.Popen(
        [sys.executable, "-m", "benchmark.run", "--dataset", "tiny", "--systems", "slow"],
        cwd=project.root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: (project.root / "worker").exists())
        worker = int((project.root / "worker").read_text())
        os.kill(worker, 0)
    finally:
        suite.send_signal(signal.SIGKILL)
        suite.wait()

    def is_gone() -> bool:
        try:
            status = Path(f"/proc/{worker}/stat").read_text()
        except FileNotFoundError:
            return True
        return status.rpartition(")")[2].split()[0] == "Z"  # its new parent does not look

    wait_for(is_gone, 60)


def test_a_process_that_cannot_begin_is_not_the_jobs_fault(
    project: ProjectCopy, run_tiny: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    worker = project.root / "benchmark" / "run" / "worker.py"
    text = worker.read_text()
    worker.write_text(text.replace('    orders.send(Answer("ready"))', "    os._exit(7)"))
    assert worker.read_text() != text
    ran = run_tiny("--systems", "popularity")
    assert ran.returncode == 2, ran.stderr
    assert "the process for it ended with exit code 7 before it began" in ran.stderr
    assert not records(project.root / "results")


def test_a_full_temporary_folder_and_a_full_output(
    project: ProjectCopy, run_tiny: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    assert run_tiny("--systems", "popularity").returncode == 0
    command = [sys.executable, "-m", "benchmark.run", "--dataset", "tiny", "--preset", "smoke"]
    with Path("/dev/full").open("w") as full:
        for arguments in (["--systems", "popularity"], ["--list"]):
            ran = subprocess.run(
                [*command, *arguments],
                cwd=project.root,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
            assert ran.returncode == 2, ran.stderr
            assert "Traceback" not in ran.stderr and "Exception ignored" not in ran.stderr
            assert ran.stderr.count("No space left on device") == 1
    ran = run_tiny("--systems", "bm25", TMPDIR="/nowhere")
    assert ran.returncode == 0, ran.stderr


def test_an_ascii_locale(
    project: ProjectCopy, run_tiny: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    project.add_system("umlaut", system("raise ValueError('größer als möglich: 漢字')"))
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ran = run_tiny("--systems", "umlaut,popularity", **ascii_only)
    assert ran.returncode == 1, ran.stderr
    assert "Traceback" not in ran.stderr, ran.stderr
    assert records(project.root / "results")["popularity"].status == "finished"
    error = records(project.root / "results")["umlaut"].error
    assert error == "ValueError: größer als möglich: 漢字"
    listed = run_tiny("--list", **ascii_only)
    assert listed.returncode == 0 and "Traceback" not in listed.stderr
    named = run_tiny("--systems", "popularity", "--results", "größe", **ascii_only)
    assert named.returncode == 2
    assert "error: the locale's encoding is ascii" in named.stderr
    assert run_tiny("--systems", "popularity", "--results", "größe").returncode == 0


def test_a_limit_of_memory_is_no_failure_of_the_system(
    project: ProjectCopy, run_tiny: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    project.add_system("large", system("self.block = np.ones(5 << 27)"))
    ran = subprocess.run(
        [sys.executable, "-m", "benchmark.run", "--dataset", "tiny", "--systems", "large"],
        cwd=project.root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (5 << 30, 5 << 30)),
    )
    assert ran.returncode == 1, ran.stderr
    (record,) = records(project.root / "results").values()
    assert record.retryable and "out of memory" in (record.error or "")
