"""A server with the OpenAI interface for embeddings: ``POST URL/embeddings`` returns vectors.

The interface is described at https://platform.openai.com/docs/api-reference/embeddings. vLLM, TEI,
Ollama, LiteLLM and others implement it too.
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Any, ClassVar
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from miner.embedding.models.base import Batch, Model
from miner.embedding.models.http_client import Answer, Client, read_key
from miner.errors import DataError, EngineError, UsageError
from miner.formatting import without_secrets

__all__ = ["Http"]

_VERSION = 1
_DEFAULT_KEY = "OPENAI_API_KEY"
_SECRET_HEADERS = ("authorization", "api-key", "apikey", "token", "secret", "password", "cookie")
_TOO_LARGE = ("too large", "too long", "too many", "maximum context", "batch size")
_MOST_BYTES, _MOST_BYTES_TEXT = 16 << 20, 1 << 20
"""Most bytes of an answer: a constant, and per text ten times any model's vector as JSON."""


class _TooLarge(Exception):
    """Raised when a request has too many or too long texts for the server."""


class Http(Model):
    """A remote text model, identified by its URL, its name and its canaries.

    Parameters
    ----------
    url : str
        Base URL, such as ``https://api.openai.com/v1``.
    model : str
        The model's name as the server knows it.
    key_env : str
        The environment variable that holds the key; default: ``OPENAI_API_KEY`` where it is set.
    headers : mapping, optional
        More headers, without secrets, because options are written to the manifest.
    dimensions : int, optional
        Dimensions to request; default: the server's.
    batch : int
        Most texts in a request.
    concurrency : int
        Most requests at a time.
    requests_per_minute : float
        0 for no limit.
    timeout : float
        Seconds without a byte after which a request fails. A request that takes ten times as long
        in all is given up, even while the server is still sending.
    retries : int
        How often a request is sent again, after growing pauses or the pause of ``Retry-After``.
    drift : float
        The greatest distance between two answers of the same model for one text, relative to the
        vector's length: servers round differently in different batches.
    """

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    argument: ClassVar[str] = "url"
    cache_id: ClassVar[str] = "miner.models.http:Http"
    answer: ClassVar[str] = "no embeddings in the OpenAI shape"
    """What a wrong answer is, in messages."""

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
        drift: float = 1e-3,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            shown = without_secrets(url)
            raise UsageError(f"model 'http': {shown!r} is not a URL such as https://host/v1")
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
        limits = {"requests_per_minute": requests_per_minute, "retries": retries, "drift": drift}
        for name, number in limits.items():
            if not 0 <= number < math.inf:
                raise UsageError(f"model.options.{name} = {number} must be 0 or more")
        if not 0 < timeout < math.inf:
            raise UsageError(
                f"model.options.timeout = {timeout} must be a number of seconds above 0"
            )
        self._url = self.endpoint(url.rstrip("/"))
        self._key_env = key_env or _DEFAULT_KEY
        if key_env and not os.environ.get(key_env):
            raise UsageError(f"model.options.key_env: the variable {key_env} is not set; export it")
        read_key(self._key_env)
        self._headers = dict(headers or {})
        self._body = {"model": model, "encoding_format": "float"}
        self._dimensions = dimensions
        self._batch, self.drift = batch, drift
        self._client = Client(
            self._url, self._headers, self._key_env, timeout, retries, requests_per_minute
        )
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="mine-http")

    @staticmethod
    def endpoint(base: str) -> str:
        """Return the URL of requests."""
        return base if base.endswith("/embeddings") else f"{base}/embeddings"

    def parts(self, texts: list[str]) -> list[list[str]]:
        """Return the texts of each request."""
        return [texts[i : i + self._batch] for i in range(0, len(texts), self._batch)]

    def body(self, texts: list[str]) -> dict[str, Any]:
        """Return the body of a request."""
        body: dict[str, Any] = {**self._body, "input": texts}
        return body if self._dimensions is None else {**body, "dimensions": self._dimensions}

    def read(self, content: bytes, count: int) -> list[NDArray[np.float32]]:
        """Return the vectors in an answer.

        Raises
        ------
        ValueError
            If the answer has another form.
        """
        return _vectors(content, count)

    def embed(self, batch: Batch) -> NDArray[np.floating]:
        """Embed texts, shape (b, dim), in requests of at most `batch` texts each."""
        parts = self.parts(list(batch))
        stop: Future[None] = Future()
        calls = [self._pool.submit(self._embed, part, stop) for part in parts]
        try:
            done, _ = wait(calls, return_when=FIRST_EXCEPTION)
            for call in calls:
                if call in done:
                    call.result()
        finally:
            stop.set_result(None)  # after an error or Ctrl-C, the other requests stop
        rows = [row for call in calls for row in call.result()]
        widths = {len(row) for row in rows}
        if len(widths) > 1:
            raise EngineError(
                f"{self._url} sent vectors of {sorted(widths)} dimensions; they must be of one"
            )
        return np.asarray(rows, dtype=np.float32)

    def _embed(self, texts: list[str], stop: Future[None]) -> list[NDArray[np.float32]]:
        try:
            return self._request(texts, stop)
        except _TooLarge as error:
            if len(texts) == 1:
                raise DataError(
                    f"{self._url} refuses the text {texts[0][:60]!r}... alone ({error}); shorten it"
                ) from None
            half = len(texts) // 2
            return self._embed(texts[:half], stop) + self._embed(texts[half:], stop)

    def _request(self, texts: list[str], stop: Future[None]) -> list[NDArray[np.float32]]:
        answer = self._client.post(
            self.body(texts), _MOST_BYTES + _MOST_BYTES_TEXT * len(texts), stop
        )
        if not 200 <= answer.status < 300:
            self._refuse(answer)
        try:
            return self.read(answer.content, len(texts))
        except (ValueError, OverflowError, RecursionError) as error:
            said = self._client.said(answer.content)[:100]
            raise EngineError(
                f"{self._url} sent {self.answer} ({error}); check the URL and "
                f"the server, which said {said!r}"
            ) from None

    def _refuse(self, answer: Answer) -> None:
        """Raise the error for an answer whose status is not a success."""
        said, status = self._client.said(answer.content), answer.status
        if 300 <= status < 400:
            place = without_secrets(str(answer.headers.get("Location", "")))[:200]
            raise UsageError(
                f"{self._url} answered {status}: it has moved to {place!r}, which is not followed; "
                "if texts and key may be sent there, set it as the URL"
            )
        large = any(sign in said.lower() for sign in _TOO_LARGE)
        if status == 413 or (status in (400, 422) and large):
            raise _TooLarge(f"{status} {said}")
        if status in (401, 403):
            raise UsageError(
                f"{self._url} refused the key ({status}); put a good one into the environment "
                f"variable {self._key_env}"
            )
        raise UsageError(f"{self._url} answered {status}: {said}; check model.options")

    def facts(self) -> Mapping[str, Any]:
        """Return the options that decide the vectors: server, model, dimensions, headers."""
        return {
            "version": _VERSION,
            "url": self._url,
            "model": self._body["model"],
            "dimensions": self._dimensions,
            "headers": dict(sorted(self._headers.items())),
        }


def _vectors(content: bytes, count: int) -> list[NDArray[np.float32]]:
    """Return the vectors of an answer in the order of the texts.

    Raises
    ------
    ValueError
        If it does not have one vector for each text. NumPy and the JSON parser raise others.
    """
    if not content.strip():
        raise ValueError("an empty answer")
    answer = json.loads(content)
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
        raise ValueError("no list 'data' of objects in it")
    vectors: dict[int, NDArray[np.float32]] = {}
    for place, one in enumerate(data):
        index = one.get("index")
        if type(index) is not int:
            raise ValueError(f"data[{place}] has the index {index!r:.40}, not a whole number")
        if index in vectors:
            raise ValueError(f"the index {index} comes twice")
        vectors[index] = _vector(one.get("embedding"), place)
    if len(vectors) != count:
        raise ValueError(f"{len(vectors)} embeddings for {count} texts")
    if strange := vectors.keys() - set(range(count)):
        raise ValueError(f"the index {min(strange)} for {count} texts, which count from 0")
    return [vectors[index] for index in range(count)]


def _vector(value: Any, place: int) -> NDArray[np.float32]:
    if isinstance(value, str) and value:
        return np.frombuffer(base64.b64decode(value, validate=True), dtype="<f4")
    # None becomes NaN, and too large a number infinity; `Embedder` refuses both and names the row
    if not isinstance(value, list) or not value or set(map(type, value)) - {int, float, type(None)}:
        raise ValueError(f"data[{place}] has no 'embedding' that is a list of numbers")
    with np.errstate(over="ignore"):
        return np.asarray(value, dtype=np.float32)


def _check_headers(headers: Mapping[str, Any]) -> None:
    for name, value in headers.items():
        if any(word in name.lower() for word in _SECRET_HEADERS):
            raise UsageError(
                f"model.options.headers: no {name} there, because options are written to the "
                "manifest; use key_env"
            )
        if not (isinstance(value, str) and name.isascii() and f"{name}{value}".isprintable()):
            raise UsageError(
                f"model.options.headers: {name!r} must be text, without line ends and the like"
            )
