"""Requests to a server that end: tried again while it is busy, given up at a deadline."""

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
"""Statuses after which a request is sent again, in addition to all from 500 on."""
_LOST = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
_CHUNK, _SHOWN = 1 << 16, 4096
_DEADLINE = 10
"""Times the timeout: what one request may take in all, whatever the server sends meanwhile."""
_FIRST_PAUSE = 0.2
"""Seconds before the second try; the pauses double, up to `_DOUBLINGS` times."""
_DOUBLINGS = 9
_LONGEST_PAUSE = 600.0
"""Seconds; a server may ask for more."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Stopped(Exception):
    """The caller wants no answer any more."""


class Client:
    """Posts to one URL; threads may share it.

    Parameters
    ----------
    url : str
    headers : mapping
    key_env : str
        The environment variable that holds the key, if there is one.
    timeout : float
        Seconds without a byte after which a try has failed; a request that takes `_DEADLINE` times
        as long is given up.
    retries : int
        How often a request is sent again.
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
            Bytes that an answer may have.
        stop : Future
            When it is done, no answer is wanted any more.

        Returns
        -------
        Answer
            With a status that no further try would change.

        Raises
        ------
        EngineError
            When all tries failed, the deadline passed, or the answer is too large.
        Stopped
            When `stop` is done.
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
        """Return the beginning of an answer on one line, without the key."""
        text, key = content[:_SHOWN].decode(errors="replace"), read_key(self._key_env)
        return " ".join((text.replace(key, "***") if key else text).split())[:200]

    def _try(self, body: Mapping[str, Any], most: int, stop: Future[None]) -> Answer:
        """Send a request once, in a thread of its own: reading has no deadline, waiting has."""
        session = getattr(self._local, "session", None) or requests.Session()
        self._local.session = None  # until the thread is known to have done with it
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
        # Not to another place: neither the texts nor the key are meant for it.
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
        """Say what is wrong with an answer that another try may change."""
        if answer.status >= 500 or answer.status in _BUSY:
            said = self.said(answer.content)
            return f"status {answer.status}" + (f" ({said})" if said else "")
        if answer.status == 200 and not answer.content:  # it may have died among its headers
            return "an empty answer"
        return None

    def _sign(self, request: Any) -> Any:
        """Put the key into a request; as its `auth`, lest requests put one of ~/.netrc there."""
        key = read_key(self._key_env)
        if key:
            request.headers["Authorization"] = f"Bearer {key}"
        return request

    def _gave_up(self, failures: list[str]) -> str:
        """Say what happened in each try."""
        tries = "1 try" if len(failures) == 1 else f"{len(failures)} tries"
        what = ", ".join(f"{count} x {reason}" for reason, count in Counter(failures).items())
        return (
            f"{self.url} gave no answer of use in {tries}: {what[:500]}; what was embedded "
            "before the last probe of the model is kept, run the same command again"
        )

    def _reason(self, error: BaseException) -> str:
        """Say in a few words why there was no answer: by the innermost error."""
        inner: Any = error
        while isinstance(deeper := _deeper(inner), Exception):
            inner = deeper
        if isinstance(inner, ConnectTimeoutError) and not isinstance(inner, NewConnectionError):
            return f"no connection within {self._timeout:g} s"
        if isinstance(inner, ReadTimeoutError | TimeoutError):
            return f"nothing sent for {self._timeout:g} s"
        return " ".join(f"{type(inner).__name__}: {inner}".split())[:160]


class _Gate:
    """Lets requests through at most at a rate; shared by threads."""

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


def _in_thread(call: Callable[[], Answer]) -> Future[Answer]:
    """Call in a thread that the end of the process does not wait for."""
    future: Future[Answer] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # it is raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=work, name="mine-http-request", daemon=True).start()
    return future


def _sleep(seconds: float, stop: Future[None]) -> None:
    wait((stop,), max(0.0, seconds))
    if stop.done():
        raise Stopped


def _growing_pause(failures: int) -> float:
    """Return the seconds to wait after the nth failure; by chance a little longer."""
    chance = 1 + secrets.randbelow(100) / 1000
    return _FIRST_PAUSE * float(2 ** min(failures - 1, _DOUBLINGS)) * chance


def _asked_pause(retry_after: str | None) -> float | None:
    """Return the seconds that a header asks for, within reason; None where it says nothing.

    It may be a number or a date (RFC 9110, 10.2.3). What is neither, or lies in the past, says
    nothing.
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
    """Return the error that an error tells of, if it does."""
    told = [getattr(error, "reason", None), *reversed(getattr(error, "args", ()))]
    return next((one for one in told if isinstance(one, Exception)), None)
