"""Downloads: the right bytes or nothing.

A file is written beside its place as ``.<name>.part`` and goes on from there after a cut, a kill or
a lost connection, if the server still has the same file (:mod:`benchmark.data.transfer`). It gets
its name only when its length and its checksum are right; a gzip file is read to its end as well,
since its own checksum finds damage that the right length hides. Where no checksum is known, the one
that was found is logged, so that it can be put into the recipe. A server that sends too little for
too long is given up.
"""

from __future__ import annotations

import gzip
import logging
import time
import zlib
from pathlib import Path

from benchmark.data.transfer import (
    Changed,
    Download,
    Lost,
    Patience,
    forget,
    is_gzip,
    length_of,
    page_instead_of,
    refuse_unsafe,
    state_file,
    transfer,
)
from benchmark.errors import BenchmarkError
from benchmark.faults import MachineFault
from benchmark.files import sha256_of_file
from benchmark.locks import locked

logger = logging.getLogger(__name__)


def fetch(download: Download, target: Path, patience: Patience | None = None) -> Path:
    """Download to ``target``, unless it is there; two processes that want it fetch it once.

    Raises:
        BenchmarkError: the address is not https, the server cannot be reached or refuses, or what
            it sends, or what is there already, is not the file.
        MachineFault: the file cannot be written.
    """
    refuse_unsafe(download.url)
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
        before = length_of(part)
        try:
            transfer(download, part, patience)
            break
        except Changed:
            forget(part)
            reason = "the server's file changes between requests"
        except Lost as lost:
            reason = str(lost)
        # An attempt that brought something does not count against those that bring nothing.
        left = left - 1 if length_of(part) <= before else patience.attempts
        if left == 0:
            raise _unreachable(download, reason)
        time.sleep(patience.pause)
    try:
        _check(download, part)
    except BenchmarkError:
        forget(part)  # going on from wrong bytes cannot end well
        raise
    if download.sha256 is None:
        logger.info("%s: sha256 %s (not known before)", target.name, sha256_of_file(part))
    part.replace(target)
    state_file(part).unlink(missing_ok=True)


def _unreachable(download: Download, reason: str) -> BenchmarkError:
    return BenchmarkError(
        f"{download.url}: could not be downloaded ({reason}); try again, or fetch the file "
        "elsewhere and name its folder with --source."
    )


def _check(download: Download, part: Path) -> None:
    """Whether the bytes are the file's.

    Raises:
        BenchmarkError: they are not.
    """
    if download.size is not None and length_of(part) != download.size:
        raise BenchmarkError(
            f"{download.url}: sent {length_of(part):,} bytes instead of {download.size:,}."
        )
    if download.sha256 is not None:
        found = sha256_of_file(part)
        if found != download.sha256:
            raise BenchmarkError(
                f"{download.url}: what was sent has the checksum {found}, not {download.sha256}."
            )
    if download.sha256 is None and not is_gzip(download):
        with part.open("rb") as opened:
            beginning = opened.read(1 << 10).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
        if beginning.startswith((b"<!doctype html", b"<html")):
            raise page_instead_of(download)
    if is_gzip(download):
        try:
            with gzip.open(part, "rb") as opened:
                while opened.read(1 << 20):
                    pass
        except (OSError, EOFError, zlib.error) as error:
            raise BenchmarkError(
                f"{download.url}: what was sent is no whole gzip file ({error})."
            ) from None
