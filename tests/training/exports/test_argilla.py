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
    """Keeps whatever is made under its kind, gives it an id, and shows it again."""

    kept: ClassVar[dict[str, list[Any]]] = {}

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size) or b"{}")
        path = self.path.removeprefix("/api/v1").partition("?")[0]
        above, _, name = path.rpartition("/")
        kind = name if self.command == "POST" or not above.endswith("s") else above[1:]
        if self.command == "GET":
            kept = self.kept.get(kind, [])
            found = kept[-1] if kind != name or name == "me" else {"items": kept}
        elif name == "bulk":
            self.kept.setdefault(name, []).extend(map(marked, body["items"]))
            found = {"items": self.kept[name], "updated_item_ids": []}
        elif name == "publish":
            found = self.kept["datasets"][-1]
        else:
            found = marked(body)
            self.kept.setdefault(kind, []).append(found)
        data = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer


def marked(body: Any) -> Any:
    times = dict.fromkeys(("inserted_at", "updated_at"), "2026-01-01T00:00:00")
    return {**body, "id": str(uuid.uuid4()), **times}


def start_empty() -> None:
    user = {"username": "u", "role": "owner", "first_name": "u"}
    Echo.kept.clear()
    Echo.kept.update(me=[marked(user)], workspaces=[marked({"name": "argilla"})])


@pytest.fixture
def client() -> Iterator[Any]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    start_empty()
    yield rg.Argilla(api_url=f"http://127.0.0.1:{server.server_port}", api_key="key")
    server.shutdown()
    server.server_close()


def test_argilla_reads_both_folders(tmp_path: Path, client: Any) -> None:
    folder = written(tmp_path)
    for kind, question in (("labels", "label"), ("pairs", "pair")):
        start_empty()
        made = rg.Dataset.from_disk(str(folder / f"argilla-{kind}"), workspace="argilla")
        records = json.loads((folder / f"argilla-{kind}" / "records.json").read_bytes())
        sent = Echo.kept["bulk"]
        assert [one["external_id"] for one in sent] == [one["id"] for one in records]
        assert all(one["metadata"]["kind"] == question for one in sent)
        asked = made.settings.questions["decision"].labels
        assert asked == (
            ["late", "lost", "'007", "drop"] if kind == "labels" else ["negative", "ignore"]
        )
