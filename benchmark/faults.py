"""Which errors are the machine's and not a system's: a full disk, no memory, no permission.

What a machine does to a system must never be kept as the system's failure. Python says so by
``OSError`` and ``MemoryError``; libraries written in C++ and Rust (torch, safetensors, tokenizers)
say so in the text of exceptions of other types, which are therefore read as well.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from benchmark.errors import BenchmarkError, shortened, text_of

_OF_STORAGE = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EIO,
        errno.EROFS,
        errno.EFBIG,
        errno.ESTALE,
    }
)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_OF_THE_MACHINE = _OF_STORAGE | {
    errno.EACCES,
    errno.EPERM,
    errno.ENOMEM,
    errno.EMFILE,
    errno.ENFILE,
    errno.EAGAIN,
    errno.ENODEV,
    errno.ENXIO,
    errno.EPIPE,
}
# As Rust writes them, for people and for developers, and as Arrow does.
_CODE = re.compile(r"\(os error (\d+)\)|\bOs \{ code: (\d+), kind: |\berrno (\d+)")
_TEXTS = {
    re.compile(re.escape(os.strerror(number)), re.IGNORECASE): number for number in _OF_THE_MACHINE
}
# torch's own writer names no cause, and a write cut short has none.
_CUT_WRITE = re.compile(
    r"PytorchStreamWriter|inline_container\.cc.{0,40}unexpected pos|file write failed|iostream"
    r"|\d+ requested and \d+ written|database or disk is full|disk I/O error",
)
_OUT_OF_MEMORY = "out of memory"
_NO_MEMORY = re.compile(
    r"can't allocate memory|cannot allocate memory|bad_alloc|not enough memory|out of memory"
    r"|unable to allocate|malloc of size|\boom\b|failed to map segment from shared object",
    re.IGNORECASE,
)


class MachineFault(BenchmarkError):
    """The machine stopped the work: what is finished is kept, and the same command goes on."""


@dataclass(frozen=True)
class MachineCause:
    """What the machine lacks; ``stops`` all jobs if they write to the same place.

    ``is_full`` says that the place is: a little may fit, where what was written went again.
    """

    reason: str
    stops: bool
    is_full: bool = False


def machine_cause(error: BaseException) -> MachineCause | None:
    """What of the machine is behind ``error``; None where it is the fault of the code."""
    for one in _chain(error):
        cause = _cause_of(one)
        if cause is not None:
            return cause
    return None


def lacks_memory(error: BaseException) -> bool:
    """Whether ``error`` comes of memory that could not be had, of a machine or an accelerator."""
    cause = machine_cause(error)
    return cause is not None and cause.reason == _OUT_OF_MEMORY


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it was raised from or while handling."""
    one: BaseException | None = error
    seen: set[int] = set()
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def _cause_of(error: BaseException) -> MachineCause | None:
    if isinstance(error, MachineFault):
        return MachineCause(str(error), stops=True, is_full=True)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return MachineCause(_OUT_OF_MEMORY, stops=False)
    text = text_of(error)[:10_000]
    if isinstance(error, OSError):
        number = error.errno or _number_in(text)
        if number is not None:
            place = f"{error.filename}: " if error.filename else ""
            return _of_number(number, place)
        return _cut(text) if _CUT_WRITE.search(text) else None
    if not isinstance(error, Exception):
        return None
    number = _number_in(text)
    if number is not None:
        return _of_number(number, "")
    if _CUT_WRITE.search(text):
        return _cut(text)
    return MachineCause(_OUT_OF_MEMORY, stops=False) if _NO_MEMORY.search(text) else None


def _cut(text: str) -> MachineCause:
    reason = f"a file could not be written: {shortened(text)}"
    return MachineCause(reason, stops=True, is_full=True)


def _of_number(number: int, place: str) -> MachineCause | None:
    if number not in _OF_THE_MACHINE:
        return None
    reason = _OUT_OF_MEMORY if number == errno.ENOMEM else os.strerror(number)
    return MachineCause(f"{place}{reason}", number in _OF_STORAGE, number in _FULL)


def _number_in(text: str) -> int | None:
    """The error number that a text names, as Rust and Arrow do, or by the C library's words."""
    for found in _CODE.finditer(text):
        number = int(found[found.lastindex or 0])
        if number in _OF_THE_MACHINE:
            return number
    return next((number for words, number in _TEXTS.items() if words.search(text)), None)
