"""A server of embeddings on the loopback that misbehaves in one of many named ways.

Each way is what the server does with a request, and what `mine run` must make of it: the exit
code and the words of its message.
"""

from __future__ import annotations

import base64
import gzip
import json
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["WAYS", "Exchange", "Way", "misbehaving"]

JSON = {"Content-Type": "application/json"}
PAST, FUTURE = "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2065 07:28:00 GMT"


@dataclass
class Exchange:
    """One connection to the server."""

    line: socket.socket
    over: threading.Event
    number: int = 0  # of the request, from 0, over all connections
    texts: list[str] = field(default_factory=list)

    def data(self) -> list[dict[str, Any]]:
        """What a server that behaves has in its answer: of any text the same vector."""
        return [
            {"index": n, "embedding": [1.0 + text.count(letter) for letter in "aeiou"]}
            for n, text in enumerate(self.texts)
        ]

    def body(self, **changes: Any) -> bytes:
        """Return a good answer in JSON; `changes` are made to the first object."""
        data = self.data()
        data[0] |= changes
        return json.dumps({"data": data}).encode()

    def send(self, content: bytes | str) -> None:
        self.line.sendall(content.encode("latin-1") if isinstance(content, str) else content)

    def head(self, status: int = 200, **headers: Any) -> None:
        """Send a status and headers; underscores of names become hyphens."""
        lines = [f"HTTP/1.1 {status} Some Reason"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "", ""]))

    def answer(self, body: bytes | str = b"", status: int = 200, **headers: Any) -> None:
        """Send a whole answer."""
        content = body.encode() if isinstance(body, str) else body
        self.head(status, Content_Length=len(content), **headers)
        self.send(content)

    def behave(self) -> None:
        self.answer(self.body())

    def drip(self, content: bytes | str, *, seconds: float = 0.02) -> None:
        """Send some content again and again, until the client is gone or the test over."""
        while not self.over.wait(seconds):
            self.send(content)

    def reset(self) -> None:
        """Cut the connection, not politely."""
        self.line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        with suppress(OSError):  # without it the handler's file would keep the connection open
            self.line.shutdown(socket.SHUT_RD)
        self.line.close()

    def silence(self) -> None:
        self.over.wait()


@dataclass(frozen=True)
class Way:
    """One way to misbehave.

    Attributes
    ----------
    act : callable
        What the server does with a request.
    code : int
        The exit code of `mine run`.
    words : str
        A pattern that its message must match; of a run that succeeds nothing.
    times : int
        Of how many requests; afterwards the server behaves.
    scheme : str
        That of the URL.
    reads : bool
        Whether the server reads the request before it acts.
    requests : int or None
        How many requests the server must have had in the end; None where none is whole.
    timeout : float
        Of the model's options.
    deadline : int
        Of a request, in times of the timeout.
    """

    act: Callable[[Exchange], None]
    code: int
    words: str = ""
    times: int = 1 << 30
    scheme: str = "http"
    reads: bool = True
    requests: int | None = None
    timeout: float = 5.0
    deadline: int = 10


def again(act: Callable[[Exchange], None], *, timeout: float = 5.0) -> Way:
    """A fault of two answers, after which the third serves: the run must succeed."""
    return Way(act, 0, times=2, requests=3, timeout=timeout)


def status(number: int, **headers: Any) -> Callable[[Exchange], None]:
    return lambda talk: talk.answer("please wait", number, **headers)


def changed(**changes: Any) -> Callable[[Exchange], None]:
    return lambda talk: talk.answer(talk.body(**changes))


def says(body: str | bytes) -> Callable[[Exchange], None]:
    return lambda talk: talk.answer(body)


def raw(content: str | bytes) -> Callable[[Exchange], None]:
    """Send something that is no answer, and close."""

    def act(talk: Exchange) -> None:
        talk.send(content)
        talk.close()

    return act


def headed(start: str, again: str) -> Callable[[Exchange], None]:
    """Send a beginning, then a piece again and again, slowly."""

    def act(talk: Exchange) -> None:
        talk.send(start)
        talk.drip(again)

    return act


def reset_in_body(talk: Exchange) -> None:
    talk.head(Content_Length=10_000)
    talk.send(talk.body()[:20])
    talk.reset()


def pause_in_body(talk: Exchange) -> None:
    talk.head(Content_Length=10_000)
    talk.send(talk.body()[:20])
    talk.silence()


def short_of_its_length(talk: Exchange) -> None:
    talk.head(Content_Length=10_000)
    talk.send(talk.body())
    talk.close()


def unknown_length(talk: Exchange) -> None:
    talk.head(Content_Length="many")
    talk.send(talk.body())
    talk.close()


def longer_than_its_length(talk: Exchange) -> None:
    talk.head(Content_Length=20)
    talk.send(talk.body())


def broken_chunks(talk: Exchange) -> None:
    talk.head(Transfer_Encoding="chunked")
    talk.send("5\r\n{'dat\r\n")
    talk.close()


def no_chunks(talk: Exchange) -> None:
    talk.head(Transfer_Encoding="chunked")
    talk.send("this is no length\r\n")
    talk.close()


def small_chunks(talk: Exchange) -> None:
    talk.head(Transfer_Encoding="chunked")
    for byte in talk.body():
        talk.send(b"1\r\n" + bytes([byte]) + b"\r\n")
    talk.send("0\r\n\r\n")


def old_protocol(talk: Exchange) -> None:
    talk.send("HTTP/1.0 200 OK\r\n\r\n")
    talk.send(talk.body())
    talk.close()


def closes_without_saying(talk: Exchange) -> None:
    talk.behave()
    talk.close()


def packed(talk: Exchange) -> None:
    talk.answer(gzip.compress(talk.body()), Content_Encoding="gzip")


def packed_in_name_only(talk: Exchange) -> None:
    talk.answer(talk.body(), Content_Encoding="gzip")


def bomb(talk: Exchange) -> None:
    talk.answer(gzip.compress(bytes(40 << 20), 1), Content_Encoding="gzip")


def continues_once(talk: Exchange) -> None:
    talk.send("HTTP/1.1 100 Continue\r\n\r\n")
    talk.behave()


def without_end(talk: Exchange) -> None:
    talk.head()
    while not talk.over.is_set():
        talk.send(b" " * (1 << 20))


def too_large(talk: Exchange) -> None:
    talk.answer(b" " * (30 << 20))


def first_of_two(talk: Exchange) -> None:
    """Another fault each time."""
    if talk.number % 2:
        talk.answer("", 502)
    else:
        talk.close()


def data(change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[Exchange], None]:
    """Answer with other data; what `change` returns, or the data that it changed."""

    def act(talk: Exchange) -> None:
        found = talk.data()
        result = change(found)
        talk.answer(json.dumps({"data": found if result is None else result}))

    return act


LATE: dict[str, Any] = {"timeout": 0.15}
"""A short timeout, for what ends by it."""
DRIPS: dict[str, Any] = {"timeout": 0.4, "deadline": 1}
"""A deadline that comes first, however long a busy machine pauses between two drops."""
SHAPE = "no embeddings in the OpenAI shape "
VECTOR = SHAPE + r"\(data\[0\] has no 'embedding' that is a list of numbers"
ROW = r"texts.parquet, row 0: the vector holds NaN"
LOST = "gave no answer of use in 3 tries: 3 x "
SLOW = r"took more than .* s for one answer; check the server, or raise model.options.timeout"
OK = "HTTP/1.1 200 OK\r\n"

WAYS: dict[str, Way] = {
    # Busy servers, which are asked again.
    "429, Retry-After of zero": again(status(429, Retry_After=0)),
    "429, Retry-After of a fraction": again(status(429, Retry_After="0.01")),
    "429, Retry-After of a date that is past": again(status(429, Retry_After=PAST)),
    "429, Retry-After of a date far away": again(status(429, Retry_After=FUTURE)),
    "429, Retry-After of nonsense": again(status(429, Retry_After="soon")),
    "429, Retry-After below zero": again(status(429, Retry_After=-5)),
    "429, Retry-After of a huge number": again(status(429, Retry_After="9" * 400)),
    "429, Retry-After of NaN": again(status(429, Retry_After="nan")),
    "429, Retry-After of a list": again(status(429, Retry_After="1, 2")),
    "503, Retry-After of a broken date": again(status(503, Retry_After="Wed, 99 Foo 2015")),
    "503 without a word": again(lambda talk: talk.answer(b"", 503)),
    "408": again(status(408)),
    "425": again(status(425)),
    "500": again(status(500)),
    "520": again(status(520)),
    "521": again(status(521)),
    "529": again(status(529)),
    "a reset in place of an answer": again(Exchange.reset),
    "a reset in the body": again(reset_in_body),
    "a pause in the body": again(pause_in_body, **LATE),
    "no answer": again(Exchange.silence, **LATE),
    "closed without an answer": again(Exchange.close),
    "closed in the status line": again(raw("HTTP/1.")),
    "closed in the headers": again(raw(OK + "Content-Le")),
    "chunks that break off": again(broken_chunks),
    "chunks without a length": again(no_chunks),
    "a Content-Length that is too large": again(short_of_its_length),
    # Unusual, but answers all the same.
    "HTTP/1.0": Way(old_protocol, 0, requests=1),
    "chunks of one byte": Way(small_chunks, 0, requests=1),
    "gzip": Way(packed, 0, requests=1),
    "100 Continue once": Way(continues_once, 0, requests=1),
    "keep-alive that closes": Way(closes_without_saying, 0, requests=1),
    "status 201": Way(lambda talk: talk.answer(talk.body(), 201), 0, requests=1),
    # Busy without end.
    "500 without end": Way(status(500), 6, LOST + r"status 500 \(please wait\)", requests=3),
    "529 without end": Way(status(529), 6, LOST + "status 529", requests=3),
    "resets without end": Way(Exchange.reset, 6, LOST + "ConnectionResetError", requests=3),
    "silence without end": Way(
        Exchange.silence, 6, LOST + r"nothing sent for 0.15 s", requests=3, **LATE
    ),
    "one fault after the other": Way(
        first_of_two, 6, r"in 3 tries: 2 x RemoteDisconnected: .*, 1 x status 502;", requests=3
    ),
    # Slow without end: given up at the deadline of the whole request.
    "a body that drips": Way(headed(OK + "\r\n", " "), 6, SLOW, **DRIPS),
    "a body that drips, of a length": Way(
        headed(OK + "Content-Length: 9999\r\n\r\n", " "), 6, SLOW, **DRIPS
    ),
    "chunks that drip": Way(
        headed(OK + "Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n"), 6, SLOW, **DRIPS
    ),
    "a header that drips": Way(headed(OK + "x: ", "y"), 6, SLOW, **DRIPS),
    "headers that drip": Way(headed(OK, "x: y\r\n"), 6, SLOW, **DRIPS),
    "a status line that drips": Way(headed("HTTP/1.1 200 O", "K"), 6, SLOW, **DRIPS),
    "100 Continue without end": Way(headed("", "HTTP/1.1 100 Continue\r\n\r\n"), 6, SLOW, **DRIPS),
    # Much without end.
    "a body without end": Way(without_end, 6, "more than 22 MiB", requests=1),
    "a body that is too large": Way(too_large, 6, "more than 22 MiB", requests=1),
    "a gzip that unpacks to too much": Way(bomb, 6, "more than 22 MiB", requests=1),
    "headers without end": Way(
        raw(OK + "x: y\r\n" * 1000), 6, LOST + ".*more than 100 headers", requests=3
    ),
    "a header line without end": Way(
        raw(OK + "x: " + "y" * (1 << 20)), 6, LOST + "LineTooLong", requests=3
    ),
    # Another protocol.
    "a greeting of SSH": Way(raw("SSH-2.0-OpenSSH_9.6\r\n"), 6, LOST + "BadStatusLine", requests=3),
    "TLS on a plain port": Way(
        raw(b"\x15\x03\x01\x00\x02\x02\x28"), 6, LOST + "BadStatusLine", requests=3
    ),
    "no TLS on a port for TLS": Way(
        raw(OK + "\r\n"), 6, LOST + "SSLError", scheme="https", reads=False
    ),
    "a TLS handshake without an answer": Way(
        Exchange.silence, 6, LOST + "nothing sent for 0.15 s", scheme="https", reads=False, **LATE
    ),
    "a TLS handshake that drips": Way(
        lambda talk: (talk.send(b"\x16\x03\x03\x40\x00"), talk.drip(b"x"))[1],
        6,
        LOST + "nothing sent for 0.15 s",
        scheme="https",
        reads=False,
        **LATE,
    ),
    "a Content-Length that is no number": Way(unknown_length, 0, requests=1),
    "a Content-Length that is too small": Way(longer_than_its_length, 6, SHAPE),
    "gzip in name only": Way(packed_in_name_only, 6, "cannot be read", requests=1),
    # Refusals.
    "a redirect": Way(
        status(302, Location="http://127.0.0.2/v1"), 2, "302: it has moved to", requests=1
    ),
    "a redirect to itself": Way(status(307, Location="/v1/embeddings"), 2, "moved", requests=1),
    "a redirect to a file": Way(status(301, Location="file:///etc/passwd"), 2, "moved", requests=1),
    "a redirect to nowhere": Way(status(308), 2, "it has moved to ''", requests=1),
    "101": Way(lambda talk: talk.head(101, Upgrade="h2c"), 2, "answered 101", requests=1),
    "204": Way(lambda talk: talk.head(204), 6, "an empty answer", requests=1),
    "401": Way(status(401), 2, "refused the key", requests=1),
    "404": Way(status(404), 2, "404: please wait; check model.options", requests=1),
    "413 of any text": Way(status(413), 3, "alone.*shorten it"),
    # Answers that are none.
    "nothing": Way(says(""), 6, LOST + "an empty answer", requests=3),
    "HTML": Way(says("<html>"), 6, SHAPE + ".*<html>", requests=1),
    "JSON that breaks off": Way(says('{"data": ['), 6, SHAPE, requests=1),
    "Latin-1": Way(says('{"data": "Grüße"}'.encode("latin-1")), 6, SHAPE, requests=1),
    "a list": Way(says("[]"), 6, SHAPE + r"\(no list 'data'", requests=1),
    "an error with status 200": Way(
        says('{"error": {"message": "no such model"}}'), 6, SHAPE + ".*no such model", requests=1
    ),
    "data that is no list": Way(says('{"data": 5}'), 6, SHAPE, requests=1),
    "data of numbers": Way(says('{"data": [5]}'), 6, SHAPE, requests=1),
    "brackets without end": Way(says("[" * 100_000), 6, SHAPE, requests=1),
    "an index twice": Way(changed(index=1), 6, "the index 1 comes twice", requests=1),
    "an index too large": Way(changed(index=6), 6, "the index 6 for 6 texts", requests=1),
    "an index below zero": Way(changed(index=-1), 6, "the index -1 for 6 texts", requests=1),
    "an index that is true": Way(changed(index=True), 6, "has the index True", requests=1),
    "an index that is text": Way(changed(index="0"), 6, "has the index '0'", requests=1),
    "no index": Way(changed(index=None), 6, "has the index None", requests=1),
    "a vector too many": Way(
        data(lambda found: [*found, {**found[0], "index": 6}]),
        6,
        "7 embeddings for 6 texts",
        requests=1,
    ),
    "a vector too few": Way(data(lambda found: found[1:]), 6, "5 embeddings for 6", requests=1),
    "no vectors": Way(data(lambda found: []), 6, "0 embeddings for 6", requests=1),
    "no embedding": Way(changed(embedding=None), 6, VECTOR, requests=1),
    "an embedding without numbers": Way(changed(embedding=[]), 6, VECTOR, requests=1),
    "truth in a vector": Way(changed(embedding=[1.0, True, 1, 1, 1]), 6, VECTOR, requests=1),
    "text in a vector": Way(changed(embedding=[1.0, "2", 1, 1, 1]), 6, VECTOR, requests=1),
    "lists in a vector": Way(changed(embedding=[[1.0]] * 5), 6, VECTOR, requests=1),
    "an object in a vector": Way(changed(embedding={"0": 1.0}), 6, VECTOR, requests=1),
    "base64 that is none": Way(changed(embedding="?!"), 6, SHAPE, requests=1),
    "base64 of half a number": Way(
        changed(embedding=base64.b64encode(bytes(6)).decode()), 6, SHAPE, requests=1
    ),
    "base64 of another width": Way(
        changed(embedding=base64.b64encode(np.ones(4, "<f4").tobytes()).decode()),
        6,
        r"vectors of \[4, 5\] dimensions",
        requests=1,
    ),
    "a vector of another width": Way(
        changed(embedding=[1.0] * 4), 6, r"vectors of \[4, 5\] dimensions", requests=1
    ),
    "NaN in a vector": Way(changed(embedding=[float("nan")] * 5), 3, ROW, requests=1),
    "infinity in a vector": Way(changed(embedding=[float("inf")] * 5), 3, ROW, requests=1),
    "null in a vector": Way(changed(embedding=[None] * 5), 3, ROW, requests=1),
    "a number too large for float32": Way(changed(embedding=[1e300] * 5), 3, ROW, requests=1),
    "a number too large for anything": Way(changed(embedding=[10**400] * 5), 6, SHAPE, requests=1),
}


class Misbehaving(socketserver.ThreadingTCPServer):
    """Serves one way; `requests` counts what came."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, way: Way) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.way = way
        self.over = threading.Event()
        self.requests = 0
        self.url = f"{way.scheme}://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hung up: they are meant to."""


class _Handler(socketserver.StreamRequestHandler):
    server: Misbehaving

    def handle(self) -> None:
        talk = Exchange(self.connection, self.server.over)
        if not self.server.way.reads:
            self.server.way.act(talk)
            return
        while (texts := self.read()) is not None:
            talk.texts, talk.number = texts, self.server.requests
            self.server.requests += 1
            if talk.number < self.server.way.times:
                self.server.way.act(talk)
            else:
                talk.behave()

    def read(self) -> list[str] | None:
        """Read a request; None when the client is gone."""
        length = 0
        while (line := self.rfile.readline()) not in (b"", b"\r\n"):
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        if not line:
            return None
        texts: list[str] = json.loads(self.rfile.read(length))["input"]
        return texts


@contextmanager
def misbehaving(way: Way) -> Iterator[Misbehaving]:
    """Serve a way on a free port of the loopback."""
    with Misbehaving(way) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()
