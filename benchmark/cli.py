"""What all commands share: a console, and one sentence and an exit code instead of a traceback."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from benchmark.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED, BenchmarkError, shortened

if TYPE_CHECKING:
    from rich.console import Console


def console(*, on_stderr: bool = False) -> Console:
    """The console of a command, which prints what it is given.

    Names, paths and the texts of errors come from outside: a bracket in one of them is no markup.
    """
    from rich.console import Console

    return Console(stderr=on_stderr, markup=False, emoji=False, highlight=False)


def print_what_the_terminal_can() -> None:
    """Print a question mark for a character that the locale's encoding lacks, and no traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # standard error escapes such characters itself
        sys.stdout.reconfigure(errors="replace")


def guarded(command: Callable[[], int]) -> int:
    """Run ``command`` and return its exit code; bad input gives 2, Ctrl-C 130.

    What the machine refuses (no memory, a full disk, also under standard output) gives 2 as well.
    """
    print_what_the_terminal_can()
    try:
        code = command()
        sys.stdout.flush()  # where it cannot be written, that is said here and not at exit
        return code
    except BenchmarkError as error:
        return _said(f"error: {error}", EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        return _said(
            "interrupted: what is finished is kept; the same command goes on from there.",
            EXIT_INTERRUPTED,
        )
    except BrokenPipeError:
        # The reader of a pipe (such as head) has seen enough; Python would complain at exit.
        sys.stderr.close()
        return 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or shortened(str(error))
        return _said(f"error: {place}the machine refuses ({reason}).", EXIT_BAD_INPUT)
    except MemoryError:
        return _said("error: the machine has not enough memory for this.", EXIT_BAD_INPUT)


def _said(sentence: str, code: int) -> int:
    with suppress(OSError):
        print(sentence, file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:
        # Python would try once more at exit, and complain.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code
