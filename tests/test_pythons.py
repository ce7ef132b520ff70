"""The Pythons that are supported: named alike everywhere, with one lock file, and found by `make`.

What a later Python refuses is looked for here as far as an earlier one can tell: modules that later
ones no longer have, warnings that they turn into errors, and the start method of processes. Where
a later one is on the path, it compiles every source too.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("benchmark", "baselines", "gensar", "tests", "examples")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
SOURCES.append(ROOT / "setup.py")


def metadata() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def supported() -> list[int]:
    """The minor versions of Python 3 that `requires-python` admits."""
    admitted = SpecifierSet(metadata()["project"]["requires-python"])
    return [minor for minor in range(50) if admitted.contains(f"3.{minor}.1")]


def test_the_metadata_and_the_linters_name_the_same_pythons() -> None:
    found = metadata()
    listed = [
        int(entry.rpartition(".")[2])
        for entry in found["project"]["classifiers"]
        if entry.startswith("Programming Language :: Python :: 3.")
    ]
    assert listed == supported()
    assert found["tool"]["ruff"]["target-version"] == f"py3{supported()[0]}"
    assert found["tool"]["mypy"]["python_version"] == f"3.{supported()[0]}"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_the_texts_name_the_same_pythons(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert f"Python 3.{supported()[0]} to 3.{supported()[-1]}" in text


# The lock file


def pins() -> dict[str, Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    by_name = {canonicalize_name(pin.name): pin for pin in found}
    assert len(by_name) == len(found)
    return by_name


def test_one_lock_file_serves_every_python() -> None:
    for pin in pins().values():
        assert pin.marker is None
        assert [part.operator for part in pin.specifier] == ["=="]


def test_every_dependency_has_its_version_in_the_lock_file() -> None:
    project = metadata()["project"]
    asked = [project["dependencies"], *project["optional-dependencies"].values()]
    for text in [text for group in asked for text in group]:
        requirement = Requirement(text)
        (part,) = pins()[canonicalize_name(requirement.name)].specifier
        assert requirement.specifier.contains(part.version), text


# `make` finds a Python


FAKE = """#!{shell}
# Python 3.{minor}, which can look at its version but makes no environment.
if [ "$1" = -c ]; then
    exec {python} -c 'import sys; sys.version_info = (3, {minor}, 1); exec(sys.argv[1])' "$2"
fi
exit 1
"""


def made(place: Path, pythons: dict[str, int], *arguments: str) -> subprocess.CompletedProcess[str]:
    """``make install`` where only ``pythons`` (command → minor version) are on the path."""
    make, shell = shutil.which("make"), shutil.which("sh")
    assert make is not None and shell is not None
    bin_folder = place / "bin"
    bin_folder.mkdir()
    for name, minor in pythons.items():
        text = FAKE.format(shell=shell, python=sys.executable, minor=minor)
        (bin_folder / name).write_text(text, encoding="utf-8")
        (bin_folder / name).chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy2(ROOT / name, place / name)
    return subprocess.run(
        [make, "install", *arguments],
        cwd=place,
        env={"PATH": str(bin_folder), "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("minor", supported())
def test_make_takes_every_supported_python(minor: int, tmp_path: Path) -> None:
    done = made(tmp_path, {f"python3.{minor}": minor})
    assert f"Creating .venv with python3.{minor};" in done.stdout


@pytest.mark.parametrize(
    ("pythons", "chosen"),
    [
        ({"python3": 13}, "python3"),
        ({"python3": 13, "python3.11": 11}, "python3.11"),
        ({"python3": 10, "python3.12": 12, "python3.13": 13}, "python3.13"),
        ({"python3": 12, "python3.11": 10}, "python3"),
    ],
)
def test_make_takes_the_reference_first_and_then_the_newest(
    pythons: dict[str, int], chosen: str, tmp_path: Path
) -> None:
    assert f"Creating .venv with {chosen};" in made(tmp_path, pythons).stdout


def test_make_takes_the_python_that_is_named(tmp_path: Path) -> None:
    done = made(tmp_path, {"python3.11": 11, "mine": 14}, "PYTHON=mine")
    assert "Creating .venv with mine;" in done.stdout


@pytest.mark.parametrize("minor", [supported()[0] - 1, supported()[-1] + 1])
def test_make_refuses_other_pythons(minor: int, tmp_path: Path) -> None:
    done = made(tmp_path, {"python3": minor})
    assert done.returncode != 0 and "Creating" not in done.stdout
    span = f"No Python 3.{supported()[0]} to 3.{supported()[-1]} with the modules venv"
    assert done.stderr.startswith(span)


# What later Pythons refuse

REMOVED = {
    12: "asynchat asyncore distutils imp smtpd",
    13: "aifc audioop cgi cgitb chunk crypt imghdr lib2to3 mailcap msilib nis nntplib ossaudiodev "
    "pipes sndhdr spwd sunau telnetlib uu xdrlib",
}
"""Python's minor version → the modules that it no longer has; 3.14 removed none."""

NO_PART_OF_PYTHON = {"pkg_resources"}
"""What came with installers once, and no longer does."""


def imported(tree: ast.AST) -> set[str]:
    """The top-level names of all modules that a source imports."""
    names = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    names |= {
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and not node.level
    }
    return {name.partition(".")[0] for name in names}


def test_no_module_is_imported_that_a_later_python_lacks() -> None:
    gone = {name for names in REMOVED.values() for name in names.split()} | NO_PART_OF_PYTHON
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in SOURCES
        for name in imported(ast.parse(path.read_text(encoding="utf-8"))) & gone
    }
    assert not found


def test_what_is_listed_as_removed_is_gone_from_then_on() -> None:
    for minor, names in REMOVED.items():
        listed = set(names.split())
        left = listed & set(sys.stdlib_module_names)
        assert left == (listed if sys.version_info < (3, minor) else set()), minor


def runnable(command: str) -> bool:
    """Whether a command is there and runs; version managers put some there that only complain."""
    if shutil.which(command) is None:
        return False
    return subprocess.run([command, "-c", ""], capture_output=True, check=False).returncode == 0


COMPILE = """
import sys, warnings
warnings.simplefilter("error")
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        compile(file.read(), path, "exec", dont_inherit=True)
"""


def pythons() -> list[str]:
    """This Python, and what is on the path of the later ones."""
    later = (f"python3.{minor}" for minor in supported() if minor > sys.version_info.minor)
    return [sys.executable, *filter(runnable, later)]


@pytest.mark.parametrize("python", pythons())
def test_every_source_compiles_without_a_warning(python: str) -> None:
    done = subprocess.run(
        [python, "-c", COMPILE, *map(str, SOURCES)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


INDEPENDENT = {"Pipe", "connection", "Connection", "wait"}
"""What of `multiprocessing` is the same whatever the start method, whose default 3.14 changed."""


def test_no_process_is_started_by_a_method_that_depends_on_the_python() -> None:
    used: dict[str, set[str]] = {}
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                ("multiprocessing", "concurrent.futures.process")
            ):
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                names = {node.attr} if node.value.id in ("multiprocessing", "mp") else set()
            elif isinstance(node, (ast.Name, ast.Attribute)):
                name = node.id if isinstance(node, ast.Name) else node.attr
                names = {name} & {"ProcessPoolExecutor"}
            else:
                continue
            if names - INDEPENDENT:
                used.setdefault(str(path.relative_to(ROOT)), set()).update(names - INDEPENDENT)
    assert not used


# RecBole, which is installed without what it asks for


def test_recbole_loads_without_what_it_asks_for_and_the_project_does_not() -> None:
    pytest.importorskip("recbole", reason="RecBole is not installed")
    from importlib.metadata import requires

    own = {
        canonicalize_name(Requirement(text).name) for text in metadata()["project"]["dependencies"]
    }
    asked = {canonicalize_name(Requirement(text).name) for text in requires("recbole") or ()}
    blocked = sorted(asked - own)
    assert "ray" in blocked
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked}))\n"
        "from recbole.config import Config\n"
        "from recbole.data import create_dataset\n"
        "from recbole.data.interaction import Interaction\n"
        "from recbole.data.transform import construct_transform\n"
        "from recbole.model import sequential_recommender\n"
        "from recbole.trainer import Trainer\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_command_that_gets_recbole_names_the_locked_release() -> None:
    command = f"pip install --no-deps {pins()['recbole']}"
    places = ("README.md", "baselines/catalog.py", "benchmark/data/sources/ml100k.py")
    for place in places:
        text = (ROOT / place).read_text(encoding="utf-8")
        assert re.findall(r"pip install --no-deps recbole[^\s`\",]*", text) == [command], place
