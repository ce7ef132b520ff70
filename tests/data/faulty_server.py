"""A local HTTP server that serves one file and misbehaves as it is told."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Plan:
    """What the server does. ``cuts`` are the bytes sent before each of the next cuts."""

    content: bytes
    etag: str = '"one"'
    cuts: list[int] = field(default_factory=list)
    status: int = 200
    failures: int = 0
    """So many requests are answered with ``status`` before the file is served."""
    ignores_range: bool = False
    wrong_start: int = 0
    """Added to the first byte of an answer to a range."""
    encoding: str = ""
    drip: float = 0.0
    """Seconds between single bytes."""
    silent: bool = False
    redirects_to_itself: bool = False
    has_length: bool = True
    chunked: bool = False
    kind: str = ""
    endless: bool = False
    name: str = "reviews.json.gz"
    written: int = 0
    requests: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def serving(plan: Plan) -> Iterator[str]:
    """The address of the file while the server runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1" if plan.chunked else "HTTP/1.0"

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

        def do_GET(self) -> None:
            plan.requests.append(dict(self.headers.items()))
            if plan.redirects_to_itself:
                self.send_response(302)
                self.send_header("Location", self.path)
                self.end_headers()
                return
            if plan.status != 200 and len(plan.requests) <= plan.failures:
                self.send_error(plan.status)
                return
            self._send_file()

        def _send_file(self) -> None:
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            same = self.headers.get("If-Range", plan.etag) == plan.etag
            start = int(asked[1]) if asked and same and not plan.ignores_range else 0
            body = plan.content[start:]
            self.send_response(206 if start else 200)
            if start:
                size = len(plan.content)
                first = start + plan.wrong_start
                self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
            if plan.encoding:
                self.send_header("Content-Encoding", plan.encoding)
            if plan.kind:
                self.send_header("Content-Type", plan.kind)
            if plan.chunked:
                self.send_header("Transfer-Encoding", "chunked")
            elif plan.has_length:
                self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", plan.etag)
            self.end_headers()
            if plan.silent:
                stopped.wait(10)
                return
            while plan.endless:
                try:
                    self.wfile.write(body)
                except ConnectionError:
                    return
                plan.written += len(body)
            sent = body[: plan.cuts.pop(0)] if plan.cuts else body
            if plan.chunked:
                last = b"0\r\n\r\n" if len(sent) == len(body) else b""
                self.wfile.write(b"%x\r\n%b\r\n" % (len(sent), sent) + last)
                self.close_connection = True
                return
            if not plan.drip:
                self.wfile.write(sent)
                return
            for place in range(len(sent)):
                self.wfile.write(sent[place : place + 1])
                time.sleep(plan.drip)

    stopped = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/{plan.name}"
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()
