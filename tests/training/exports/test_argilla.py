"""The folders of a review for Argilla, by Argilla's own loader and a server made of echoes."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.datasets.test_corrections import written

rg = pytest.importorskip("argilla")


class Echo(BaseHTTPRequestHandler):
    """Says yes to whatever is made, and gives it an id."""

    seen: ClassVar[list[tuple[str, Any]]] = []

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size) or b"{}")
        path = self.path.removeprefix("/api/v1").partition("?")[0]
        times = dict.fromkeys(("inserted_at", "updated_at"), "2026-01-01T00:00:00")
        now = {"id": str(uuid.uuid4()), **times}
        if self.command == "GET":
            users = {**now, "username": "u", "role": "owner", "first_name": "u"}
            found: Any = users if path == "/me" else {"items": []}
            if path.endswith("workspaces"):
                found = {"items": [{**now, "name": "argilla"}]}
        else:
            self.seen.append((path.rpartition("/")[2], body))
            found = {**body, **now}
            if path.endswith("bulk"):
                found = {
                    "items": [{**one, **now, "id": str(uuid.uuid4())} for one in body["items"]]
                }
                found["updated_item_ids"] = []
            elif path.endswith("publish"):
                found = {**now, "name": "x"}
        data = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = answer


@pytest.fixture
def client() -> Iterator[Any]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Echo.seen.clear()
    yield rg.Argilla(api_url=f"http://127.0.0.1:{server.server_port}", api_key="key")
    server.shutdown()
    server.server_close()


def test_argilla_reads_both_folders(tmp_path: Path, client: Any) -> None:
    folder = written(tmp_path)
    for kind, question in (("labels", "label"), ("pairs", "pair")):
        Echo.seen.clear()
        made = rg.Dataset.from_disk(str(folder / f"argilla-{kind}"), workspace="argilla")
        records = json.loads((folder / f"argilla-{kind}" / "records.json").read_bytes())
        sent = [one for name, body in Echo.seen if name == "bulk" for one in body["items"]]
        assert [one["external_id"] for one in sent] == [one["id"] for one in records]
        assert all(one["metadata"]["kind"] == question for one in sent)
        asked = made.settings.questions["decision"].labels
        assert asked == (["late", "lost", "007", "drop"] if kind == "labels" else 2)
