"""The service: the model's own answers, batched, and one sentence of 4xx for each mistake."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
from fastapi.testclient import TestClient

from benchmark.errors import SystemFailure
from benchmark.serve.__main__ import main
from benchmark.serve.model import Ask
from benchmark.serve.service import LARGEST_BODY, Batches, make_service
from tests.interface.conftest import Ran


@pytest.fixture(scope="module")
def client(jsr: Any) -> Iterator[TestClient]:
    with TestClient(make_service(jsr), raise_server_exceptions=False) as made:
        yield made


def ids(model: Any, *numbers: int) -> list[str]:
    return [model.dataset.items.external_id[number] for number in numbers]


def test_answers_are_the_models(client: TestClient, jsr: Any) -> None:
    history = ids(jsr, 3, 5)
    given = client.post("/recommend", json={"history": history, "k": 4})
    assert given.status_code == 200
    expected = jsr.recommend(history, k=4)
    assert [item["item"] for item in given.json()["items"]] == list(expected.item)
    scores = [item["score"] for item in given.json()["items"]]
    np.testing.assert_allclose(scores, expected.score, rtol=1e-6)
    found = client.post(
        "/search",
        json={
            "query": "a new text",
            "history": [{"query": "another", "item": history[0]}, history[1]],
            "k": 3,
            "seen": "left out",
        },
    )
    assert found.status_code == 200, found.text
    assert not {item["item"] for item in found.json()["items"]} & set(history)


def test_health_and_openapi_say_what_is_served(client: TestClient, jsr: Any) -> None:
    health = client.get("/health").json()
    assert health["status"] == "ok"
    assert health["system"] == jsr.name
    assert health["tasks"] == ["recommendation", "search"]
    described = client.get("/openapi.json").json()
    assert {"/health", "/recommend", "/search"} <= set(described["paths"])


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("/recommend", {"history": ["nothing"]}, "'nothing' is none of the 240 items"),
        ("/recommend", {"user": "nobody"}, "'nobody' is none of the 120 users"),
        ("/recommend", {}, "needs a history or a user"),
        ("/recommend", {"user": "u", "k": 0}, "k: input should be greater than or equal to 1"),
        ("/recommend", {"user": "u", "k": 10**6}, "k: input should be less than or equal to"),
        ("/recommend", {"history": ["x"] * 1001}, "history: list should have at most 1000"),
        ("/recommend", {"users": "u"}, "users: extra inputs are not permitted"),
        ("/search", {"query": ""}, "query: string should have at least 1 character"),
        ("/search", {"query": "  "}, "needs a query text"),
        ("/search", {"query": "x" * 501}, "query: string should have at most 500"),
        ("/search", {}, "query: field required"),
        ("/recommend", {"history": [50]}, "history.0: must be an item's id as a text, or {"),
        ("/recommend", {"history": ["a", {"item": "b"}]}, "history.1: must be an item's id"),
        ("/recommend", {"history": ["x" * 201]}, "history.0: string should have at most 200"),
        ("/recommend", [], "the body: must be a JSON object, with the header content-type"),
    ],
)
def test_a_mistake_gets_one_sentence(
    client: TestClient, path: str, body: Any, sentence: str
) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == 422
    (only,) = answer.json().items()
    assert only[0] == "error"
    assert sentence in only[1]


@pytest.mark.parametrize(
    ("method", "path", "content", "status", "sentence"),
    [
        ("POST", "/recommend", b'{"history": ["a"', 422, "the body: is not JSON ("),
        ("POST", "/recommend", b"", 422, "the body: must be a JSON object"),
        ("POST", "/recommend", b"\xff\xfe{", 400, "the body: is not JSON in UTF-8."),
        ("POST", "/other", b"{}", 404, "'/other' is not served; /recommend, /search"),
        ("GET", "/recommend", b"", 405, "'/recommend' takes no GET."),
    ],
)
def test_what_is_no_question_gets_one_sentence_too(
    client: TestClient, method: str, path: str, content: bytes, status: int, sentence: str
) -> None:
    headers = {"content-type": "application/json"}
    answer = client.request(method, path, content=content, headers=headers)
    assert answer.status_code == status
    ((key, said),) = answer.json().items()
    assert key == "error"
    assert said.startswith(sentence)


def test_too_much_is_refused_before_it_is_read(client: TestClient) -> None:
    answer = client.post("/recommend", content=b" " * (LARGEST_BODY + 1))
    assert answer.status_code == 413
    assert "at most" in answer.json()["error"]
    streamed = client.post("/recommend", content=iter([b"{}"]))
    assert streamed.status_code == 411


def test_requests_that_wait_are_ranked_together(jsr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, answer = list[int](), jsr.answer

    def counted(task: str, asked: list[Ask], k: int) -> Any:
        sizes.append(len(asked))
        if any(one.query == "fail" for one in asked):
            raise SystemFailure("no scores")
        return answer(task, asked, k)

    monkeypatch.setattr(jsr, "answer", counted)
    history = ids(jsr, 3)
    asked = [("recommendation", Ask(history), k) for k in (2, 5, 3)]
    asked += [("search", Ask(history, query="tea", seen="kept"), 4)]

    async def serve() -> list[Any]:
        batches = Batches(jsr, size=8)
        waiting = [asyncio.create_task(batches.answer(*one)) for one in asked]
        await asyncio.sleep(0)  # all of them wait before anything is ranked
        running = asyncio.create_task(batches.run())
        try:
            found = list(await asyncio.gather(*waiting))
            with pytest.raises(SystemFailure):
                await batches.answer("search", Ask(history, query="fail"), 3)
            found.append(await batches.answer("recommendation", Ask(history), 1))
        finally:
            running.cancel()
        return found

    found = asyncio.run(serve())
    assert sizes == [3, 1, 1, 1]
    assert [len(hits) for hits in found] == [2, 5, 3, 4, 1]
    items = [hit.item for hit in found[1]]
    assert [hit.item for hit in found[0]] == items[:2]


def test_the_command_refuses_bad_options(capsys: pytest.CaptureFixture[str]) -> None:
    for given in (["run", "--port", "70000"], ["run", "--batch", "0"], ["no/such/run"]):
        assert main(given) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_the_command_says_its_address_and_ends_by_ctrl_c(ran: Ran) -> None:
    given = [str(ran.folder("popularity")), "--prepared", str(ran.root / "prepared")]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-m", "benchmark.serve", *given, "--port", "0"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            address = re.search(r"Popularity on generated: (http://127\.0\.0\.1:\d+) ", first)
            assert address is not None, first
            with urllib.request.urlopen(f"{address[1]}/health", timeout=300) as answer:
                assert json.load(answer)["system"] == "Popularity"
            process.send_signal(signal.SIGINT)
            rest, complaint = process.communicate(timeout=300)
        finally:
            process.kill()
    assert (process.returncode, rest, complaint) == (0, "", "")


def test_a_port_that_is_taken_is_one_sentence(ran: Ran, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main([str(ran.folder("popularity")), "--port", str(port)]) == 2
    message = capsys.readouterr().err
    place = f"--host 127.0.0.1 --port {port}"
    assert message == f"error: {place}: cannot be served (Address already in use).\n"
