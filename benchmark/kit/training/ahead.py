"""Building things ahead in a thread, in their order."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Generic, TypeVar

T = TypeVar("T")

_LOOKS_EVERY = 0.1  # seconds after which a waiting thread looks whether it is still wanted


class _End:
    """After the last one; ``error`` is what ended it early."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def built_ahead(source: Iterable[T], number: int) -> Generator[T, None, None]:
    """What ``source`` yields, built by a thread that is at most ``number`` + 1 ahead.

    The thread is gone when the generator has ended or is closed. An exception of ``source`` is
    raised in the place of what it should have yielded. With ``number`` 0 there is no thread.
    """
    if number == 0:
        yield from source
        return
    builder = _Builder(source, number)
    try:
        builder.start()
        while True:
            built = builder.ready.get()
            if isinstance(built, _End):
                if built.error is not None:
                    raise built.error
                return
            yield built
    finally:
        builder.stop()


class _Builder(Generic[T]):
    def __init__(self, source: Iterable[T], number: int) -> None:
        self.source = source
        self.ready: Queue[T | _End] = Queue(maxsize=number)
        self.is_over = Event()
        self.thread = Thread(target=self._build, name="builds-ahead", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.is_over.set()
        while self.thread.is_alive():
            try:
                self.ready.get_nowait()
            except Empty:
                self.thread.join(_LOOKS_EVERY)

    def _build(self) -> None:
        try:
            for built in self.source:
                if not self._hand_over(built):
                    return
            self._hand_over(_End())
        except BaseException as error:  # whatever it is, it belongs to who asked for the batches
            self._hand_over(_End(error))

    def _hand_over(self, built: T | _End) -> bool:
        while not self.is_over.is_set():
            try:
                self.ready.put(built, timeout=_LOOKS_EVERY)
            except Full:
                continue
            return True
        return False
