"""Runs commands one after another, each in a fork of an interpreter that has loaded the libraries.

``python -m tests.docs.run_commands FILE``: the file has ``[[module, [word, ...]], ...]`` as JSON;
printed is ``[[exit code, output], ...]``.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path

from benchmark.__main__ import COMMANDS, module_of


def main(file: str) -> None:
    """Run them and print what came of each."""
    jobs = json.loads(Path(file).read_text(encoding="utf-8"))
    for module in {module for module, _ in jobs}:
        import_module(_entry(module))
    print(json.dumps([run(module, words) for module, words in jobs]))


def run(module: str, words: list[str]) -> tuple[int, str]:
    """The exit code and what was printed, by a child of this process."""
    with tempfile.TemporaryFile("w+") as kept:
        child = os.fork()
        if not child:
            printed, code = io.StringIO(), 70
            try:
                with redirect_stdout(printed), redirect_stderr(printed):
                    code = import_module(_entry(module)).main(words)
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 1
            finally:
                kept.write(printed.getvalue())
                kept.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        kept.seek(0)
        return os.waitstatus_to_exitcode(status), kept.read()


def _entry(module: str) -> str:
    name = module.partition(".")[2]
    return module_of(name) if name in COMMANDS else f"{module}.__main__"


if __name__ == "__main__":
    main(sys.argv[1])
