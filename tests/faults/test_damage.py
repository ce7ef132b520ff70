"""Every stored file flipped, cut, emptied at its end, or put in place of another run's."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from benchmark.jobs.record import read_run
from benchmark.report.reading.collect import collect
from tests.faults.conftest import Truth
from tests.faults.interposed import Calls
from tests.faults.suite import SmallSuite, done, folder_in_memory, goes_on, report

KILLED = 9
DAMAGES = ("flipped", "cut", "zeroed", "swapped")


def damage(path: Path, kind: str, others: list[Path], chance: random.Random) -> bool:
    """Whether the file is another one now."""
    whole = path.read_bytes()
    content = bytearray(whole)
    if kind == "swapped":
        alike = [one for one in others if one.suffix == path.suffix and one != path]
        content = bytearray(chance.choice(alike).read_bytes()) if alike else content
    elif content:
        place = chance.randrange(len(content))
        if kind == "flipped":
            content[place] ^= 1 << chance.randrange(8)
        elif kind == "cut":
            del content[place:]
        else:
            content[place:] = bytes(len(content) - place)
    if bytes(content) == whole:
        return False
    path.write_bytes(content)
    return True


def stored_files(root: Path) -> list[Path]:
    """Everything that a later command may read."""
    return [
        path
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".lock" and path.name not in ("tiny.yaml", "log.txt")
    ]


@pytest.fixture(scope="module")
def stored(truth: Truth):
    """A folder with finished runs, and one with a suite that was killed while it scored."""
    with folder_in_memory() as place:
        whole, half = SmallSuite(place / "whole"), SmallSuite(place / "half")
        for suite in (whole, half):
            suite.prepare()
        assert done(whole.run, place / "errors") == 0

        def run_until_it_publishes() -> None:
            def die(now: int, name: str) -> None:
                if list(half.results.glob("work/*/ranks/*.npz")) and now % 2:
                    in_training = list(half.results.glob("work/*/checkpoint/*/step-*"))
                    if in_training or len(list(half.results.glob("work/*/system"))):
                        os.kill(os.getpid(), KILLED)

            Calls(half.root, die).install()
            half.run()

        assert done(run_until_it_publishes, place / "errors") == -KILLED
        yield {"whole": whole.root, "half": half.root}


@pytest.mark.parametrize("faults", [24, pytest.param(1_500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("state", ["whole", "half"])
def test_no_damaged_file_is_believed(
    state: str, faults: int, stored: dict[str, Path], truth: Truth
) -> None:
    chance = random.Random(f"{state} {faults}")
    counts: Counter[str] = Counter()
    names: Counter[str] = Counter()
    with folder_in_memory() as place:
        errors = place / "errors"
        for number in range(faults):
            suite = SmallSuite(place / "suite")
            shutil.copytree(stored[state], suite.root)
            files = stored_files(suite.root)
            # Kind by kind, since most files are small ones of the prepared data.
            kinds = sorted({path.name for path in files})
            name = kinds[number % len(kinds)]
            path = chance.choice([one for one in files if one.name == name])
            kind = chance.choice(DAMAGES)
            if damage(path, kind, files, chance):
                counts[kind] += 1
                names[path.name] += 1
                folders = {one.parent for one in files if one.name == "run.json"}
                collection = collect(suite.results / "runs")  # never a traceback
                read = {run.folder for group in collection.groups for run in group.runs}
                if path.parent in folders and state == "whole":
                    assert path.parent not in read
                    assert any(str(path.parent) in one for one in collection.sentences)
                assert all(read_run(folder).record.status == "finished" for folder in read)
                goes_on(suite, truth, errors)
            shutil.rmtree(suite.root)
    report({"damaged files": counts.total(), **counts, "kinds of files": len(names), "wrong": 0})
    assert counts.total() >= 0.7 * faults
