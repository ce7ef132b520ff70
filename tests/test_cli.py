"""What all commands make of errors that reach them."""

from __future__ import annotations

import pytest

from benchmark.cli import guarded
from benchmark.errors import EXIT_BAD_INPUT


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory"),
        (MemoryError(), "not enough memory"),
        (OSError(28, "No space left on device", "/there"), "/there: the machine refuses (No space"),
    ],
)
def test_what_the_machine_lacks_is_one_sentence(
    error: Exception, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> int:
        raise error

    assert guarded(command) == EXIT_BAD_INPUT
    said = capsys.readouterr().err
    assert said.startswith("error: ") and reason in said and said.count("\n") == 1


def test_a_fault_of_the_code_is_shown_as_one() -> None:
    def command() -> int:
        raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        guarded(command)
