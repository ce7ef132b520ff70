"""What all commands share: one sentence on stderr and an exit code instead of a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmark.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED, BenchmarkError


def guarded(command: Callable[[], int]) -> int:
    """Run ``command`` and return its exit code; bad input gives 2, Ctrl-C 130."""
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
