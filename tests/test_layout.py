"""What holds the repository together: the folder `datasets/`, imports downhill, no code in files.

Each guard stands for a failure that would be quiet or far from its cause: a folder that shadows an
installed package, a harness that learns a system's name, a listing that takes seconds because it
imports torch, a stored file that runs code when it is read.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import THOROUGH

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("benchmark", "baselines", "gensar")


def run_python(*arguments: str, limit: float = 300) -> subprocess.CompletedProcess[str]:
    """The interpreter of these tests, started at the root, so that the root is on its path."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )


def python_files() -> list[Path]:
    """Every module of the three packages."""
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


# The folder `datasets/` and the package `datasets`


def test_the_folder_datasets_is_not_a_package() -> None:
    assert (ROOT / "datasets").is_dir()
    assert not (ROOT / "datasets" / "__init__.py").exists()


def test_the_real_datasets_package_wins_at_the_root() -> None:
    done = run_python("-c", "import datasets; print(datasets.Dataset.__module__)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("datasets.")


def test_sentence_transformers_and_the_trainer_import_at_the_root() -> None:
    done = run_python("-c", "import sentence_transformers; from transformers import Trainer")
    assert done.returncode == 0, done.stderr


# Imports


def test_imports_go_downhill() -> None:
    done = run_python(
        "-c",
        "from importlinter.cli import lint_imports_command as run; run()",
        "--no-cache",
        "--no-logo",
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _rooms() -> Iterator[tuple[Path, list[str]]]:
    """Rooms of the harness with seven modules and more, and what is in each."""
    for face in sorted((ROOT / "benchmark").glob("*/**/__init__.py")):
        inside = [path.stem for path in face.parent.glob("*.py") if path.stem[:2] != "__"]
        inside += [path.parent.name for path in face.parent.glob("*/__init__.py")]
        if len(inside) >= 7:
            yield face, sorted(inside)


@pytest.mark.parametrize(
    ("face", "inside"), [pytest.param(*room, id=room[0].parent.name) for room in _rooms()]
)
def test_a_room_says_what_is_in_it(face: Path, inside: list[str]) -> None:
    says = ast.get_docstring(ast.parse(face.read_text(encoding="utf-8"))) or ""
    assert [name for name in inside if f"``{name}``" not in says] == []


def test_systems_outside_find_language_models_by_their_earlier_path() -> None:
    from benchmark.kit import seq2seq
    from benchmark.kit.text import Tokenizer, find_encoder

    assert [getattr(seq2seq, name).__name__ for name in ("TextTokenizer", "Seq2Seq", "Backbone")]
    assert callable(find_encoder) and callable(Tokenizer)


def test_what_is_left_out_of_the_quick_tests_is_there() -> None:
    assert [name for name in THOROUGH if not (ROOT / "tests" / name).exists()] == []


def test_no_module_imports_itself_on_a_detour() -> None:
    import grimp

    # Imports in functions and those for types alone are counted too.
    graph = grimp.build_graph("benchmark", "baselines", "gensar", cache_dir=None)
    imported = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    TopologicalSorter(imported).prepare()  # raises CycleError, which names the circle


# Files that run code when they are read

PICKLES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve"}
BANNED_CALLS = {
    "eval": "evaluates text",
    "builtins.eval": "evaluates text",
    "exec": "runs text",
    "builtins.exec": "runs text",
    "yaml.load": "use yaml.safe_load",
    "yaml.load_all": "use yaml.safe_load_all",
    "yaml.unsafe_load": "use yaml.safe_load",
    "yaml.full_load": "use yaml.safe_load",
    "joblib.load": "reads a pickle",
    "joblib.dump": "writes a pickle",
    "pandas.read_pickle": "reads a pickle",
}


def code_that_runs_files(source: str) -> list[str]:
    """Uses of pickle, unchecked loaders and evaluated text, each as `line: what`."""
    tree = ast.parse(source)
    full_names: dict[str, str] = {}  # local name -> dotted name
    safe_loaders = {"yaml.SafeLoader", "yaml.CSafeLoader"}  # and what the file derives from them
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                shown = alias.name if alias.asname else alias.name.split(".")[0]
                full_names[alias.asname or shown] = shown
                if alias.name.split(".")[0] in PICKLES:
                    found.append((node.lineno, f"imports {alias.name}"))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                full_names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            if node.module.split(".")[0] in PICKLES:
                found.append((node.lineno, f"imports from {node.module}"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            bases = {dotted_name(base, full_names) for base in node.bases}
            bases -= {"yaml.composer.Composer"}  # which makes nodes of text and no objects
            if bases and bases <= safe_loaders:
                safe_loaders.add(node.name)
        if not isinstance(node, ast.Call):
            continue
        name = dotted_name(node.func, full_names)
        keywords = {
            keyword.arg: keyword.value.value
            for keyword in node.keywords
            if isinstance(keyword.value, ast.Constant)
        }
        loaders = [*node.args[1:2], *(k.value for k in node.keywords if k.arg == "Loader")]
        safe = any(dotted_name(loader, full_names) in safe_loaders for loader in loaders)
        if name in BANNED_CALLS and not (name == "yaml.load" and safe):
            found.append((node.lineno, f"{name}: {BANNED_CALLS[name]}"))
        if name == "torch.load" and keywords.get("weights_only") is not True:
            found.append((node.lineno, "torch.load without weights_only=True"))
        if name.endswith(".to_pickle"):
            found.append((node.lineno, "to_pickle writes a pickle"))
        if keywords.get("allow_pickle") is True:
            found.append((node.lineno, "allow_pickle=True reads pickles"))
    return [f"{line}: {what}" for line, what in sorted(found)]


def dotted_name(node: ast.expr, full_names: dict[str, str]) -> str:
    """`np.load` as `numpy.load`; an expression without a name in front gives `?`."""
    if isinstance(node, ast.Attribute):
        return f"{dotted_name(node.value, full_names)}.{node.attr}"
    return full_names.get(node.id, node.id) if isinstance(node, ast.Name) else "?"


def test_no_stored_file_can_run_code() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{use}"
        for path in python_files()
        for use in code_that_runs_files(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load('x')",
        "import torch as t\nt.load('x', weights_only=False)",
        "from torch import load as read\nread('x')",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "import yaml\nclass Loose(yaml.Loader): ...\nyaml.load(text, Loose)",
        "eval('1')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "from joblib import load\nload('x')",
        "frame.to_pickle('x')",
    ],
)
def test_the_scan_finds(source: str) -> None:
    assert code_that_runs_files(source)


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "import torch\ntorch.load('x', weights_only=True)",
        "import yaml\nyaml.safe_load(text)",
        "import yaml\nclass Strict(yaml.SafeLoader): ...\nyaml.load(text, Strict)",
        "import numpy as np\nnp.load('x', allow_pickle=False)",
        "import json\njson.load(file)",
    ],
)
def test_the_scan_passes(source: str) -> None:
    assert not code_that_runs_files(source)


# The harness knows no system by name

ALLOWED_NAMES = {
    "bm25": "retrieval that the harness itself does: the hard negatives of the search task",
    "random": "Python's and numpy's module, and an ordinary word",
    "letter": "an ordinary word",
    "popularity": "a distribution that negatives are drawn from",
    "recbole": "the installed package whose wheel MovieLens 100k is read from",
}
# What may carry a system's name without meaning the system: this project, the paper that the
# protocols are taken from, and addresses of sources.
NOT_A_SYSTEM = re.compile(
    r"https?://\S+|\bgensar[-_ ]benchmark(?![^\W_])|\bgensar\s+paper\b", re.IGNORECASE
)


def whole_word(name: str) -> re.Pattern[str]:
    """The name between characters that are no letters or digits; `_` ends a word here."""
    return re.compile(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", re.IGNORECASE)


def texts_of_the_harness() -> Iterator[tuple[Path, list[str]]]:
    """Every file under `benchmark/` that is text, as lines; bytes are no place for a name."""
    for path in sorted((ROOT / "benchmark").rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            try:
                text = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
            blank = NOT_A_SYSTEM.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
            yield path, blank.splitlines()


def test_the_harness_names_no_system() -> None:
    from baselines.catalog import ENTRIES

    names = {name for entry in ENTRIES for name in (entry.name, entry.display_name)}
    patterns = {
        name: whole_word(name) for name in sorted(names) if name.lower() not in ALLOWED_NAMES
    }
    assert patterns
    found = [
        f"{path.relative_to(ROOT)}:{number}: {name!r} in: {line.strip()}"
        for path, lines in texts_of_the_harness()
        for number, line in enumerate(lines, start=1)
        for name, pattern in patterns.items()
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("text", ["if name == 'tiger':", "TIGER_beam = 3", "as Tiger does"])
def test_a_system_is_recognised_in(text: str) -> None:
    assert whole_word("tiger").search(text)


def test_a_part_of_a_word_is_no_system() -> None:
    assert not whole_word("tem").search("an item of the system")


# The command line


def test_help_is_shown() -> None:
    done = run_python("-m", "benchmark.run", "--help")
    assert done.returncode == 0, done.stderr
    assert "--suite" in done.stdout


def test_a_terminal_without_a_character_gets_a_question_mark() -> None:
    command = "from benchmark.cli import guarded; guarded(lambda: print('0.1 \u2248 0.1') or 0)"
    done = subprocess.run(
        [sys.executable, "-c", command],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"0.1 ? 0.1\n"


def test_listing_the_systems_imports_no_torch() -> None:
    done = run_python(
        "-c",
        "import sys\n"
        "from benchmark.run.__main__ import main\n"
        "status = main(['--list'])\n"
        "heavy = sorted({'torch', 'transformers', 'recbole'} & set(sys.modules))\n"
        "sys.exit(f'imported {heavy}' if heavy else status)",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
