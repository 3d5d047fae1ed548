"""URLs of object storage: how to recognise them, and the local folders that belong to them.

A URL must not contain credentials. They come from the environment, so that they cannot get into a
manifest, a log or an error message.
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
    "errors_name_urls",
    "expanded",
    "fetched_folder",
    "is_url",
    "local_root",
    "url_name",
    "work_home",
]

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_KEY = 16
"""Hexadecimal digits of the digest in a folder's name."""
_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_STORAGE_ACCOUNT_NAME"),
}
"""Environment variables that say where buckets are; the first one that is set counts.

Azure containers belong to an account, so its name counts too.
"""


def is_url(path: object) -> bool:
    """Return whether a path is a URL (``scheme://...``)."""
    return _URL.match(str(path)) is not None


def check_url(url: str, key: str) -> str:
    """Return a URL in normal form: lower-case scheme, no slash at the end.

    Parameters
    ----------
    url : str
    key : str
        The job key or option that has the URL, for messages.

    Raises
    ------
    UsageError
        If the URL contains credentials or names no bucket.
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
    """Return a path with ``~`` and ``~name`` expanded.

    Raises
    ------
    UsageError
        If the user does not exist, or the home folder of this user is unknown.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{path}: {error}; write the path out, or set HOME") from error


def work_home() -> Path:
    """Return the local folder for work on object storage: MINE_WORK, or one in the user's cache."""
    named = os.environ.get("MINE_WORK")
    if named:
        return expanded(named).absolute()
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else expanded("~/.cache")).absolute() / "mine"


def _digest(text: str) -> str:
    """Return a short digest of a text that begins with a URL, and of the endpoint in use."""
    names = _ENDPOINTS.get(text.partition("://")[0], _ENDPOINTS["s3"])
    endpoint = next((found for name in names if (found := os.environ.get(name))), "")
    return hashlib.sha256(f"{endpoint}\n{text}".encode()).hexdigest()[:_KEY]


def local_root(path: str | Path) -> Path:
    """Return the local work folder of an output; a local output is its own work folder."""
    if not is_url(path):
        return Path(path)
    url = check_url(str(path), "output.path")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", url.partition("://")[2])[-40:].strip("-.")
    return work_home() / "out" / f"{name}-{_digest(url)}"


def fetched_folder(url: str, version: str) -> Path:
    """Return the local folder for a copy of objects; each `version` has its own folder."""
    return work_home() / "fetched" / f"{url.partition('://')[0]}-{_digest(version)}"


def url_name(text: str) -> str:
    """Replace the paths of fetched copies in a text by the URLs they were fetched from."""
    root = re.escape(str(work_home() / "fetched"))
    return re.sub(rf"{root}/([a-z0-9+.-]+)-[0-9a-f]{{{_KEY}}}(\.partial)?/", r"\1://", text)


@contextmanager
def errors_name_urls() -> Iterator[None]:
    """Let errors inside the block name the URL that the user gave, not the path of its copy."""
    try:
        yield
    except MineError as error:
        message = url_name(str(error))
        if message == str(error):
            raise
        raise type(error)(message) from error
