"""A proxy before a server that spoils some requests, or ends the process that makes one."""

from __future__ import annotations

import http.client
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Verdict = Callable[[str, str], str]
"""Of a method and a path with its query: what becomes of the request; empty when it goes through.

`refused`, `unanswered` (it is done, and the connection closed), `cut` (half of the answer comes),
`killed before` and `killed after` it is done, which mean the process that is the `victim`.
"""


class Proxy(ThreadingHTTPServer):
    daemon_threads = False  # so that the end of it waits for what is under way

    def __init__(self, upstream: str, verdict: Verdict) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.upstream = upstream.removeprefix("http://")
        self.judge = verdict
        self.guard = threading.Lock()
        self.victim: int | None = None
        self.url = f"http://127.0.0.1:{self.server_port}"

    def verdict(self, method: str, path: str) -> str:
        with self.guard:
            return self.judge(method, path)

    def kill(self) -> None:
        if self.victim is not None:
            os.kill(self.victim, signal.SIGKILL)
            self.victim = None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # which answers "Expect: 100-continue"
    server: Proxy

    def forward(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        if len(body) < length:  # who sent it was killed: the server would wait for the rest
            return
        kind = self.server.verdict(self.command, self.path)
        self.close_connection = True
        if kind == "killed before":
            self.server.kill()
            return
        if kind == "refused":
            self.send_response(503, "Slow Down")
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()
            return
        upstream = http.client.HTTPConnection(self.server.upstream)
        upstream.request(self.command, self.path, body, dict(self.headers))
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        if kind == "killed after":
            self.server.kill()
        if kind in ("killed after", "unanswered"):
            return
        self.send_response(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "server", "transfer-encoding"):
                self.send_header(name, value)
        # Said aloud, or a client may use the connection once more before it sees its end.
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if kind == "cut" else content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = forward

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def running(server: Proxy) -> Iterator[Proxy]:
    """Run a proxy."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
