"""What ``--list``, ``--describe`` and ``-h`` print, and how far a suite says that it is."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import Field
from rich.console import Console

from benchmark.run.__main__ import _parser, main
from benchmark.run.listing import meanings_of, settings_of
from benchmark.run.progress import Shown
from benchmark.systems.catalogue import entries, family_title
from benchmark.systems.contract import SystemConfig


def said_by(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(arguments) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


@pytest.mark.parametrize("columns", ["80", "200"])
def test_the_list_is_whole_at_any_width(capsys, monkeypatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    text = said_by(capsys, "--list")
    assert "…" not in text and all(len(line) <= int(columns) for line in text.split("\n"))
    words = " ".join(text.split())
    for row in entries().values():
        name = f"{row.name}:<Model>" if row.variants else row.name
        (line,) = (line for line in text.split("\n") if line.startswith(f"  {name} "))
        assert line.rstrip().endswith(", ".join(row.tasks))
        assert row.display_name.split()[0] in line and family_title(row.family) in words


def test_a_system_is_described_with_meaning_default_and_value(capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    given = ("--preset", "smoke", "--set", "sasrec.training.epochs=7")
    text = said_by(capsys, "--describe", "sasrec", *given)
    assert all(len(line) <= 80 for line in text.split("\n"))
    default = entries()["sasrec"].load().Config().training
    assert f"\ntraining.epochs = 7  (default {default.epochs})\n" in text
    assert "The most passes over the instances." in text  # from the source of the field
    assert "under preset smoke and --set" in text
    unchanged = re.search(r"\ntraining\.optimizer = (\w+)\n", text)
    assert unchanged is not None and unchanged[1] == default.optimizer


def test_every_system_can_be_described(capsys) -> None:
    for row in entries().values():
        if not row.variants:
            config = row.load().Config()
            keys = [setting.key for setting in settings_of(config, config)]
            assert len(keys) == len(set(keys)) >= len(type(config).model_fields) * bool(keys)
    assert "unknown system 'gensaar' (did you mean 'gensar'?)" in said_by(
        capsys, "--describe", "gensaar", code=2
    )


def test_meanings_come_from_the_class_that_has_the_field() -> None:
    class Base(SystemConfig):
        width: int = 1
        """How wide
        it is."""
        plain: int = 2

    class Further(Base):
        width: int = Field(default=3, ge=1)
        depth: int = 4
        """How deep."""

    assert meanings_of(Further) == {"width": "How wide it is.", "depth": "How deep."}


def test_every_option_names_its_default() -> None:
    for action in _parser()._actions:
        if action.nargs != 0:  # flags are off
            assert "default" in str(action.help), action.option_strings
    assert "(default: results)" in " ".join(_parser().format_help().split())


@pytest.mark.parametrize(
    ("assignment", "told"),
    [
        (
            "sasrec.training.epoch=3",
            "system 'sasrec': training.epoch: there is no such key (did you mean 'epochs'?). "
            "The keys of training are: epochs, batch_size,",
        ),
        (
            "sasrec.trainin=3",
            "system 'sasrec': trainin: there is no such key (did you mean 'training'?). "
            "Its keys are: ",
        ),
        (
            "protocol.split=8:1:1",
            "protocol 'paper': split: input should be 'leave-one-out' or 'global-time', "
            "not '8:1:1'.",
        ),
        ("protocol.splitt=x", "splitt: there is no such key (did you mean 'split'?). Its keys"),
    ],
)
def test_a_wrong_setting_is_told_by_its_nearest(capsys, tmp_path, assignment, told) -> None:
    given = ("--systems", "sasrec", "--preset", "smoke", "--dry-run", "--results", str(tmp_path))
    assert told in said_by(capsys, *given, "--set", assignment, code=2)


@pytest.fixture
def shown():
    made: list[Shown] = []

    def make(is_terminal: bool) -> tuple[Shown, Any]:
        clock = SimpleNamespace(now=1000.0)
        console = Console(file=io.StringIO(), width=80, force_terminal=is_terminal)
        made.append(Shown(console, 4, lambda job, run: None, clock=lambda: clock.now))
        return made[-1], clock

    return make


JOB: Any = SimpleNamespace(label="ml-100k, paper, gensar, seed 2024")
DONE: Any = SimpleNamespace(record=SimpleNamespace(status="finished", error=None))


def test_away_from_a_terminal_a_line_is_said_each_minute(shown) -> None:
    progress, clock = shown(False)
    for second in range(0, 200, 10):
        clock.now = 1000.0 + second
        progress.says(JOB, f"epoch {second}")
        if second == 100:
            progress.ended(JOB, DONE, 100.0)
    assert progress.console.file.getvalue().split("\n") == [
        f"0 of 4 jobs, 60 s gone, time left unknown; {JOB.label}: epoch 60",
        f"{JOB.label}: done in 100.0 s",
        f"1 of 4 jobs, 2 min gone, about 6 min left; {JOB.label}: epoch 120",
        f"1 of 4 jobs, 3 min gone, about 9 min left; {JOB.label}: epoch 180",
        "",
    ]


def test_a_silent_job_does_not_silence_the_suite(shown) -> None:
    progress, clock = shown(False)
    progress.says(JOB, "at work")
    clock.now += 61.0
    progress.looks_at_the_clock()
    assert f"61 s gone, time left unknown; {JOB.label}: at work" in progress.console.file.getvalue()


def test_on_a_terminal_the_line_of_a_job_is_folded(shown) -> None:
    progress, clock = shown(True)
    said = "epoch 3 of 20: loss 2.3451, validation NDCG@5 0.23451 and 0.21345"
    progress.ended(JOB, DONE, 30.0)
    clock.now += 30.0
    progress.says(JOB, said)
    console = Console(file=io.StringIO(), width=80)
    console.print(progress._progress.get_renderable())
    lines = console.file.getvalue().split("\n")
    assert all(len(line) <= 80 for line in lines) and "1/4" in lines[0]
    text = "".join("".join(lines).split())
    assert "about90sleft" in text or "about2minleft" in text
    tail = "".join(line[-40:] for line in lines)
    assert all(word in "".join(tail.split()) for word in said.split())
