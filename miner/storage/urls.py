"""URLs of object storage: which paths are URLs, and where work for them lies on this machine.

A URL names what is stored, never who may read it: credentials come from the environment, so that
none can reach a manifest, a log or an error line.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from miner.errors import MineError, UsageError
from miner.formatting import without_secrets

__all__ = [
    "check_url",
    "expanded",
    "fetched_folder",
    "is_url",
    "local_root",
    "named_by_url",
    "url_name",
    "work_home",
]

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_KEY = 16
"""Hexadecimal digits of a digest in the name of a folder."""
_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_STORAGE_ACCOUNT_NAME"),
}
"""What may name the place of buckets, the first that is set: containers are an account's."""


def is_url(path: object) -> bool:
    """Whether a path is a URL: ``scheme://...``."""
    return _URL.match(str(path)) is not None


def check_url(url: str, key: str) -> str:
    """Return a URL in its one spelling: lower-case scheme, no slash at the end.

    Parameters
    ----------
    url : str
    key : str
        The job key or option that it comes from, for the message.

    Raises
    ------
    UsageError
        When it holds credentials or names no bucket.
    """
    match = _URL.match(url)
    if match is None:
        raise UsageError(f"{key} = {url!r} is not a URL such as s3://bucket/folder")
    scheme, rest = match[1].lower(), match[2].rstrip("/")
    if "@" in rest.split("/")[0]:
        raise UsageError(
            f"{key} = {without_secrets(url)!r} was given with credentials; take them out: they "
            "come from the environment (AWS_ACCESS_KEY_ID and so on)"
        )
    if not rest:
        raise UsageError(f"{key} = {url!r} names no bucket; write {scheme}://BUCKET/FOLDER")
    return f"{scheme}://{rest}"


def expanded(path: str | Path) -> Path:
    """Return a path with ``~`` and ``~name`` written out.

    Raises
    ------
    UsageError
        When there is no such user, or the machine knows no home of ours.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{path}: {error}; write the path out, or set HOME") from error


def work_home() -> Path:
    """Return where work for object storage lies: MINE_WORK, or a folder of the user's caches."""
    named = os.environ.get("MINE_WORK")
    if named:
        return expanded(named).absolute()
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else expanded("~/.cache")).absolute() / "mine"


def _digest(text: str) -> str:
    """Shorten a text that begins with a URL; the same at another endpoint is another place."""
    names = _ENDPOINTS.get(text.partition("://")[0], _ENDPOINTS["s3"])
    endpoint = next((found for name in names if (found := os.environ.get(name))), "")
    return hashlib.sha256(f"{endpoint}\n{text}".encode()).hexdigest()[:_KEY]


def local_root(path: str | Path) -> Path:
    """Return where work for an output lies on this machine: the folder itself, if it is local."""
    if not is_url(path):
        return Path(path)
    url = check_url(str(path), "output.path")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", url.partition("://")[2])[-40:].strip("-.")
    return work_home() / "out" / f"{name}-{_digest(url)}"


def fetched_folder(url: str, version: str) -> Path:
    """Return where a copy of some objects lies, one folder a version of them."""
    return work_home() / "fetched" / f"{url.partition('://')[0]}-{_digest(version)}"


def url_name(text: str) -> str:
    """Put the URLs into a text in place of the paths of fetched copies."""
    root = re.escape(str(work_home() / "fetched"))
    return re.sub(rf"{root}/([a-z0-9+.-]+)-[0-9a-f]{{{_KEY}}}(\.partial)?/", r"\1://", text)


@contextmanager
def named_by_url() -> Iterator[None]:
    """Let errors name what was asked for, not where its copy lies."""
    try:
        yield
    except MineError as error:
        told = url_name(str(error))
        if told == str(error):
            raise
        raise type(error)(told) from error
