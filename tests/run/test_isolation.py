"""What one system does to its process, and what the machine does to a job, ends no suite."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.jobs.record import RunRecord, find_run_folders, read_run
from tests.run.conftest import ProjectCopy

SYSTEM = """
import ctypes, errno, json, os, sys, threading, time
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
        {load}

    def stand_ins(self):
        return {stand_ins}

    def ranking_of_all_items(self):
        return {ranking}
"""


def system(
    fit: str = "pass",
    save: str = "pass",
    load: str = "pass",
    stand_ins: str = "()",
    ranking: str = "''",
) -> str:
    parts = {"fit": fit, "save": save, "load": load, "stand_ins": stand_ins, "ranking": ranking}
    text = SYSTEM
    for name, part in parts.items():
        text = text.replace(f"{{{name}}}", part)
    return text


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


CANNOT_BE_PRINTED = "raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})()"
WRONG = {
    "stands-in-for-none": (dict(stand_ins="[1, None]"), "stand_ins() gives (1, None)"),
    "ranks-by-none": (dict(ranking="None"), "ranking_of_all_items() gives (None,)"),
    "says-nothing": (dict(fit=CANNOT_BE_PRINTED), "Odd: an error that cannot be printed"),
    "leaves-a-link": (
        dict(save="os.symlink('/nowhere', folder / 'a')"),
        "save() left a, which is neither a file nor a folder.",
    ),
    "leaves-a-pipe": (
        dict(save="os.mkfifo(folder / 'b')"),
        "save() left b, which is neither a file nor a folder.",
    ),
    "code-five": (
        dict(fit="raise RuntimeError('the server answered with status code: 5')"),
        "RuntimeError: the server answered with status code: 5",
    ),
}
HARMLESS = {
    "halves-a-text": dict(stand_ins="('half \\udcff',)"),
    "talks-much": dict(
        fit="ts = [threading.Thread(target=self.context.progress, args=('y' * 300000,)) "
        "for _ in range(6)]; [t.start() for t in ts]; [t.join() for t in ts]"
    ),
    "talks-oddly": dict(fit="self.context.progress(threading.Lock())"),
    "keeps-a-record": dict(save="(folder / 'run.json').write_text('{}')"),
    "closes-all": dict(fit="os.close(1); os.close(2)"),
}


def test_what_a_system_gives_back_is_checked_or_harmless(
    project: ProjectCopy, run_tiny: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    for name, (code, _) in WRONG.items():
        project.add_system(name, system(**code))
    for name, code in HARMLESS.items():
        project.add_system(name, system(**code))
    names = ",".join([*WRONG, *HARMLESS, "popularity"])
    ran = run_tiny("--systems", names)
    assert ran.returncode == 1, ran.stderr
    assert "Traceback" not in ran.stderr, ran.stderr
    assert "not in the report" not in ran.stderr
    found = records(project.root / "results")
    for name in (*HARMLESS, "popularity"):
        assert found[name].status == "finished", found[name].error
    for name, (_, sentence) in WRONG.items():
        assert found[name].status == "failed" and not found[name].retryable, name
        assert sentence in (found[name].error or ""), (name, found[name].error)
    assert found["halves-a-text"].system.stand_ins == ("half ?",)


DISTURBING = (
    "import torch; torch.set_default_dtype(torch.float64); torch.set_grad_enabled(False); "
    "np.seterr(all='raise'); os.environ['HOME'] = '/nowhere'; sys.path.clear()"
)


def test_what_a_system_does_to_its_process_reaches_no_other(
    project: ProjectCopy, run_tiny: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    project.add_system("disturbs", system(DISTURBING))
    project.add_system("breaks-the-suite", system(load="json.dumps = None"))
    alone = run_tiny("--systems", "gru4rec", "--results", "alone")
    assert alone.returncode == 0, alone.stderr
    ran = run_tiny("--systems", "disturbs,breaks-the-suite,gru4rec,popularity")
    assert ran.returncode == 1, ran.stderr
    found = records(project.root / "results")
    assert found["gru4rec"].status == found["popularity"].status == "finished"
    assert found["breaks-the-suite"].retryable
    assert "the suite itself failed in its process" in (found["breaks-the-suite"].error or "")

    def figures(results: str) -> list[bytes]:
        (folder,) = (project.root / results / "runs").glob("*/*/gru4rec/*")
        return [(folder / name).read_bytes() for name in ("metrics.json", "ranks.parquet")]

    assert figures("alone") == figures("results")


HOLDS_THE_INTERPRETER = "Path('worker').write_text(str(os.getpid())); ctypes.PyDLL(None).sleep(600)"


def test_a_job_that_no_longer_answers_ends_with_its_suite(project: ProjectCopy) -> None:
    project.add_system("holds", system(HOLDS_THE_INTERPRETER))
    for sent in (signal.SIGKILL, signal.SIGTERM):
        (project.root / "worker").unlink(missing_ok=True)
        assert_the_worker_ends("holds", sent, project)


def test_processes_that_a_job_started_end_with_it(
    project: ProjectCopy, run_tiny: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    forks = (
        "child = os.fork()\n"
        "        if not child: time.sleep(600)\n"
        "        Path('child').write_text(str(child))"
    )
    project.add_system("forks", system(forks))
    project.add_system("forks-and-dies", system(f"{forks}; os._exit(3)"))
    for name, code in (("forks", 0), ("forks-and-dies", 1)):
        ran = run_tiny("--systems", f"{name},popularity")  # which would wait for ten minutes
        assert ran.returncode == code, ran.stderr
        child = int((project.root / "child").read_text())
        wait_for(lambda child=child: is_gone(child), 60)


def test_a_system_that_cannot_be_loaded_is_left_out(
    project: ProjectCopy, run_tiny: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    project.add_system("exits-early", "import sys; sys.exit(0)\n")
    project.add_system("needs-more", "import nothere\n")
    project.add_system("is-none", "class Added: pass\n")
    ran = run_tiny("--systems", "popularity,exits-early,needs-more,is-none")
    assert ran.returncode == 1, ran.stderr
    assert "Traceback" not in ran.stderr, ran.stderr
    assert list(records(project.root / "results")) == ["popularity"]
    for reason in ("SystemExit: 0", "No module named 'nothere'", "has no attribute 'Config'"):
        assert f"cannot be imported ({reason}" in ran.stderr or reason in ran.stderr, reason
    assert ran.stderr.count("left out: system") == 3
    alone = run_tiny("--systems", "needs-more")
    assert alone.returncode == 2 and "No module named 'nothere'" in alone.stderr


def test_streams_that_are_closed_and_names_without_characters(project: ProjectCopy) -> None:
    project.add_system("prints", system("print('a', flush=True); sys.stderr.write('b')"))
    command = f"{sys.executable} -m benchmark.run --dataset tiny --preset smoke --systems"
    for closed in (">&-", "<&- >&- 2>&-"):
        ran = subprocess.run(
            ["bash", "-c", f"{command} prints,popularity --results r {closed}"],
            cwd=project.root,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        assert {record.status for record in records(project.root / "r").values()} == {"finished"}
        shutil.rmtree(project.root / "r")
    ran = subprocess.run(
        ["bash", "-c", f"{command} popularity --results $'s\\xff'"],
        cwd=project.root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2 and "is not UTF-8" in ran.stderr, ran.stderr
    assert "Traceback" not in ran.stderr


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
    "has-no-terminal": "open('/dev/tty')",
    "reads-a-bad-disk": "open('/proc/self/mem', 'rb').read(1)",
    "prints-to-nobody": "raise BrokenPipeError(errno.EPIPE, 'Broken pipe')",
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
}


@pytest.mark.parametrize("where", ["fit", "save"])
def test_a_full_disk_stops_the_suite_and_is_nobodys_failure(
    where: str, project: ProjectCopy, run_tiny: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    for name, code in FULL.items():
        project.add_system(name, system(**{where: code}))
    for name in FULL if where == "fit" else ("python", "torch", "tokenizers"):
        ran = run_tiny("--systems", f"{name},popularity", "--results", name, "--jobs", "1")
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
    command += ["--systems", "one,two,three", "--preset", "smoke", "--jobs", "1"]
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
    code = "Path('worker').write_text(str(os.getpid()))\n        time.sleep(600)"
    project.add_system("slow", system(code))
    assert_the_worker_ends("slow", signal.SIGKILL, project)


def assert_the_worker_ends(name: str, sent: signal.Signals, project: ProjectCopy) -> None:
    """Where a system that wrote its process's number to ``worker`` is at work."""
    suite = subprocess.Popen(
        [sys.executable, "-m", "benchmark.run", "--dataset", "tiny", "--systems", name],
        cwd=project.root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: (project.root / "worker").exists())
        wait_for(lambda: (project.root / "worker").read_text())
        worker = int((project.root / "worker").read_text())
        os.kill(worker, 0)
        suite.send_signal(sent)
        suite.wait(60)
        wait_for(lambda: is_gone(worker), 60)
    finally:
        suite.kill()
        suite.wait()


def is_gone(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return status.rpartition(")")[2].split()[0] == "Z"  # its new parent does not look


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
