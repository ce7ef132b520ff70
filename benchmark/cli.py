"""What all commands share: a console, and one sentence and an exit code instead of a traceback."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import (
    EXIT_BAD_INPUT,
    EXIT_INTERRUPTED,
    BenchmarkError,
    quoted,
    shortened,
)

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
    _open_closed_streams()
    print_what_the_terminal_can()
    try:
        _refuse_names_without_encoding()
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


def _open_closed_streams() -> None:
    """Streams that were closed before the command began lead nowhere, here and in its workers.

    Else the next file that is opened would have the number of standard output.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode))


def _refuse_names_without_encoding() -> None:
    """Python and the libraries that read and write for it name such files by different bytes.

    Raises:
        BenchmarkError: the locale is not UTF-8, and a path may need more than ASCII; or a path's
            bytes are no UTF-8.
    """
    given = (*sys.argv[1:], str(Path.cwd()))
    for text in given:
        try:
            os.fsencode(text).decode("utf-8")
        except UnicodeError:
            raise BenchmarkError(f"{quoted(text)}: is not UTF-8, as all names must be.") from None
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8" and not all(map(str.isascii, given)):
        raise BenchmarkError(
            f"the locale's encoding is {encoding}, which has no place for the names that are given "
            "here; set PYTHONUTF8=1 or a UTF-8 locale."
        )


def _said(sentence: str, code: int) -> int:
    # A path is named whole wherever it can be one that somebody typed.
    bounded = re.sub(r"\S{300,}", lambda word: f"{word[0][:100]}…{word[0][-100:]}", sentence)
    with suppress(OSError):
        print(bounded, file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:
        # Python would try once more at exit, and complain.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code
