"""An embedding endpoint in the OpenAI shape: ``POST URL/embeddings`` with texts, vectors back.

The shape is that of https://platform.openai.com/docs/api-reference/embeddings, which vLLM, TEI,
Ollama, LiteLLM and others speak too.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar
from urllib.parse import urlsplit

import numpy as np
import requests
from numpy.typing import NDArray
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from miner.embedding.models.base import Batch, Model
from miner.errors import DataError, EngineError, UsageError
from miner.formatting import bytes_text, without_secrets

__all__ = ["Http"]

_VERSION = 1
_DEFAULT_KEY = "OPENAI_API_KEY"
_AGAIN = (408, 429, 500, 502, 503, 504)
_SECRET_HEADERS = ("authorization", "api-key", "apikey", "token", "secret", "password", "cookie")
_TOO_LARGE = ("too large", "too long", "too many", "maximum context", "batch size")


_OK = 200
_CHUNK, _SHOWN = 1 << 16, 4096
_MOST_BYTES, _MOST_BYTES_TEXT = 16 << 20, 1 << 20
"""Of an answer, at all and for each text: ten times what any model's vectors take as JSON."""
_DRIPS = 10
"""So many times the timeout an answer may take that never pauses for as long as that."""
_LONGEST_PAUSE = 600.0
"""Seconds; a server may ask for more."""


class _Patience(Retry):  # type: ignore[misc]  # an extra that mypy does not follow
    """Waits as long as the server asks for, within reason."""

    def get_retry_after(self, response: Any) -> float | None:
        """Return the seconds to wait, None where the server does not say."""
        asked = super().get_retry_after(response)
        return None if asked is None else min(float(asked), _LONGEST_PAUSE)


class _Gate:
    """Lets requests through at most so often; shared by threads."""

    def __init__(self, per_minute: float) -> None:
        self._pause = 60.0 / per_minute if per_minute else 0.0
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Sleep until it is this request's turn."""
        if not self._pause:
            return
        with self._lock:
            turn = max(self._next, time.monotonic())
            self._next = turn + self._pause
        time.sleep(max(0.0, turn - time.monotonic()))


class _TooLarge(Exception):
    """The server wants fewer or shorter texts."""


class Http(Model):
    """A remote text model; what it is called and where decide who it is, and its canaries.

    Parameters
    ----------
    url : str
        Base URL, such as ``https://api.openai.com/v1``.
    model : str
        The model's name as the server knows it.
    key_env : str
        The environment variable that holds the key; default: ``OPENAI_API_KEY`` where it is set.
    headers : mapping, optional
        More headers, no secrets: options stand in the manifest.
    dimensions : int, optional
        Sent along where given.
    batch : int
        Most texts of a request.
    concurrency : int
        Requests at a time.
    requests_per_minute : float
        0 for no limit.
    timeout : float
        Seconds without an answer.
    retries : int
        How often a request is sent again, with growing pauses or as ``Retry-After`` says.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    argument: ClassVar[str] = "url"
    cache_id: ClassVar[str] = "miner.models.http:Http"
    drift: ClassVar[float] = 1e-3

    def __init__(
        self,
        url: str,
        model: str = "default",
        key_env: str | None = None,
        headers: Mapping[str, str] | None = None,
        dimensions: int | None = None,
        batch: int = 128,
        concurrency: int = 4,
        requests_per_minute: float = 0,
        timeout: float = 60,
        retries: int = 6,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            shown = without_secrets(url)
            raise UsageError(f"model 'http': {shown!r} is no URL such as https://host/v1")
        if parts.username or parts.password:
            raise UsageError("model 'http': take the key out of the URL; use model.options.key_env")
        if parts.query or parts.fragment:
            raise UsageError(
                "model 'http': the URL must end with its path; take what follows ? or # out, a key "
                "belongs into the environment (model.options.key_env)"
            )
        _check_headers(headers or {})
        for name, value in (("batch", batch), ("concurrency", concurrency)):
            if value < 1:
                raise UsageError(f"model.options.{name} = {value} must be 1 or more")
        base = url.rstrip("/")
        self._url = base if base.endswith("/embeddings") else f"{base}/embeddings"
        self._key_env = key_env or _DEFAULT_KEY
        if key_env and not os.environ.get(key_env):
            raise UsageError(f"model.options.key_env: the variable {key_env} is not set; export it")
        _key(self._key_env)
        self._headers = dict(headers or {})
        self._body = {"model": model, "encoding_format": "float"}
        self._dimensions = dimensions
        self._batch, self._timeout = batch, timeout
        self._retries = retries
        self._gate = _Gate(requests_per_minute)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="mine-http")
        self._local = threading.local()

    def embed(self, batch: Batch) -> NDArray[np.floating]:
        """Embed texts, shape (b, dim), in requests of at most `batch` texts each."""
        texts = list(batch)
        parts = [texts[i : i + self._batch] for i in range(0, len(texts), self._batch)]
        rows = [row for part in self._pool.map(self._embed, parts) for row in part]
        widths = {len(row) for row in rows}
        if len(widths) > 1:
            raise EngineError(
                f"{self._url} sent vectors of {sorted(widths)} dimensions; they must be of one"
            )
        return np.asarray(rows, dtype=np.float32)

    def _embed(self, texts: list[str]) -> list[NDArray[np.float32]]:
        try:
            return self._request(texts)
        except _TooLarge as error:
            if len(texts) == 1:
                raise DataError(
                    f"{self._url} refuses the text {texts[0][:60]!r}... alone ({error}); shorten it"
                ) from None
            half = len(texts) // 2
            return self._embed(texts[:half]) + self._embed(texts[half:])

    def _request(self, texts: list[str]) -> list[NDArray[np.float32]]:
        body: dict[str, Any] = {**self._body, "input": texts}
        if self._dimensions is not None:
            body["dimensions"] = self._dimensions
        self._gate.wait()
        try:
            # Not to another place: neither the texts nor the key are meant for it.
            with self._session().post(
                self._url,
                json=body,
                headers=self._headers,
                auth=self._sign,
                timeout=self._timeout,
                stream=True,
                allow_redirects=False,
            ) as answer:
                content = self._read(answer, _MOST_BYTES + _MOST_BYTES_TEXT * len(texts))
        except requests.RequestException as error:
            raise EngineError(
                f"{self._url} did not answer after {self._retries + 1} tries "
                f"({_reason(error)}); what is embedded is kept, run the same command again"
            ) from None
        if answer.status_code != _OK:
            self._refuse(answer, content)
        return self._vectors(content, len(texts))

    def _read(self, answer: requests.Response, most: int) -> bytes:
        """Read an answer that neither ends late nor is larger than any can be."""
        until = time.monotonic() + _DRIPS * self._timeout
        parts, size = [], 0
        for part in answer.iter_content(_CHUNK):
            parts.append(part)
            size += len(part)
            if size > most:
                raise EngineError(
                    f"{self._url} sent an answer of more than {bytes_text(most)}; check the server"
                )
            if time.monotonic() > until:
                raise EngineError(
                    f"{self._url} took more than {_DRIPS} x {self._timeout:g} s for one answer; "
                    "check the server, or raise model.options.timeout"
                )
        return b"".join(parts)

    def _session(self) -> requests.Session:
        """Return this thread's session: they are not safe to share."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            retry = _Patience(
                total=self._retries,
                status_forcelist=_AGAIN,
                allowed_methods=None,
                backoff_factor=0.2,
                backoff_jitter=0.2,
                raise_on_status=False,
            )
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=retry))
            self._local.session = session
        return session

    def _sign(self, request: Any) -> Any:
        """Put the key into a request; as its `auth`, lest requests put one of ~/.netrc there."""
        key = _key(self._key_env)
        if key:
            request.headers["Authorization"] = f"Bearer {key}"
        return request

    def _refuse(self, answer: requests.Response, content: bytes) -> None:
        """Turn an error of the server into one of ours."""
        key = _key(self._key_env)
        text = content[:_SHOWN].decode(errors="replace")
        said = " ".join((text.replace(key, "***") if key else text).split())[:200]
        status = answer.status_code
        if 300 <= status < 400:
            place = without_secrets(str(answer.headers.get("Location", "")))[:200]
            raise UsageError(
                f"{self._url} answered {status}: it has moved to {place!r}, which is not followed; "
                "if that is where texts and key may go, set it as the URL"
            )
        large = any(sign in said.lower() for sign in _TOO_LARGE)
        if status == 413 or (status in (400, 422) and large):
            raise _TooLarge(f"{status} {said}")
        if status in (401, 403):
            raise UsageError(
                f"{self._url} refused the key ({status}); put a good one into the environment "
                f"variable {self._key_env}"
            )
        if status in _AGAIN:
            raise EngineError(
                f"{self._url} answered {status} to each of {self._retries + 1} tries ({said}); "
                "what is embedded is kept, run the same command again"
            )
        raise UsageError(f"{self._url} answered {status}: {said}; check model.options")

    def _vectors(self, content: bytes, count: int) -> list[NDArray[np.float32]]:
        """Return the vectors of an answer in the order of the texts."""
        try:
            data = sorted(json.loads(content)["data"], key=lambda one: int(one["index"]))
            places = [int(one["index"]) for one in data]
            rows = [_vector(one["embedding"]) for one in data]
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            shown = content[:60].decode(errors="replace")
            raise EngineError(
                f"{self._url} sent no embeddings in the OpenAI shape ({type(error).__name__}: "
                f"{shown!r}); check the URL"
            ) from None
        if places != list(range(count)):
            raise EngineError(
                f"{self._url} sent {len(places)} embeddings for {count} texts; check the server"
            )
        return rows

    def facts(self) -> Mapping[str, Any]:
        """Return what decides the vectors: server, model, dimensions."""
        return {
            "version": _VERSION,
            "url": self._url,
            "model": self._body["model"],
            "dimensions": self._dimensions,
            "headers": dict(sorted(self._headers.items())),
        }


def _vector(value: Any) -> NDArray[np.float32]:
    if isinstance(value, str):
        return np.frombuffer(base64.b64decode(value), dtype="<f4")
    # None becomes NaN, which the store refuses with the row's name; so does what is too large
    with np.errstate(over="ignore"):
        vector = np.asarray(value, dtype=np.float32)
    if vector.ndim != 1:
        raise ValueError(f"a vector of {vector.ndim} axes")
    return vector


def _key(name: str) -> str | None:
    """Return the key that an environment variable holds, refusing what no header can hold.

    What is raised elsewhere would show it.
    """
    key = os.environ.get(name)
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise UsageError(
            f"the variable {name} holds no key: there are blanks, line ends or other characters "
            "in it that no key has; correct it"
        )
    return key


def _check_headers(headers: Mapping[str, Any]) -> None:
    for name, value in headers.items():
        if any(word in name.lower() for word in _SECRET_HEADERS):
            raise UsageError(
                f"model.options.headers: no {name} there, for options stand in the manifest; "
                "use key_env"
            )
        if not (isinstance(value, str) and name.isascii() and f"{name}{value}".isprintable()):
            raise UsageError(
                f"model.options.headers: {name!r} must be text, without line ends and the like"
            )


def _reason(error: Exception) -> str:
    """Say in a few words why there was no answer."""
    inner = error.args[0] if error.args else error
    return " ".join(str(getattr(inner, "reason", inner)).split())[:160]
