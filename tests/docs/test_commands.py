"""Every command of README and the documentation is run, or its options exist and it is said why."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from tests.docs.commands import (
    NOT_RUN,
    ROOT,
    Command,
    all_commands,
    as_it_is_run,
    commands_in,
    is_run_whole,
    options_of,
    reason_not_to_run,
)

DAY = 86_400
ITEMS, QUERY = "i000030,i000197", "wabababa"
"""Of the log `generated`: two items, and a word of its queries."""
RECIPE = """name: shop
source: {kind: folder, path: log, core: 1}
search: {kind: own}
"""


@dataclass(frozen=True)
class Tried:
    """Exit code and output of every command of ours, and of the help of those that are not run."""

    results: dict[tuple[str, ...], tuple[int, str]]
    help: dict[tuple[str, ...], str]


def write_shop(folder: Path) -> None:
    """A log of a shop, small and complete, as datasets/README.md describes it."""
    (folder / "log").mkdir()
    events = [
        {"user_id": f"u{user}", "item_id": f"i{(user + step) % 12}", "timestamp": DAY * (step + 9)}
        for user in range(8)
        for step in range(6)
    ]
    searches = [{**row, "query": "red shoes", "timestamp": row["timestamp"] + 60} for row in events]
    pd.DataFrame(events).to_parquet(folder / "log" / "interactions.parquet")
    pd.DataFrame(searches).to_parquet(folder / "log" / "searches.parquet")
    items = [{"item_id": f"i{number}", "title": f"shoes {number}"} for number in range(12)]
    pd.DataFrame(items).to_parquet(folder / "log" / "items.parquet")
    (folder / "shop.yaml").write_text(RECIPE, encoding="utf-8")


def run_all(jobs: list[tuple[str, list[str]]], folder: Path) -> list[tuple[int, str]]:
    """The commands one after another, in ``folder``."""
    (folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.run_commands", "jobs.json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [(code, printed) for code, printed in json.loads(done.stdout.splitlines()[-1])]


def ours() -> list[Command]:
    """The commands of this project that are run."""
    return [
        command for command in all_commands() if command.module and not reason_not_to_run(command)
    ]


def only_looked_at() -> list[Command]:
    """The commands of this project that are not run."""
    return [command for command in all_commands() if command.module and reason_not_to_run(command)]


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Tried:
    folder = tmp_path_factory.mktemp("commands")
    write_shop(folder)
    (folder / "results").mkdir()
    for name in ("published", "reference", "reproduction"):
        (folder / "results" / name).symlink_to(ROOT / "results" / name)
    first = [command for command in ours() if is_run_whole(command)]
    others = [command for command in ours() if command not in first]
    jobs = [(command.module, as_it_is_run(command)) for command in first]
    results = dict(zip([c.words for c in first], run_all(jobs, folder), strict=True))
    runs = sorted((folder / "results" / "runs").glob("**/tem/*/run.json"))
    assert runs, "\n".join(printed for _, printed in results.values())
    values = {"run": str(runs[0].parent), "items": ITEMS, "query": QUERY}
    jobs = [(command.module, as_it_is_run(command, **values)) for command in others]
    results |= zip([c.words for c in others], run_all(jobs, folder), strict=True)
    asked = [(c.module, [*subcommand(c), "--help"]) for c in only_looked_at()]
    helps = [printed for _, printed in run_all(asked, folder)]
    return Tried(results, dict(zip([c.words for c in only_looked_at()], helps, strict=True)))


def subcommand(command: Command) -> list[str]:
    """``["simulate"]`` of ``python -m benchmark.report simulate --systems 5``."""
    given = command.words[3:4]
    has_some = command.module.partition(".")[2] in ("report", "data", "speed", "protocol")
    return list(given) if has_some and given and not given[0].startswith("-") else []


@pytest.mark.parametrize("command", ours(), ids=lambda command: command.text)
def test_runs(command: Command, tried: Tried) -> None:
    code, printed = tried.results[command.words]
    finds = "--strict" in command.words and code == 1  # a finding is what it may end with
    assert code == 0 or finds, printed


@pytest.mark.parametrize("command", only_looked_at(), ids=lambda command: command.text)
def test_has_its_options(command: Command, tried: Tried) -> None:
    printed = tried.help[command.words]
    missing = [option for option in options_of(command) if option not in printed]
    assert not missing, f"{command.file}: {command.text}\n{printed}"


@pytest.mark.parametrize(
    "command", [c for c in all_commands() if c.words[0] == "make"], ids=lambda command: command.text
)
def test_make_has_the_target(command: Command) -> None:
    done = subprocess.run(
        ["make", "-n", *command.words[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_no_reason_is_left_over() -> None:
    texts = [" ".join(command.words) for command in all_commands()]
    unused = [pattern for pattern, _ in NOT_RUN if not any(re.search(pattern, t) for t in texts)]
    assert not unused


def test_a_command_that_fails_is_told(tmp_path: Path) -> None:
    (command,) = commands_in(
        "x.md", "```\npython -m benchmark.run --systems nosuch --dry-run\n```\n"
    )
    ((code, printed),) = run_all([(command.module, as_it_is_run(command))], tmp_path)
    assert code == 2
    assert "nosuch" in printed


def test_lines_of_shell_blocks_that_begin_with_a_program_are_commands() -> None:
    text = "```\nA=1 python -m benchmark.run --list  # all\nit's none\n```\n```python\nx\n```\n"
    assert [command.words for command in commands_in("x.md", text)] == [
        ("python", "-m", "benchmark.run", "--list")
    ]
