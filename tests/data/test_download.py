"""Downloads against a server that cuts, corrupts, stalls and refuses: right bytes or nothing."""

from __future__ import annotations

import gzip
import hashlib
import random
import socket
from pathlib import Path
from typing import Any

import pytest

from benchmark.data.download import fetch
from benchmark.data.transfer import Download, Patience
from benchmark.errors import BenchmarkError
from tests.data.faulty_server import Plan, serving

CONTENT = gzip.compress(random.Random(0).randbytes(40_000))
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(silence=0.3, window=0.2, minimum_bytes=1024, attempts=3, pause=0.0)


def download(plan: Plan, folder: Path, **facts: Any) -> Path:
    with serving(plan) as url:
        return fetch(Download(url, **facts), folder / "reviews.json.gz", QUICK)


def refusal(plan: Plan, folder: Path, **facts: Any) -> str:
    with pytest.raises(BenchmarkError) as caught:
        download(plan, folder, **facts)
    assert not (folder / "reviews.json.gz").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_file_arrives(tmp_path: Path) -> None:
    path = download(Plan(CONTENT), tmp_path, size=len(CONTENT), sha256=SHA256)
    assert path.read_bytes() == CONTENT
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {"reviews.json.gz", ".reviews.json.gz.lock"}


def test_a_file_that_is_there_is_not_asked_for(tmp_path: Path) -> None:
    plan = Plan(CONTENT)
    download(plan, tmp_path)
    download(plan, tmp_path)
    assert len(plan.requests) == 1


@pytest.mark.parametrize("seed", range(5))
def test_a_cut_transfer_goes_on_where_it_was(seed: int, tmp_path: Path) -> None:
    cuts = sorted(random.Random(seed).sample(range(1, 8_000), 4))
    plan = Plan(CONTENT, cuts=[*cuts])
    assert download(plan, tmp_path, sha256=SHA256).read_bytes() == CONTENT
    assert len(plan.requests) == 5
    assert plan.requests[1]["Range"] == f"bytes={cuts[0]}-"


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(tmp_path: Path) -> None:
    plan = Plan(CONTENT, cuts=[3_000, 0, 0, 0])
    assert "could not be downloaded" in refusal(plan, tmp_path)
    assert download(Plan(CONTENT), tmp_path, sha256=SHA256).read_bytes() == CONTENT


def test_another_version_of_the_file_is_fetched_from_its_start(tmp_path: Path) -> None:
    refusal(Plan(b"x" * 9_000, cuts=[5_000, 0, 0, 0]), tmp_path)
    with serving(Plan(CONTENT, etag='"two"')) as url:
        path = fetch(Download(url, sha256=SHA256), tmp_path / "reviews.json.gz", QUICK)
    assert path.read_bytes() == CONTENT


def test_a_server_without_ranges_sends_everything_again(tmp_path: Path) -> None:
    plan = Plan(CONTENT, cuts=[10_000], ignores_range=True)
    assert download(plan, tmp_path, sha256=SHA256).read_bytes() == CONTENT


def test_an_answer_from_another_place_is_not_appended(tmp_path: Path) -> None:
    plan = Plan(CONTENT, cuts=[10_000], wrong_start=1)
    assert download(plan, tmp_path, sha256=SHA256).read_bytes() == CONTENT


def test_wrong_content_of_the_right_length(tmp_path: Path) -> None:
    changed = CONTENT[:20_000] + bytes([CONTENT[20_000] ^ 1]) + CONTENT[20_001:]
    assert "checksum" in refusal(Plan(changed), tmp_path, size=len(CONTENT), sha256=SHA256)
    # Even where no checksum is known, the one inside the gzip file finds it.
    assert "no whole gzip file" in refusal(Plan(changed), tmp_path, size=len(CONTENT))


def test_a_page_in_place_of_the_file(tmp_path: Path) -> None:
    assert "no whole gzip file" in refusal(Plan(b"<html>Please log in</html>"), tmp_path)


def test_a_shortened_file(tmp_path: Path) -> None:
    assert "no whole gzip file" in refusal(Plan(CONTENT[:-9]), tmp_path)
    assert "instead of 40,0" in refusal(Plan(CONTENT[:-9]), tmp_path, size=40_035)


def test_another_encoding_than_asked_for(tmp_path: Path) -> None:
    assert "encoding" in refusal(Plan(CONTENT, encoding="gzip"), tmp_path)


def test_a_server_that_falls_silent(tmp_path: Path) -> None:
    assert "could not be downloaded" in refusal(Plan(CONTENT, silent=True), tmp_path)


def test_a_server_that_sends_drop_by_drop(tmp_path: Path) -> None:
    # Bytes do arrive, so no read times out; their rate is what ends it, more than once.
    quick = Patience(silence=1.0, window=0.05, minimum_bytes=10**6, attempts=1, pause=0.0)
    with serving(Plan(CONTENT, drip=0.01, etag="")) as url, pytest.raises(BenchmarkError) as caught:
        fetch(Download(url), tmp_path / "reviews.json.gz", quick)
    assert "bytes in" in str(caught.value)


def test_a_refusal_is_said_at_once(tmp_path: Path) -> None:
    plan = Plan(CONTENT, status=404, failures=9)
    assert "HTTP 404" in refusal(plan, tmp_path, advice="Take another.")
    assert len(plan.requests) == 1


def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    plan = Plan(CONTENT, status=503, failures=2)
    assert download(plan, tmp_path, sha256=SHA256).read_bytes() == CONTENT


def test_a_server_that_is_always_busy(tmp_path: Path) -> None:
    assert "HTTP 503" in refusal(Plan(CONTENT, status=503, failures=99), tmp_path)


def test_a_circle_of_redirects(tmp_path: Path) -> None:
    assert "302" in refusal(Plan(CONTENT, redirects_to_itself=True), tmp_path)


def test_no_network(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/reviews.json.gz"
    with pytest.raises(BenchmarkError) as caught:
        fetch(Download(url), tmp_path / "reviews.json.gz", QUICK)
    assert "could not be downloaded" in str(caught.value)
    assert "--source" in str(caught.value)


@pytest.mark.parametrize("url", ["http://example.org/a.gz", "file:///etc/passwd", "ftp://a/b.gz"])
def test_only_https(url: str, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="only https"):
        fetch(Download(url), tmp_path / "a.gz", QUICK)


# What is there already


@pytest.mark.parametrize("damage", ["cut", "flipped", "another"])
def test_a_file_that_is_there_is_compared_with_what_is_known(damage: str, tmp_path: Path) -> None:
    path = download(Plan(CONTENT), tmp_path)
    changed = {
        "cut": CONTENT[:-1],
        "flipped": CONTENT[:99] + bytes([CONTENT[99] ^ 1]) + CONTENT[100:],
        "another": b"mine",
    }[damage]
    path.write_bytes(changed)
    plan = Plan(CONTENT)
    with pytest.raises(BenchmarkError, match="remove it, and it is downloaded again"):
        download(plan, tmp_path, size=len(CONTENT), sha256=SHA256)
    assert path.read_bytes() == changed and not plan.requests
    path.unlink()
    assert download(plan, tmp_path, size=len(CONTENT), sha256=SHA256).read_bytes() == CONTENT


# Where nothing is known of the file


PLAIN = b"user,item\n" * 1_000


def unknown(plan: Plan, folder: Path, **facts: Any) -> Path:
    plan.name = "ratings.csv"
    with serving(plan) as url:
        return fetch(Download(url, **facts), folder / "ratings.csv", QUICK)


def test_a_plain_file_of_unknown_length_and_checksum_arrives(tmp_path: Path) -> None:
    assert unknown(Plan(PLAIN), tmp_path).read_bytes() == PLAIN
    assert unknown(Plan(PLAIN, chunked=True), tmp_path / "b").read_bytes() == PLAIN


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        (Plan(PLAIN, kind="text/html; charset=utf-8"), "a web page"),
        (Plan(b"<!DOCTYPE html><html>Please log in</html>"), "a web page"),
        (Plan(b"\xef\xbb\xbf \n<HTML>Please log in</HTML>"), "a web page"),
        (Plan(PLAIN, has_length=False), "does not say how long"),
        (Plan(PLAIN, has_length=False, cuts=[5_000]), "does not say how long"),
        (
            Plan(PLAIN, chunked=True, cuts=[5_000] * 99, ignores_range=True),
            "could not be downloaded",
        ),
    ],
)
def test_a_page_or_a_cut_answer_is_never_taken(plan: Plan, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=complaint):
        unknown(plan, tmp_path)
    assert not (tmp_path / "ratings.csv").exists()


@pytest.mark.parametrize("facts", [{"limit": 30_000}, {"size": 30_000}])
def test_an_endless_answer_is_given_up_at_the_limit(facts: dict[str, int], tmp_path: Path) -> None:
    plan = Plan(PLAIN, endless=True, has_length=False)
    plan.name = "ratings.csv.gz"  # whose end would show itself
    with serving(plan) as url, pytest.raises(BenchmarkError, match="more than 30,000 bytes"):
        fetch(Download(url, **facts), tmp_path / "ratings.csv.gz", QUICK)
    assert plan.written < 50_000_000
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 30_000 + (1 << 18)


def test_a_file_that_is_longer_than_the_limit_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="more than 9,000 bytes"):
        unknown(Plan(PLAIN), tmp_path, limit=9_000)
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".part"]


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1",
        "https://[::1]:port/a",
        "https://a..b/c",
        "https://exa mple.org/a",
        "https://example.org/a\nb",
        "https://\ud800.org/a",
        "//example.org",
        "",
    ],
)
def test_what_is_no_address(url: str, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError) as caught:
        fetch(Download(url), tmp_path / "a.csv", QUICK)
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)
    assert not (tmp_path / "a.csv").exists()
