"""Readers of everything, on sound files that were changed: a value or a sentence, nothing else."""

from __future__ import annotations

import shutil
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.errors import BenchmarkError
from tests.faults.readers import READERS, Reader
from tests.faults.suite import folder_in_memory, report

PIECES = [
    b"NaN", b"Infinity", b"1e999", b"-1", b"99999999999999999999", b"null", b"[]", b"{}", b'"',
    b"\xff\xfe", b"\xef\xbb\xbf", b"\\ud800", b"\x00", b"!!int ''", b"&a", b"*a", b"[/x]", b"\n",
    b",", b":", b"'", b"\r", b"\xe2\x80\xae", b"[" * 3000, b"x" * 3000, b"0" * 400, b".5", b"true",
]  # fmt: skip


@st.composite
def edits(draw: st.DrawFn) -> list[tuple[str, float, float, bytes]]:
    """Places as shares of a file's length, so that they mean something in every file."""
    share = st.floats(0, 1, exclude_max=True)
    kind = st.sampled_from(["flip", "put", "over", "cut", "drop", "double", "swap"])
    piece = st.sampled_from(PIECES) | st.binary(max_size=4)
    return draw(st.lists(st.tuples(kind, share, share, piece), min_size=0, max_size=4))


def changed(content: bytes, of: list[tuple[str, float, float, bytes]]) -> bytes:
    for kind, first, second, piece in of:
        data = bytearray(content)
        if not data:
            return piece
        a, b = sorted((int(first * len(data)), int(second * len(data))))
        if kind == "flip":
            data[a] ^= 1 << int(second * 8)
        elif kind == "put":
            data[a:a] = piece
        elif kind == "over":
            data[a : a + len(piece)] = piece
        elif kind == "cut":
            del data[a:]
        elif kind == "drop":
            del data[a : a + (b - a) % 40]
        elif kind == "double":
            data[a:a] = data[a : a + 60]
        else:
            data[a], data[b] = data[b], data[a]
        content = bytes(data)
    return content


def judged(reader: Reader, files: dict[str, bytes]) -> str:
    """``read`` or ``refused``; anything else fails."""
    with folder_in_memory() as folder:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        try:
            reader.read(folder)
            return "read"
        except BenchmarkError as error:
            assert len(str(error)) < 1_500 + 3 * len(str(folder)), str(error)[:3_000]
            return "refused"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
@pytest.mark.parametrize("cases", [30, pytest.param(5_500, marks=pytest.mark.slow)])
def test_a_changed_file_is_a_value_or_a_sentence(reader: Reader, cases: int) -> None:
    counts: Counter[str] = Counter()
    sound = reader.sound()
    assert judged(reader, sound) == "read"

    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(sorted(sound)), edits())
    def fuzz(name: str, of: list[tuple[str, float, float, bytes]]) -> None:
        counts[judged(reader, {**sound, name: changed(sound[name], of)})] += 1

    fuzz()
    report({"fuzz cases": counts.total(), **counts, "tracebacks": 0})
    assert counts.total() >= cases
