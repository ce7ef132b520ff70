"""Downloads: the right bytes or nothing.

A file is written beside its place as ``.<name>.part`` and goes on from there after a cut, a kill or
a lost connection, if the server still has the same file. It gets its name only when its length and
its checksum are right; a gzip file is read to its end as well, since its own checksum finds damage
that the right length hides. Where no checksum is known, the one that was found is logged, so that
it can be put into the recipe; then nothing but the answer itself can show that it is whole, so it
must say how long it is, must not be a web page, and may not grow without limit. A server that sends
too little for too long is given up.
"""

from __future__ import annotations

import gzip
import http.client
import logging
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmark.errors import BenchmarkError, shortened
from benchmark.faults import MachineFault
from benchmark.files import read_json, sha256_of_file, write_json
from benchmark.locks import locked

_CHUNK = 1 << 18
_LOCAL = ("localhost", "127.0.0.1", "::1")

logger = logging.getLogger(__name__)


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


class _Lost(Exception):
    """The transfer stopped early; what is there stays, and it is tried again."""


class _Changed(Exception):
    """The server's file is not the one that the first part came from."""


def fetch(download: Download, target: Path, patience: Patience | None = None) -> Path:
    """Download to ``target``, unless it is there; two processes that want it fetch it once.

    Raises:
        BenchmarkError: the address is not https, the server cannot be reached or refuses, or what
            it sends, or what is there already, is not the file.
        MachineFault: the file cannot be written.
    """
    _refuse_unsafe(download.url)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(f".{target.name}.lock")):
            if target.is_file():
                _refuse_other_file(download, target)
            else:
                _fetch_locked(download, target, patience or Patience())
    except OSError as error:
        reason = error.strerror or error
        raise MachineFault(f"{target}: cannot be written ({reason}).") from error
    return target


def _refuse_unsafe(url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        _ = parts.hostname, parts.port
    except ValueError as error:
        raise BenchmarkError(f"{shortened(url)}: is no address ({error}).") from None
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL):
        raise BenchmarkError(f"{shortened(url)}: only https addresses are downloaded from.")


def _refuse_other_file(download: Download, target: Path) -> None:
    """What is there may have been cut or changed since, or put there by a hand.

    Raises:
        BenchmarkError: it is not the file.
    """
    found = target.stat().st_size
    if download.size is not None and found != download.size:
        what = f"has {found:,} bytes instead of {download.size:,}"
    elif download.sha256 is not None and sha256_of_file(target) != download.sha256:
        what = "has another checksum than the file that is known"
    else:
        return
    raise BenchmarkError(f"{target}: {what}; remove it, and it is downloaded again.")


def _fetch_locked(download: Download, target: Path, patience: Patience) -> None:
    part = target.with_name(f".{target.name}.part")
    left = patience.attempts
    while True:
        before = _length(part)
        try:
            _transfer(download, part, patience)
            break
        except _Changed:
            _forget(part)
            reason = "the server's file changes between requests"
        except _Lost as lost:
            reason = str(lost)
        # An attempt that brought something does not count against those that bring nothing.
        left = left - 1 if _length(part) <= before else patience.attempts
        if left == 0:
            raise _unreachable(download, reason)
        time.sleep(patience.pause)
    try:
        _check(download, part)
    except BenchmarkError:
        _forget(part)  # going on from wrong bytes cannot end well
        raise
    if download.sha256 is None:
        logger.info("%s: sha256 %s (not known before)", target.name, sha256_of_file(part))
    part.replace(target)
    _state_file(part).unlink(missing_ok=True)


def _length(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _state_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _state_file(part).unlink(missing_ok=True)


def _unreachable(download: Download, reason: str) -> BenchmarkError:
    return BenchmarkError(
        f"{download.url}: could not be downloaded ({reason}); try again, or fetch the file "
        "elsewhere and name its folder with --source."
    )


def _transfer(download: Download, part: Path, patience: Patience) -> None:
    """One request, which goes on at the end of ``part`` where that is possible."""
    validator = _validator_of(part, download.url)
    have = _length(part) if validator else 0
    headers = {"Accept-Encoding": "identity", "User-Agent": "gensar-benchmark"}
    if have and validator:
        headers |= {"Range": f"bytes={have}-", "If-Range": validator}
    request = urllib.request.Request(download.url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=patience.silence) as response:
            _refuse_unsafe(response.url)  # a redirect may lead anywhere
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
                _forget(part)
                found = response.headers.get("ETag") or response.headers.get("Last-Modified")
                if found and not found.startswith("W/"):
                    write_json(_state_file(part), {"url": download.url, "validator": found})
            with part.open("ab") as opened:
                _copy(response, opened, start, total, patience, download)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            raise _Changed from None
        if error.code in (408, 425, 429) or error.code >= 500:
            raise _Lost(f"HTTP {error.code}") from None
        reason = " ".join(f"HTTP {error.code} {error.reason}".split())
        remedy = download.advice or "fetch the file elsewhere and name its folder with --source."
        raise BenchmarkError(f"{download.url}: the server refuses ({reason}); {remedy}") from None
    except http.client.InvalidURL as error:
        raise BenchmarkError(f"{shortened(download.url)}: is no address.") from error
    except UnicodeError as error:  # a name that no domain can have
        raise BenchmarkError(f"{shortened(download.url)}: is no address.") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as e:
        raise _Lost(str(getattr(e, "reason", "") or e) or type(e).__name__) from None


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
    if _is_gzip(download) or download.sha256 is not None:
        return  # what is sent is checked to its end
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().casefold()
    if kind in ("text/html", "application/xhtml+xml"):
        raise _is_a_page(download)
    is_chunked = response.headers.get("Transfer-Encoding", "").casefold() == "chunked"
    if total is None and download.size is None and not is_chunked:
        raise BenchmarkError(
            f"{download.url}: the server does not say how long the file is, and no checksum is "
            "known, so a cut could not be noticed; fetch the file elsewhere and name its folder "
            "with --source."
        )


def _is_gzip(download: Download) -> bool:
    return urllib.parse.urlsplit(download.url).path.endswith(".gz")


def _is_a_page(download: Download) -> BenchmarkError:
    return BenchmarkError(
        f"{download.url}: the server sends a web page instead of the file; fetch the file "
        "elsewhere and name its folder with --source."
    )


def _validator_of(part: Path, url: str) -> str | None:
    """What names the server's version of the file that ``part`` is the beginning of."""
    if not part.is_file() or not _state_file(part).is_file():
        return None
    try:
        state = read_json(_state_file(part))
    except BenchmarkError:
        return None
    same = isinstance(state, dict) and state.get("url") == url
    return str(state["validator"]) if same and state.get("validator") else None


def _extent(response: Any, have: int) -> tuple[int, int | None]:
    """Where the answer begins in the file, and the length of the whole, if the server says so."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise _Lost("the server sends another encoding than was asked for")
    if response.status == 206:
        found = re.fullmatch(
            r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip()
        )
        if not found or int(found[1]) != have:
            raise _Changed
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
                    raise _Lost(f"only {have - window_bytes:,} bytes in {patience.window:.0f} s")
                window_start, window_bytes = now, have
    if total is not None and have != total:
        raise _Lost(f"the connection ended after {have:,} of {total:,} bytes")


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


def _check(download: Download, part: Path) -> None:
    """Whether the bytes are the file's.

    Raises:
        BenchmarkError: they are not.
    """
    if download.size is not None and _length(part) != download.size:
        raise BenchmarkError(
            f"{download.url}: sent {_length(part):,} bytes instead of {download.size:,}."
        )
    if download.sha256 is not None:
        found = sha256_of_file(part)
        if found != download.sha256:
            raise BenchmarkError(
                f"{download.url}: what was sent has the checksum {found}, not {download.sha256}."
            )
    if download.sha256 is None and not _is_gzip(download):
        with part.open("rb") as opened:
            beginning = opened.read(1 << 10).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
        if beginning.startswith((b"<!doctype html", b"<html")):
            raise _is_a_page(download)
    if _is_gzip(download):
        try:
            with gzip.open(part, "rb") as opened:
                while opened.read(1 << 20):
                    pass
        except (OSError, EOFError, zlib.error) as error:
            raise BenchmarkError(
                f"{download.url}: what was sent is no whole gzip file ({error})."
            ) from None
