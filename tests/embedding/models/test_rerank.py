"""Servers of rerankers as teachers, against a real server on the loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("requests")

import miner
from miner.errors import EngineError, UsageError
from tests.pipeline.test_teacher import HERE, overlap, rows, texts

__all__ = ["texts"]


class Server:
    """What is asked, and how it is answered: `shape` is cohere, tei or a broken one."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.shape = "cohere"
        self.url = ""

    def answer(self, body: dict[str, Any]) -> tuple[int, str]:
        self.bodies.append(body)
        documents = body["texts" if self.shape == "tei" else "documents"]
        scores = overlap([(body["query"], document) for document in documents])
        order = np.argsort(scores)[::-1].tolist()  # best first, as servers answer
        if self.shape == "tei":
            return 200, json.dumps([{"index": n, "score": scores[n]} for n in order])
        found = [{"index": n, "relevance_score": scores[n]} for n in order]
        answers = {
            "cohere": (200, json.dumps({"results": found})),
            "short": (200, json.dumps({"results": found[1:]})),
            "twice": (200, json.dumps({"results": [found[0] for _ in found]})),
            "nan": (200, json.dumps({"results": [{"index": 0, "score": None}] * len(found)})),
            "words": (200, "as good as it gets"),
            "key": (401, "no"),
        }
        return answers[self.shape]


@pytest.fixture
def server() -> Iterator[Server]:
    known = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, text = known.answer(body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    known.url = f"http://127.0.0.1:{http.server_port}/v1/rerank"
    yield known
    http.shutdown()
    http.server_close()
    thread.join()


def mine(data: Path, out: Path, model: str, options: dict[str, Any]) -> miner.Run:
    return miner.mine(
        {
            "dataset": {"path": str(data)},
            "model": {"name": f"{HERE}:embed"},
            "select": {"strategy": "hardest", "options": {"k": 3}},
            "teacher": {"model": model, "options": options, "max_score": 0.3},
            "gates": {"min_rows": 0},
            "output": {"path": str(out)},
        }
    )


@pytest.mark.parametrize(
    ("shape", "name", "key"), [("cohere", "http", "documents"), ("tei", "rerank", "texts")]
)
def test_its_scores_are_those_of_the_server(
    shape: str, name: str, key: str, server: Server, texts: Path, tmp_path: Path
) -> None:
    server.shape = shape
    options = {"batch": 5, "concurrency": 2, "retries": 0, "model": "bge", "key": key}
    run = mine(texts, tmp_path / "out", f"{name}:{server.url}", options)
    found = rows(run, "hard")
    assert found
    for row in found:
        for column, role in (("teacher_ap", "positive"), ("teacher_an", "negative")):
            assert row[column] == np.float32(overlap([(row["anchor"], row[role])])[0])
        assert row["teacher_an"] <= 0.3
    assert all(body["model"] == "bge" and len(body[key]) <= 5 for body in server.bodies)
    asked = sum(len(body[key]) for body in server.bodies)
    # Each pair once, and the few pairs that identify the server, at its start and its end.
    assert run.manifest["teacher"]["pairs"] <= asked <= run.manifest["teacher"]["pairs"] + 64
    again = mine(texts, tmp_path / "out", f"{name}:{server.url}", options)
    assert again.run_id == run.run_id


@pytest.mark.parametrize(
    ("shape", "kind", "words"),
    [
        ("short", EngineError, "no scores in the shape of rerankers (no list of"),
        ("twice", EngineError, "no scores in the shape of rerankers (not one finite score"),
        ("nan", EngineError, "a result without index and score"),
        ("words", EngineError, "which said 'as good as it gets'"),
        ("key", UsageError, "refused the key (401)"),
    ],
)
def test_answers_that_are_no_scores(
    shape: str, kind: type[Exception], words: str, server: Server, texts: Path, tmp_path: Path
) -> None:
    server.shape = shape
    with pytest.raises(kind) as raised:
        mine(texts, tmp_path / "out", f"http:{server.url}", {"retries": 0})
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_a_url_that_is_none(texts: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a URL"):
        mine(texts, tmp_path / "out", "http:host/rerank", {})
