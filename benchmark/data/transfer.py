"""One request for a file, which goes on at the end of what is there where that is possible.

Where no checksum is known, nothing but the answer itself can show that it is whole, so it must say
how long it is, must not be a web page, and may not grow without limit.
"""

from __future__ import annotations

import http.client
import logging
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmark.errors import BenchmarkError, shortened
from benchmark.files import read_json, write_json

logger = logging.getLogger(__name__)

_CHUNK = 1 << 18
_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Download:
    """A file to fetch. ``size`` in bytes and ``sha256`` are checked where they are known.

    ``advice`` ends the sentence of a file that the server does not have. ``limit`` is the most
    bytes that are taken where ``size`` is not known.
    """

    url: str
    size: int | None = None
    sha256: str | None = None
    advice: str = ""
    limit: int = 64 << 30

    @property
    def most_bytes(self) -> int:
        """No more than so many can be the file's."""
        return self.limit if self.size is None else self.size


@dataclass(frozen=True)
class Patience:
    """When to give up, in seconds and bytes."""

    silence: float = 30.0
    """So long without a byte ends an attempt."""

    window: float = 60.0
    minimum_bytes: int = 60 * 1024
    """Fewer bytes within a window end an attempt."""

    attempts: int = 4
    """Attempts in a row that bring nothing."""

    pause: float = 1.0
    """Between attempts."""


class Lost(Exception):
    """The transfer stopped early; what is there stays, and it is tried again."""


class Changed(Exception):
    """The server's file is not the one that the first part came from."""


def refuse_unsafe(url: str) -> None:
    """Take https alone, but for this machine.

    Raises:
        BenchmarkError: it is another address, or none.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        _ = parts.hostname, parts.port
    except ValueError as error:
        raise BenchmarkError(f"{shortened(url)}: is no address ({error}).") from None
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL):
        raise BenchmarkError(f"{shortened(url)}: only https addresses are downloaded from.")


def length_of(part: Path) -> int:
    """Bytes that are there; 0 without the file."""
    return part.stat().st_size if part.is_file() else 0


def state_file(part: Path) -> Path:
    """Where it stands of which version of the server's file ``part`` is the beginning."""
    return part.with_name(f"{part.name}.json")


def forget(part: Path) -> None:
    """Remove what came so far."""
    part.unlink(missing_ok=True)
    state_file(part).unlink(missing_ok=True)


def transfer(download: Download, part: Path, patience: Patience) -> None:
    """One request, which goes on at the end of ``part`` where that is possible.

    Raises:
        BenchmarkError: the server refuses, or what it sends is not the file.
        Lost: it is worth another try.
        Changed: what is there is of another version.
    """
    validator = _validator_of(part, download.url)
    have = length_of(part) if validator else 0
    headers = {"Accept-Encoding": "identity", "User-Agent": "gensar-benchmark"}
    if have and validator:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    request = urllib.request.Request(download.url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=patience.silence) as response:
            refuse_unsafe(response.url)  # a redirect may lead anywhere
            start, total = _extent(response, have)
            if download.size is not None and total is not None and total != download.size:
                raise BenchmarkError(
                    f"{download.url}: the server's file has {total:,} bytes instead of "
                    f"{download.size:,}."
                )
            if (total or 0) > download.most_bytes:
                raise _too_long(download)
            _refuse_unfit(download, response, total)
            if start == 0:
                forget(part)
                found = response.headers.get("ETag") or response.headers.get("Last-Modified")
                if found and not found.startswith("W/"):
                    write_json(state_file(part), {"url": download.url, "validator": found})
            with part.open("ab") as opened:
                _copy(response, opened, start, total, patience, download)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            raise Changed from None
        if error.code in (408, 425, 429) or error.code >= 500:
            raise Lost(f"HTTP {error.code}") from None
        reason = " ".join(f"HTTP {error.code} {error.reason}".split())
        remedy = download.advice or "fetch the file elsewhere and name its folder with --source."
        raise BenchmarkError(f"{download.url}: the server refuses ({reason}); {remedy}") from None
    except http.client.InvalidURL as error:
        raise BenchmarkError(f"{shortened(download.url)}: is no address.") from error
    except UnicodeError as error:  # a name that no domain can have
        raise BenchmarkError(f"{shortened(download.url)}: is no address.") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as e:
        raise Lost(str(getattr(e, "reason", "") or e) or type(e).__name__) from None


def _too_long(download: Download) -> BenchmarkError:
    return BenchmarkError(
        f"{download.url}: the server sends more than {download.most_bytes:,} bytes, so it is not "
        "the file."
    )


def _refuse_unfit(download: Download, response: Any, total: int | None) -> None:
    """An answer in which a page or a cut would not be noticed.

    Raises:
        BenchmarkError: the answer is one.
    """
    if is_gzip(download) or download.sha256 is not None:
        return  # what is sent is checked to its end
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().casefold()
    if kind in ("text/html", "application/xhtml+xml"):
        raise page_instead_of(download)
    is_chunked = response.headers.get("Transfer-Encoding", "").casefold() == "chunked"
    if total is None and download.size is None and not is_chunked:
        raise BenchmarkError(
            f"{download.url}: the server does not say how long the file is, and no checksum is "
            "known, so a cut could not be noticed; fetch the file elsewhere and name its folder "
            "with --source."
        )


def is_gzip(download: Download) -> bool:
    """Whether the file has a checksum of its own."""
    return urllib.parse.urlsplit(download.url).path.endswith(".gz")


def page_instead_of(download: Download) -> BenchmarkError:
    """The sentence for a web page in the place of the file."""
    return BenchmarkError(
        f"{download.url}: the server sends a web page instead of the file; fetch the file "
        "elsewhere and name its folder with --source."
    )


def _validator_of(part: Path, url: str) -> str | None:
    """What names the server's version of the file that ``part`` is the beginning of."""
    if not part.is_file() or not state_file(part).is_file():
        return None
    try:
        state = read_json(state_file(part))
    except BenchmarkError:
        return None
    same = isinstance(state, dict) and state.get("url") == url
    return str(state["validator"]) if same and state.get("validator") else None


def _extent(response: Any, have: int) -> tuple[int, int | None]:
    """Where the answer begins in the file, and the length of the whole, if the server says so."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise Lost("the server sends another encoding than was asked for")
    if response.status == 206:
        found = re.fullmatch(
            r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip()
        )
        if not found or int(found[1]) != have:
            raise Changed
        return have, None if found[2] == "*" else int(found[2])
    length = response.headers.get("Content-Length")
    return 0, int(length) if length and length.isdigit() else None


def _copy(
    response: Any,
    opened: IO[bytes],
    start: int,
    total: int | None,
    patience: Patience,
    download: Download,
) -> None:
    have, window_start, window_bytes = start, time.monotonic(), start
    with _progress(download.url.rpartition("/")[2], total) as report:
        while chunk := response.read1(_CHUNK):
            have += len(chunk)
            if have > download.most_bytes:
                raise _too_long(download)
            opened.write(chunk)
            report(have)
            now = time.monotonic()
            if now - window_start >= patience.window:
                if have - window_bytes < patience.minimum_bytes:
                    raise Lost(f"only {have - window_bytes:,} bytes in {patience.window:.0f} s")
                window_start, window_bytes = now, have
    if total is not None and have != total:
        raise Lost(f"the connection ended after {have:,} of {total:,} bytes")


@contextmanager
def _progress(name: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar where somebody looks, else a line for every tenth."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

        columns = (*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(name, total=total)
            yield lambda have: bar.update(task, completed=have)
        return
    said = 0

    def say(have: int) -> None:
        nonlocal said
        if total and have * 10 // total > said:
            said = have * 10 // total
            logger.info("%s: %d%% of %.1f MB", name, said * 10, total / 1e6)

    yield say
