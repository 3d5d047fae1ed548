"""HTTP requests that are repeated while the server is busy and given up at a deadline."""

from __future__ import annotations

import math
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import requests
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ReadTimeoutError

from miner.errors import EngineError, UsageError
from miner.formatting import bytes_text

__all__ = ["Answer", "Client", "Stopped", "read_key"]

_BUSY = (408, 425, 429)
"""Statuses after which a request is repeated, in addition to all from 500 on."""
_LOST = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
_CHUNK, _SHOWN = 1 << 16, 4096
_DEADLINE = 10
"""Most time of one request in all, as a multiple of the timeout."""
_FIRST_PAUSE = 0.2
"""Seconds before the second try; the pauses double, up to `_DOUBLINGS` times."""
_DOUBLINGS = 9
_LONGEST_PAUSE = 600.0
"""Seconds; a longer pause in ``Retry-After`` is cut to this."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a server."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Stopped(Exception):
    """Raised when the caller needs no answer any more."""


class Client:
    """Sends POST requests to one URL; may be shared by threads.

    Parameters
    ----------
    url : str
    headers : mapping
    key_env : str
        The environment variable that may hold the key.
    timeout : float
        Seconds without a byte after which a try fails; a request that takes `_DEADLINE` times as
        long is given up.
    retries : int
        How often a request is repeated.
    per_minute : float
        Most requests in a minute; 0 for no limit.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        key_env: str,
        timeout: float,
        retries: int,
        per_minute: float,
    ) -> None:
        self.url = url
        self._headers, self._key_env = headers, key_env
        self._timeout, self._retries = timeout, retries
        self._gate = _Gate(per_minute)
        self._local = threading.local()

    def post(self, body: Mapping[str, Any], most: int, stop: Future[None]) -> Answer:
        """Post a body as JSON.

        Parameters
        ----------
        body : mapping
        most : int
            Most bytes of an answer.
        stop : Future
            Once it is done, the request is given up.

        Returns
        -------
        Answer
            An answer that another try would not change; its status may be an error.

        Raises
        ------
        EngineError
            If all tries failed, the deadline passed, or the answer is too large.
        Stopped
            If `stop` is done.
        """
        failures: list[str] = []
        while True:
            self._gate.wait(stop)
            try:
                answer = self._try(body, most, stop)
            except _LOST as error:
                failures.append(self._reason(error))
                asked = None
            except requests.exceptions.InvalidURL as error:
                raise UsageError(
                    f"{self.url} is no URL ({self._reason(error)}); correct it"
                ) from None
            except (requests.RequestException, HTTPError) as error:
                raise EngineError(
                    f"{self.url} sent an answer that cannot be read ({self._reason(error)}); check "
                    "the URL and the server"
                ) from None
            else:
                failure = self._failure(answer)
                if failure is None:
                    return answer
                failures.append(failure)
                asked = _asked_pause(answer.headers.get("Retry-After"))
            if len(failures) > self._retries:
                raise EngineError(self._gave_up(failures))
            _sleep(_growing_pause(len(failures)) if asked is None else asked, stop)

    def said(self, content: bytes) -> str:
        """Return the beginning of an answer on one line, with the key masked."""
        text, key = content[:_SHOWN].decode(errors="replace"), read_key(self._key_env)
        return " ".join((text.replace(key, "***") if key else text).split())[:200]

    def _try(self, body: Mapping[str, Any], most: int, stop: Future[None]) -> Answer:
        """Send a request once, in a new thread, so that waiting for it can have a deadline."""
        session = getattr(self._local, "session", None) or requests.Session()
        self._local.session = None  # until the thread no longer uses it
        call = _in_thread(lambda: self._send(session, body, most))
        either: tuple[Future[Any], ...] = (call, stop)
        wait(either, _DEADLINE * self._timeout, FIRST_COMPLETED)
        if stop.done():
            raise Stopped
        if not call.done():
            raise EngineError(
                f"{self.url} took more than {_DEADLINE} x {self._timeout:g} s for one answer; "
                "check the server, or raise model.options.timeout"
            )
        self._local.session = session
        return call.result()

    def _send(self, session: requests.Session, body: Mapping[str, Any], most: int) -> Answer:
        # Redirects are not followed: the texts and the key must not reach another server.
        with session.post(
            self.url,
            json=body,
            headers=self._headers,
            auth=self._sign,
            timeout=self._timeout,
            stream=True,
            allow_redirects=False,
        ) as answer:
            content = bytearray()
            for part in answer.iter_content(_CHUNK):
                content += part
                if len(content) > most:
                    raise EngineError(
                        f"{self.url} sent an answer of more than {bytes_text(most)}; check the "
                        "server"
                    )
            return Answer(answer.status_code, answer.headers, bytes(content))

    def _failure(self, answer: Answer) -> str | None:
        """Return why an answer has failed in a way that another try may change; None otherwise."""
        if answer.status >= 500 or answer.status in _BUSY:
            said = self.said(answer.content)
            return f"status {answer.status}" + (f" ({said})" if said else "")
        if answer.status == 200 and not answer.content:  # it may have died after its headers
            return "an empty answer"
        return None

    def _sign(self, request: Any) -> Any:
        """Add the key to a request. As `auth`, it keeps `requests` from using ~/.netrc."""
        key = read_key(self._key_env)
        if key:
            request.headers["Authorization"] = f"Bearer {key}"
        return request

    def _gave_up(self, failures: list[str]) -> str:
        """Return the message for a request whose tries have all failed, with their reasons."""
        tries = "1 try" if len(failures) == 1 else f"{len(failures)} tries"
        what = ", ".join(f"{count} x {reason}" for reason, count in Counter(failures).items())
        return (
            f"{self.url} gave no answer of use in {tries}: {what[:500]}; what was embedded "
            "before the last probe of the model is kept, run the same command again"
        )

    def _reason(self, error: BaseException) -> str:
        """Return in a few words why there was no answer, from the innermost error."""
        inner: Any = error
        while isinstance(deeper := _deeper(inner), Exception):
            inner = deeper
        if isinstance(inner, ConnectTimeoutError) and not isinstance(inner, NewConnectionError):
            return f"no connection within {self._timeout:g} s"
        if isinstance(inner, ReadTimeoutError | TimeoutError):
            return f"nothing sent for {self._timeout:g} s"
        return " ".join(f"{type(inner).__name__}: {inner}".split())[:160]


class _Gate:
    """Limits the rate of requests; shared by threads."""

    def __init__(self, per_minute: float) -> None:
        self._pause = 60.0 / per_minute if per_minute else 0.0
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self, stop: Future[None]) -> None:
        """Sleep until it is this request's turn."""
        with self._lock:
            turn = max(self._next, time.monotonic())
            self._next = turn + self._pause
        _sleep(turn - time.monotonic(), stop)


def read_key(name: str) -> str | None:
    """Return the key in an environment variable; None if it is not set.

    A key that an HTTP header cannot hold is refused here, because the errors of other libraries
    would show it.
    """
    key = os.environ.get(name)
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        raise UsageError(
            f"the variable {name} holds no valid key: it has blanks, line ends or other "
            "characters that no key has; correct it"
        )
    return key


def _in_thread(call: Callable[[], Answer]) -> Future[Answer]:
    """Run `call` in a daemon thread, for which the exit of the process does not wait."""
    future: Future[Answer] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # raised in the thread that reads the result
            future.set_exception(error)

    threading.Thread(target=work, name="mine-http-request", daemon=True).start()
    return future


def _sleep(seconds: float, stop: Future[None]) -> None:
    wait((stop,), max(0.0, seconds))
    if stop.done():
        raise Stopped


def _growing_pause(failures: int) -> float:
    """Return the seconds to wait after the nth failure, with up to 10 % of random jitter."""
    chance = 1 + secrets.randbelow(100) / 1000
    return _FIRST_PAUSE * float(2 ** min(failures - 1, _DOUBLINGS)) * chance


def _asked_pause(retry_after: str | None) -> float | None:
    """Return the seconds to wait by a header ``Retry-After``, at most `_LONGEST_PAUSE`.

    The header is a number or a date (RFC 9110, 10.2.3). None if it is missing, invalid or in the
    past.
    """
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return None if math.isnan(seconds) or seconds < 0 else min(seconds, _LONGEST_PAUSE)


def _deeper(error: Any) -> Any:
    """Return the error that an error wraps; None if it wraps none."""
    wrapped = [getattr(error, "reason", None), *reversed(getattr(error, "args", ()))]
    return next((one for one in wrapped if isinstance(one, Exception)), None)
