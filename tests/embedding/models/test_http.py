"""The family http, against a real server on the loopback."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("requests")

import miner
from miner.embedding.models.load import load_model
from miner.errors import DataError, EngineError, UsageError
from tests.conftest import Result
from tests.embedding.models.conftest import LABELS, TEXTS, stored, unit

KEY = "sk-very-secret"


def vector(text: str) -> list[float]:
    return [1.0 + text.count(letter) for letter in "aeiou"]


class Server:
    """What the handler looks at, and what it has seen."""

    def __init__(self) -> None:
        self.requests: list[list[str]] = []
        self.times: list[float] = []
        self.answers: list[tuple[int, dict[str, str], str]] = []
        self.most = 10_000
        self.key: str | None = None
        self.broken: str | None = None
        self.packed = False
        self.scale = 1.0
        self.deployed: int | None = None  # after how many requests another model answers
        self.url = ""

    @property
    def rows(self) -> int:
        return sum(map(len, self.requests))

    def answer(self, body: dict[str, Any], given: str | None) -> tuple[int, dict[str, str], str]:
        texts = body["input"]
        self.times.append(time.monotonic())
        self.requests.append(texts)
        if self.deployed is not None and len(self.requests) > self.deployed:
            self.scale = 1.5
        if self.key and given != f"Bearer {self.key}":
            return 401, {}, '{"error": "bad key"}'
        if self.answers:
            return self.answers.pop(0)
        if len(texts) > self.most:
            return 413, {}, "payload too large"
        data = [{"index": n, "embedding": self.embedded(text)} for n, text in enumerate(texts)]
        return 200, {}, self.broken or json.dumps({"data": data[::-1]})

    def embedded(self, text: str) -> Any:
        values = [self.scale * value for value in vector(text)[:-1]] + vector(text)[-1:]
        packed = base64.b64encode(np.array(values, "<f4").tobytes()).decode()
        return packed if self.packed else values


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/embeddings"
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, headers, text = state.answer(body, self.headers.get("Authorization"))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *words: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        state.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
        yield state
        http.shutdown()
        thread.join()


def embed(server: Server, texts: list[str], **options: Any) -> np.ndarray:
    return load_model(f"http:{server.url}", "text", options).embed(texts)


@pytest.mark.parametrize("packed", [False, True])
def test_vectors_come_in_the_order_of_the_texts(packed: bool, server: Server) -> None:
    server.packed = packed
    texts = [f"text {n} {'aeiou'[n % 5] * n}" for n in range(50)]
    found = embed(server, texts, batch=7, concurrency=4)
    np.testing.assert_array_equal(found, np.array([vector(text) for text in texts], np.float32))
    assert len(server.requests) == 8 and max(map(len, server.requests)) == 7


def test_a_busy_server_is_asked_again(server: Server) -> None:
    server.answers = [(429, {"Retry-After": "0"}, ""), (503, {"Retry-After": "0"}, "")]
    assert embed(server, TEXTS).shape == (6, 5)
    assert len(server.requests) == 3


def test_a_dead_server_ends_the_run(server: Server) -> None:
    server.answers = [(500, {"Retry-After": "0"}, "no")] * 3
    with pytest.raises(EngineError, match=r"in 3 tries: 3 x status 500 \(no\);.*kept"):
        embed(server, TEXTS, retries=2)
    with pytest.raises(EngineError, match=r"in 1 try: 1 x .*Connection refused.*kept"):
        load_model("http:http://127.0.0.1:9/v1", "text", {"retries": 0}).embed(TEXTS)


def test_the_key_comes_from_the_environment_and_is_never_shown(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = KEY
    monkeypatch.setenv("MY_KEY", "wrong-" + KEY)
    with pytest.raises(UsageError, match="MY_KEY") as caught:
        embed(server, TEXTS, key_env="MY_KEY")
    assert KEY not in str(caught.value)
    monkeypatch.setenv("MY_KEY", KEY)
    assert embed(server, TEXTS, key_env="MY_KEY").shape == (6, 5)
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(UsageError, match="MY_KEY is not set"):
        embed(server, TEXTS, key_env="MY_KEY")


def test_batches_that_are_too_large_are_halved(server: Server) -> None:
    server.most = 2
    assert embed(server, TEXTS).shape == (6, 5)
    server.most = 0
    with pytest.raises(DataError, match="alone"):
        embed(server, TEXTS)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("<html>", "OpenAI shape"),
        ('{"data": 5}', "OpenAI shape"),
        ('{"data": [{"index": 0, "embedding": [1.0]}]}', "1 embeddings for 6 texts"),
        ("[" * 100_000, "OpenAI shape"),
        ('{"data": [{"index": 0, "embedding": 7}]}', "OpenAI shape"),
        ('{"data": [{"index": 0, "embedding": [[1.0]]}]}', "OpenAI shape"),
        ('{"data": [{"index": 1e999, "embedding": [1.0]}]}', "OpenAI shape"),
        (f'{{"data": [{{"index": 0, "embedding": [{"9" * 400}]}}]}}', "OpenAI shape"),
        ('{"data": [{"index": 0, "embedding": "AAA"}]}', "OpenAI shape"),
        ('"\\ud800"', "OpenAI shape"),
    ],
)
def test_a_strange_answer(broken: str, words: str, server: Server) -> None:
    server.broken = broken
    with pytest.raises(EngineError, match=words):
        embed(server, TEXTS)


def test_a_refusal_is_passed_on(server: Server) -> None:
    server.answers = [(404, {}, '{"error": "no such model"}')]
    with pytest.raises(UsageError, match=r"404.*no such model"):
        embed(server, TEXTS)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_texts_and_key_go_to_no_other_place(
    status: int, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    place = server.url.replace("127.0.0.1", "localhost") + "/embeddings"
    server.answers = [(status, {"Location": place}, "")]
    with pytest.raises(UsageError, match=rf"answered {status}: it has moved to .*localhost"):
        embed(server, TEXTS)
    assert len(server.requests) == 1


def test_the_key_is_the_one_that_was_given(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one that ~/.netrc has for the host."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.key = KEY
    assert embed(server, TEXTS).shape == (6, 5)


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY} x", f"{KEY}\u202e", f"{KEY}\r\nHost: x"])
def test_a_key_that_no_header_can_hold_is_not_said(
    key: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UsageError, match="OPENAI_API_KEY holds no valid key") as caught:
        embed(server, TEXTS)
    assert KEY not in str(caught.value) and not server.requests


def test_an_answer_without_end_is_not_read(server: Server) -> None:
    server.broken = "x" * (18 << 20)
    with pytest.raises(EngineError, match="more than 17 MiB"):
        embed(server, TEXTS[:1])


@pytest.mark.parametrize("asked", ["1000000", "Wed, 21 Oct 2065 07:28:00 GMT"])
def test_a_server_cannot_send_us_to_sleep(
    asked: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("miner.embedding.models.http_client._LONGEST_PAUSE", 0.1)
    server.answers = [(429, {"Retry-After": asked}, "")]
    assert embed(server, TEXTS).shape == (6, 5)
    assert 0.1 <= server.times[1] - server.times[0] < 60


@pytest.mark.parametrize("later", ["0.3", 2.0])
def test_a_server_is_asked_again_when_it_said(later: str | float, server: Server) -> None:
    date = isinstance(later, float)  # seconds from now, of which a date has whole ones only
    asked = formatdate(time.time() + later, usegmt=True) if isinstance(later, float) else later
    server.answers = [(503, {"Retry-After": asked}, "")]
    assert embed(server, TEXTS).shape == (6, 5)
    assert server.times[1] - server.times[0] >= (0.9 if date else 0.3)


def test_one_refusal_ends_all_that_is_under_way(server: Server) -> None:
    """A run does not wait for the pause that a server asked for another of its requests."""
    server.answers = [(503, {"Retry-After": "60"}, ""), (404, {}, "no such model")]
    began = time.monotonic()
    with pytest.raises(UsageError, match="no such model"):
        embed(server, TEXTS, batch=3, concurrency=2)
    assert time.monotonic() - began < 30


def test_the_rate_is_limited(server: Server) -> None:
    embed(server, TEXTS, batch=1, concurrency=4, requests_per_minute=1200)
    times = sorted(server.times)
    assert times[-1] - times[0] >= 0.05 * 5 * 0.9


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        ("ftp://host", {}, "is not a URL"),
        ("http://me:word@host/v1", {}, "out of the URL"),
        ("http://host/v1", {"headers": {"authorization": "x"}}, "key_env"),
        ("http://host/v1", {"batch": 0}, "batch"),
        ("http://host/v1", {"timeout": 0}, "timeout"),
        ("http://host/v1", {"timeout": float("inf")}, "timeout"),
        ("http://host/v1", {"retries": -1}, "retries"),
        ("http://host/v1", {"requests_per_minute": -1}, "requests_per_minute"),
        ("http://host/v1", {"drift": float("nan")}, "drift"),
        ("http://host/v1", {"headers": {"x": "a\r\nb: c"}}, "line ends"),
        ("http://host/v1", {"headers": {"x": 7}}, "must be text"),
    ],
)
def test_options_are_checked(url: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_model(f"http:{url}", "text", options)


def test_a_whole_run(
    server: Server,
    texts: Path,
    tmp_path: Path,
    cli: Callable[..., Result],
    mine: Callable[..., miner.Run],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second run asks for the canary only; a changed model is noticed; no key is written."""
    server.key = KEY
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    words = ["--data", texts, "--model", f"http:{server.url}", "--out", tmp_path / "out"]
    first = cli("run", *words, "--json")
    assert first.code == 0, first.err
    assert server.rows == 6
    second = cli("run", *words, "--margin", "0.4", "--json")
    assert json.loads(second.out)["embedding"]["computed"] == 0
    assert server.rows == 12  # six canaries, of eight at most
    server.scale = 1.5
    third = cli("run", *words, "--margin", "0.5", "--json")
    assert json.loads(third.out)["embedding"]["computed"] == 6
    for file in (tmp_path / "out").rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes()
    server.scale = 1.0
    run = mine(texts, f"http:{server.url}", margin=0.6)
    np.testing.assert_allclose(stored(run), unit(np.array([vector(t) for t in TEXTS])), atol=1e-6)


def test_a_deployment_in_mid_run(
    server: Server, tmp_path: Path, cli: Callable[..., Result], mine: Callable[..., miner.Run]
) -> None:
    """Another model answers from some request on: exit 3, and what the former one did is kept."""
    table = {"text": [f"{text} {n}" for text in TEXTS for n in range(50)], "label": LABELS * 50}
    path = tmp_path / "many.parquet"
    pq.write_table(pa.table(table), path)
    words = ("run", "--data", path, "--model", f"http:{server.url}", "--out", tmp_path / "out")
    words += ("--set", "model.batch_size=16", "--max-triplets", "0", "--json")
    server.deployed = 10
    result = cli(*words)
    assert result.code == 3
    assert "answers its probe differently after" in result.err
    server.scale, server.deployed = 1.0, None  # it was rolled back
    result = cli(*words)
    assert result.code == 0, result.err
    assert json.loads(result.out)["embedding"]["reused"] >= 16
    run = miner.open_run(tmp_path / "out" / "latest")
    expected = unit(np.array([vector(text) for text in table["text"]]))
    np.testing.assert_allclose(stored(run), expected, atol=1e-6)


@pytest.mark.parametrize(("drift", "code"), [(1e-3, 3), (0.9, 0)])
def test_how_far_answers_may_lie_apart_is_an_option(
    drift: float, code: int, server: Server, tmp_path: Path, cli: Callable[..., Result]
) -> None:
    path = tmp_path / "more.parquet"
    table = {"text": [f"{text} {n}" for text in TEXTS for n in range(4)], "label": LABELS * 4}
    pq.write_table(pa.table(table), path)
    server.deployed = 1
    words = ("run", "--data", path, "--model", f"http:{server.url}", "--out", tmp_path / "out")
    result = cli(*words, "--max-triplets", "0", "--set", f"model.options.drift={drift}")
    assert result.code == code, result.err
