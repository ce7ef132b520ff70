"""The package as it is installed: a wheel, the recipes inside it, its commands and its version."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import benchmark
from benchmark.__main__ import COMMANDS, main, module_of
from benchmark.data.recipe import load_recipe, recipe_names, shipped_recipes
from benchmark.systems.catalogue import entries

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("benchmark", "baselines", "gensar")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the sources, so that nothing is built among them."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, source / name)
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, source / package, ignore=ignored)
    recipes = source / "datasets"
    (recipes / "prepared").mkdir(parents=True)
    (recipes / "prepared" / "mine.yaml").write_text("name: mine\n", encoding="utf-8")
    for path in (ROOT / "datasets").glob("*.yaml"):
        shutil.copy2(path, recipes / path.name)
    code = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(out)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel holds."""
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def run_installed(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``python …`` in ``folder`` with the wheel's packages before those of these sources."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )


def test_the_wheel_holds_every_recipe_and_no_folder_datasets(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        shipped = {
            Path(name).name: archive.read(name)
            for name in names
            if name.startswith("benchmark/recipes/")
        }
    assert shipped == {path.name: path.read_bytes() for path in (ROOT / "datasets").glob("*.yaml")}
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == set(PACKAGES)


def test_the_wheel_holds_every_file_that_the_packages_read(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tracked = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert tracked <= names


def test_the_wheel_gives_the_console_command(installed: Path) -> None:
    (points,) = installed.glob("*.dist-info/entry_points.txt")
    assert "gensar-benchmark = benchmark.__main__:main" in points.read_text(encoding="utf-8")


def test_an_installed_suite_gives_tables_in_an_empty_folder(
    installed: Path, tmp_path: Path
) -> None:
    command = "import sys; from benchmark.__main__ import main; sys.exit(main(sys.argv[1:]))"
    chosen = ("--dataset", "generated", "--systems", "popularity", "--preset", "smoke")
    done = run_installed(installed, tmp_path, "-c", command, "run", *chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Popularity" in done.stdout
    tables = tmp_path / "results" / "tables"
    assert (tables / "generated-paper-smoke-search.md").is_file()
    code = "import benchmark, datasets; print(benchmark.__file__, datasets.Dataset.__module__)"
    where = run_installed(installed, tmp_path, "-c", code)
    assert where.stdout.startswith(f"{installed}"), where.stderr
    assert where.stdout.split()[1].startswith("datasets."), where.stdout


def test_a_recipe_of_the_users_own_wins_over_the_shipped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert recipe_names() == recipe_names(shipped_recipes())
    (tmp_path / "datasets").mkdir()
    own = "name: generated\ndescription: Mine\nsource: {kind: generated}\n"
    (tmp_path / "datasets" / "generated.yaml").write_text(own, encoding="utf-8")
    assert load_recipe("generated").description == "Mine"
    assert load_recipe("ml-100k").name == "ml-100k"
    assert recipe_names(Path("elsewhere")) == []


# Commands


def test_every_command_of_the_package_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    mains = {path.parent.name for path in (ROOT / "benchmark").glob("*/__main__.py")}
    scripts = {
        path.stem
        for path in (ROOT / "benchmark").glob("[!_]*.py")
        if "\ndef main(" in path.read_text(encoding="utf-8")
    }
    assert mains | scripts == set(COMMANDS)
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs_by_its_name(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(importlib.import_module(module_of(command)).main)
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"python -m benchmark.{command}" in capsys.readouterr().out


def test_an_unknown_command_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rum"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: unknown command 'rum' (did you mean 'run'?)")
    assert message.count("\n") == 1


def test_a_reader_that_has_seen_enough_ends_the_list_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "benchmark"],
            cwd=ROOT,
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")


# The paper


def test_readme_citation_and_bibliography_name_the_same_paper() -> None:
    paper = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))[
        "preferred-citation"
    ]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    bibliography = ROOT / "baselines" / "references.bib"
    entry = bibliography.read_text(encoding="utf-8").split("{shi2025gensar,")[1].split("\n}")[0]
    authors = " and ".join(
        f"{author['family-names']}, {author['given-names']}" for author in paper["authors"]
    )
    for part in (paper["title"], authors, paper["doi"]):
        assert part in entry
    (arxiv,) = (one["value"].removeprefix("arXiv:") for one in paper["identifiers"])
    assert f"[{paper['title']}](https://doi.org/{paper['doi']})" in readme
    assert f"(https://arxiv.org/abs/{arxiv})" in readme
    code = entries()["gensar"].original
    assert f"[the authors' code]({code})" in readme


# The version


def test_the_version_is_one(wheel: Path, capsys: pytest.CaptureFixture[str]) -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## \[(\d[^\]]*)\]", changes, re.MULTILINE)
    assert newest is not None
    assert main(["--version"]) == 0
    shown = capsys.readouterr().out.strip()
    of_wheel = wheel.name.split("-")[1]
    assert {str(citation["version"]), newest[1], shown, of_wheel} == {benchmark.__version__}
