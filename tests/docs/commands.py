"""The shell commands of README and the documentation, and how each is tried.

Each is run as it stands, or in a smaller form on the invented log ``generated``, or, where it needs
what no test has, its options are looked up in the command's help; then ``NOT_RUN`` says why.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = (
    "README.md",
    "CONTRIBUTING.md",
    "datasets/README.md",
    "results/reproduction/README.md",
    "results/submissions/README.md",
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
)
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
_SHELLS = ("", "sh", "bash", "shell", "console")
_BEGINS = re.compile(
    r"\s*(?:[A-Z_]+=\S+ +)*(?=(?:make|python|torchrun|pip|curl|docker|gensar-benchmark)\s)"
)
"""What stands before the words of a command: settings of the environment."""


@dataclass(frozen=True)
class Command:
    """One line of a fenced block, as words, without what it sets of the environment."""

    file: str
    text: str
    words: tuple[str, ...]

    @property
    def module(self) -> str:
        """``benchmark.run`` of ``python -m benchmark.run``; empty for other programs."""
        is_ours = self.words[:2] == ("python", "-m") and self.words[2].startswith("benchmark")
        return self.words[2] if is_ours else ""


def commands_in(file: str, text: str) -> Iterator[Command]:
    """Every line of an unnamed or shell block that begins with a program."""
    blocks = [block for language, block in _FENCE.findall(text) if language in _SHELLS]
    for line in (line for block in blocks for line in block.replace("\\\n", " ").splitlines()):
        if match := _BEGINS.match(line):
            words = shlex.split(line[match.end() :], comments=True)
            yield Command(file, line.strip(), tuple(words))


def all_commands() -> list[Command]:
    """Those of all files, each text once."""
    found: dict[tuple[str, ...], Command] = {}
    for file in FILES:
        for command in commands_in(file, (ROOT / file).read_text(encoding="utf-8")):
            found.setdefault(command.words, command)
    return list(found.values())


NOT_RUN: tuple[tuple[str, str], ...] = (
    (r"^torchrun ", "needs several processes; tests/run/test_torchrun.py starts two"),
    (r"^pip |^docker ", "installs from the network"),
    (r"--backend dask", "needs a cluster; tests/cluster starts some"),
    (r"^curl ", "needs a running service; tests/interface asks one"),
    (r"benchmark\.serve", "runs until it is stopped; tests/interface starts the service"),
    (r"benchmark\.tune", "trains for minutes; tests/tune runs studies to their end"),
    (r"benchmark\.reproduce (?!LINE)", "needs published data; tests/reproduce runs a line"),
    (r"benchmark\.speed", "measures for minutes; tests/speed runs its parts"),
    (r"benchmark\.report simulate", "simulates for minutes; tests/report checks its figures"),
    (r"python -m pytest", "is a run of these tests"),
    (r"prepare amazon", "needs files of Amazon; tests/data builds them from small ones"),
    (r"benchmark\.run .*--preset results/presets/tuned", "needs a tuned preset; see tests/tune"),
    (r"benchmark\.check sasrec", "takes long for a trained system; tests/systems does it"),
    (r"transitions", "is run with its file by tests/run/test_new_baseline.py"),
    (r"--preset paper", "needs published models; tests/systems/test_presets.py reads it"),
    (r"--run my-run", "needs scores of another program; tests/protocol evaluates some"),
    (r"--draws", "draws lists again and again; tests/audit does it on small data"),
)
"""What is not run, and why; the first pattern that is found in the words counts."""

SMALLER: tuple[tuple[str, str], ...] = (
    (r"(?<!\w)(~/|my-)?shop\.yaml", "shop.yaml"),
    (r"my-log\.yaml|\bml-100k\b", "generated"),
    (r"~/export|my-log/", "log"),
    (r"--history 50,181", "--history {items}"),
    (r'"?action 1990s"?', "{query}"),
    (r"\bRUN\b", "{run}"),
    (r"results/runs other/runs|\bA B\b", "results/runs results/runs"),
    (r"benchmark\.reproduce LINE", "benchmark.reproduce --list"),
)
"""What stands in a command, and what is put there instead."""


def reason_not_to_run(command: Command) -> str:
    """Why a command is not run; empty if it is."""
    text = shlex.join(command.words)
    return next((why for pattern, why in NOT_RUN if re.search(pattern, text)), "")


def as_it_is_run(command: Command, **values: str) -> list[str]:
    """The words after ``python -m MODULE``, on small data; ``values`` fill in what others made."""
    text = " ".join(shlex.quote(word) if " " in word else word for word in command.words)
    for pattern, instead in SMALLER:
        text = re.sub(pattern, instead, text)
    words = shlex.split(text.format(**values))[3:]
    if command.module == "benchmark.run" and not is_run_whole(command) and "--list" not in words:
        # The plan is made and everything that is named is looked up, but nothing is trained.
        words += ["--dataset", "generated", "--dry-run", "--preset", "smoke"]
    return words


def is_run_whole(command: Command) -> bool:
    """Whether systems are trained as the command says: that of the start page."""
    return command.file == "docs/index.md" and "generated" in command.words


def options_of(command: Command) -> list[str]:
    """The long options that a command is given."""
    return [word.partition("=")[0] for word in command.words[3:] if word.startswith("--")]
