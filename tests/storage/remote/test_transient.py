"""A network that fails now and then: requests are tried again, and nothing is done twice."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("boto3")

import miner
from tests.storage.remote.conftest import Bucket


class Flaky(ThreadingHTTPServer):
    """A proxy before the server that spoils some requests."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.upstream = upstream.removeprefix("http://")
        self.seen = 0
        self.spoilt: list[str] = []
        self.guard = threading.Lock()

    def verdict(self, method: str, path: str, attempt: str) -> str:
        """Say what becomes of a request: refused, or done without an answer, or cut short."""
        with self.guard:
            self.seen += 1
            if not attempt.startswith("attempt=1"):
                return ""
            kind = "refused" if self.seen % 4 == 0 else ""
            if method == "PUT" and path.endswith("manifest.json"):
                kind = "unanswered"
            cut = f"cut GET {path.rpartition('/')[2]}"
            if method == "GET" and path.endswith("big.csv") and self.spoilt.count(cut) < 2:
                kind = "cut"
            if kind:
                self.spoilt.append(f"{kind} {method} {path.rpartition('/')[2]}")
            return kind


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # which answers "Expect: 100-continue"
    server: Flaky

    def forward(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        attempt = self.headers.get("amz-sdk-request", "")
        kind = self.server.verdict(self.command, self.path.split("?")[0], attempt)
        self.close_connection = True
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
        if kind == "unanswered":
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


@pytest.fixture
def flaky(server: str) -> Iterator[Flaky]:
    with Flaky(server) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield proxy
        proxy.shutdown()
        thread.join()


def test_a_run_gets_through(
    bucket: Bucket, flaky: Flaky, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{n},{'word ' * (n % 7 + 1)}{n},c{n % 5}" for n in range(60)]
    (tmp_path / "big.csv").write_text("\n".join(["id,text,label", *rows]) + "\n")
    data = bucket.put("big.csv", tmp_path / "big.csv")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{flaky.server_port}")
    backoff = "botocore.retries.standard.ExponentialBackoff.delay_amount"
    monkeypatch.setattr(backoff, lambda self, context: 0.01)
    out = f"{bucket.url}/mined"
    miner.mine({"dataset": {"path": data}, "output": {"path": out}})
    (run,) = miner.list_runs(out)[0]
    assert miner.open_run(out).run_id == run.run_id
    assert miner.verify_run(run).problems == []
    kinds = {line.split()[0] for line in flaky.spoilt}
    assert kinds == {"refused", "unanswered", "cut"}
    assert "unanswered PUT manifest.json" in flaky.spoilt
    local = miner.mine(
        {"dataset": {"path": str(tmp_path / "big.csv")}, "output": {"path": str(tmp_path / "out")}}
    )
    files = bucket.files(f"mined/runs/{run.run_id}")
    for file in local.path.rglob("*.parquet"):
        assert files[file.relative_to(local.path).as_posix()] == file.read_bytes()
