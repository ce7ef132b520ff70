"""Why a job has no result: the sentence of its record, and whether the machine was at fault."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import BenchmarkError, SystemFailure, text_of
from benchmark.faults import MachineFault, machine_cause
from benchmark.files import write_bytes

_LONGEST_ERROR = 500  # characters of a record's sentence


@dataclass(frozen=True)
class Failure:
    """Why a job has no result; ``retryable`` if it was the machine's fault."""

    sentence: str
    retryable: bool = False


def failure_of(error: BaseException, work: Path) -> Failure:
    """What is recorded of ``error``, which came out of a system that works in ``work``.

    Raises:
        MachineFault: the results cannot be written, so that nothing can be recorded.
    """
    cause = machine_cause(error)
    if cause is not None and cause.is_full:
        raise MachineFault(f"{work}: cannot be written ({cause.reason}).") from error
    probe = work / "probe"
    write_bytes(probe, bytes(1 << 12))
    probe.unlink(missing_ok=True)
    name = "" if isinstance(error, (SystemFailure, BenchmarkError)) else f"{type(error).__name__}: "
    if isinstance(error, SystemExit):
        sentence = f"it called sys.exit({error.code!r})."
    elif cause is not None:
        sentence = f"{cause.reason} ({name}{text_of(error)})"
    else:
        sentence = f"{name}{text_of(error)}"
    # Half a character has no bytes and could not be stored.
    whole = sentence[: 4 * _LONGEST_ERROR].encode("utf-8", "replace").decode("utf-8")
    shown = whole if isinstance(error, SystemFailure) else " ".join(whole.split())[:_LONGEST_ERROR]
    return Failure(shown, retryable=cause is not None)
