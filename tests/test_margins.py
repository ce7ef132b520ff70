"""The slow tier: training tests with ten seeds on several instruction sets, and its means."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.training import expect

TESTS = Path(__file__).resolve().parent
SEEDS = range(10)
# Torch's own kernels, those of oneDNN and the matrix products of MKL are chosen one by one. What a
# processor lacks cannot be forced on it, so its own choice stands for all that is beyond AVX2.
NARROW = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "COMPATIBLE",
}
AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "AVX2"}
MACHINES: dict[str, dict[str, str]] = {
    "narrow": NARROW,
    "avx2": AVX2,
    "own": {},
    "own-two-threads": {"TRAINING_THREADS": "2"},
}


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_what_training_tests_expect_holds_with_every_seed(machine: str, tmp_path: Path) -> None:
    figures: dict[str, list[str]] = defaultdict(list)
    failures = []
    for seed in SEEDS:
        noted = tmp_path / f"{seed}.jsonl"
        noted.touch()
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-m", "training", "-q", "-p", "no:cacheprovider"],
            cwd=TESTS.parent,
            env={
                **os.environ,
                **MACHINES[machine],
                "TRAINING_SEED": str(seed),
                "TRAINING_FIGURES": str(noted),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        for expectation, figure in read_figures(noted).items():
            figures[expectation].append(figure)
        print(f"{machine}, seed {seed}:", *(ran.stdout.splitlines()[-1:] or ["no output"]))
        if ran.returncode:
            failures.append(f"seed {seed}:\n{ran.stdout}{ran.stderr}")
    print(*(f"{' '.join(figures[name])}  {name}" for name in sorted(figures)), sep="\n")
    assert not failures, "\n".join(failures)


def read_figures(path: Path) -> dict[str, str]:
    """What was expected of which test, and the figure that it came to."""
    found: dict[str, str] = {}
    for line in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        bounds = [f"{way} {line[way]:g}" for way in ("above", "below") if line[way] is not None]
        name = f"{' and '.join(bounds)}: {line['test']}"
        while name in found:  # a test may expect the same of several figures
            name += " again"
        found[name] = f"{line['figure']:.3f}"
    return found


def test_an_expectation_is_noted_and_then_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "figures.jsonl"
    monkeypatch.setenv("TRAINING_FIGURES", str(path))
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "tests/test_it.py::test_it[a b] (call)")
    expect(0.95, above=0.9)
    expect(0.25, below=0.3)
    with pytest.raises(AssertionError):
        expect(0.9, above=0.9)
    with pytest.raises(AssertionError):
        expect(0.3, below=0.3)
    with pytest.raises(AssertionError, match="needs a bound"):
        expect(0.5)
    assert read_figures(path) == {
        "above 0.9: tests/test_it.py::test_it[a b]": "0.950",
        "above 0.9: tests/test_it.py::test_it[a b] again": "0.900",
        "below 0.3: tests/test_it.py::test_it[a b]": "0.250",
        "below 0.3: tests/test_it.py::test_it[a b] again": "0.300",
    }


def test_whoever_expects_is_run_with_every_seed() -> None:
    unmarked = [
        f"{path.name}: {function.name}"
        for path in TESTS.rglob("test_*.py")
        if path != Path(__file__).resolve()
        for function in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(function, ast.FunctionDef) and calls_expect(function)
        if "pytest.mark.training" not in map(ast.unparse, function.decorator_list)
    ]
    assert not unmarked


def calls_expect(function: ast.FunctionDef) -> bool:
    """Whether ``expect(...)`` stands somewhere in it."""
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    return any(isinstance(call.func, ast.Name) and call.func.id == "expect" for call in calls)
