"""What all commands share: one sentence on stderr and an exit code instead of a traceback."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

from benchmark.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED, BenchmarkError


def print_what_the_terminal_can() -> None:
    """Print a question mark for a character that the locale's encoding lacks, and no traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # standard error escapes such characters itself
        sys.stdout.reconfigure(errors="replace")


def guarded(command: Callable[[], int]) -> int:
    """Run ``command`` and return its exit code; bad input gives 2, Ctrl-C 130."""
    print_what_the_terminal_can()
    try:
        return command()
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print(
            "interrupted: what is finished is kept; the same command goes on from there.",
            file=sys.stderr,
        )
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe (such as head) has seen enough; Python would complain at exit.
        sys.stderr.close()
        return 0
