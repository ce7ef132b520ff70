"""Fuzzing that is guided by the branches which an input takes: ``python -m tests.faults.guided``.

``python -m tests.faults.guided --runs 20000 YAML JSON`` changes the files of the named readers
(default: all) until so many inputs were read, by atheris, which has to be installed. Where
``test_fuzz`` changes at random, this keeps the changes that reach new code. An input ends in a
value or in one sentence; anything else stops it, is shown, and gives an exit code other than 0.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console


def fuzz(name: str, runs: int) -> None:
    """Change the files of one reader; ends the process, as atheris does.

    The code that it reads with must not be loaded yet: it is instrumented as it is.
    """
    import atheris

    with atheris.instrument_imports(include=["benchmark", "yaml", "json", "csv"]):
        from tests.faults.readers import READERS
        from tests.faults.suite import report
        from tests.faults.test_fuzz import judged

    reader = next(reader for reader in READERS if reader.name == name)
    sound = reader.sound()
    files, counts = sorted(sound), Counter[str]()

    def one(data: bytes) -> None:
        """The first byte says which file the others are."""
        which = files[data[0] % len(files)] if data else files[0]
        counts[judged(reader, {**sound, which: data[1:]})] += 1
        if counts.total() == runs:
            report({"guided cases": counts.total(), **counts, "tracebacks": 0})

    with tempfile.TemporaryDirectory() as corpus:
        for number, file in enumerate(files):
            Path(corpus, str(number)).write_bytes(bytes([number]) + sound[file])
        options = [f"-runs={runs}", "-seed=1", "-max_len=8192", "-timeout=60", "-verbosity=0"]
        atheris.Setup(["guided", *options, corpus], one)
        atheris.Fuzz()


def main() -> int:
    """Fuzz the named readers, each in a process of its own; returns the exit code."""
    from tests.faults.readers import READERS

    names = [reader.name for reader in READERS]
    parser = argparse.ArgumentParser(prog="python -m tests.faults.guided")
    parser.add_argument("readers", nargs="*", metavar="READER", help=f"of {', '.join(names)}")
    parser.add_argument("--runs", type=int, default=5_000, help="inputs of each (default 5000)")
    arguments = parser.parse_args()
    unknown = set(arguments.readers) - set(names)
    if unknown:
        parser.error(f"no reader is called {', '.join(sorted(unknown))}")
    failed = []
    for name in arguments.readers or names:
        Console().print(name)
        call = f"from tests.faults.guided import fuzz; fuzz({name!r}, {arguments.runs})"
        if subprocess.run([sys.executable, "-c", call], check=False).returncode:
            failed.append(name)
    if failed:
        Console().print(f"Not borne: {', '.join(failed)}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
