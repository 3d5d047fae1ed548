"""Buckets by obstore: made of what the environment says, called with one-line errors.

Credentials, region and endpoint are obstore's affair, which reads ``AWS_ACCESS_KEY_ID``,
``GOOGLE_APPLICATION_CREDENTIALS``, ``AZURE_STORAGE_ACCOUNT_NAME`` and so on. Of AWS it reads no
profiles: where one would have been used, an error says what to do.
"""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import timedelta
from typing import Any, TypeVar

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    InvalidPathError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import AzureStore, GCSStore, S3Store

from miner.errors import DataError, StorageError
from miner.formatting import without_secrets
from miner.storage.remote.base import TRIES, Changed, Exists, Folder, Missing

__all__ = ["Bucket", "bucket_folder"]

_BUCKET = re.compile(r"[A-Za-z0-9._-]+")
_ENDPOINT = re.compile(r"https?://[!-~]+")
_STORES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "s3": (S3Store, ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")),
    "gs": (GCSStore, ("GOOGLE_BASE_URL",)),
    "az": (AzureStore, ("AZURITE_BLOB_STORAGE_URL", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")),
}
"""By the scheme of a URL what obstore calls it, and what may name its endpoint, the first first."""

_NO_CREDENTIALS = {
    "s3": "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (profiles are not read: "
    "`aws configure export-credentials --format env` prints one as such variables)",
    "gs": "no credentials; set GOOGLE_APPLICATION_CREDENTIALS",
    "az": "no credentials; set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_KEY",
}
_SOUGHT = re.compile(
    r"Missing (Secret)?AccessKey|/latest/(api|meta-data)/|/computeMetadata/|/identity/"
)
"""obstore finds half of the credentials, or asks the machine's cloud for some and gets none."""
_MEANINGS = {
    ">NoSuchBucket<": "there is no such bucket; make it, or correct the name",
    ">ContainerNotFound<": "there is no such container; make it, or correct the name",
    ">InvalidAccessKeyId<": "the access key is not known there; check AWS_ACCESS_KEY_ID",
    ">SignatureDoesNotMatch<": "the secret key does not fit; check AWS_SECRET_ACCESS_KEY",
    ">ExpiredToken<": "the credentials have expired; get new ones",
    ">NotImplemented<": "this store lacks what is needed (a conditional put); use another",
    "without LOCATION": "the bucket is in another region; set AWS_REGION",
    "Account must be specified": "no account; set AZURE_STORAGE_ACCOUNT_NAME",
    "InvalidCertificate": "its certificate is not trusted here; set SSL_CERT_FILE to yours",
    "TimedOut": "no answer came in time; the same command continues from here",
}
"""What errors mean, by the code in a store's answer or some of obstore's own words."""
_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)
_SETTINGS = ("AWS_", "GOOGLE_", "AZURE_", "AZURITE_")
_DETAILS = "\n\nDebug source:"
_KINDS = (
    (FileNotFoundError, Missing),
    (AlreadyExistsError, Exists),
    (PreconditionError, Changed),
)
_PROCESS = os.getpid()
"""Where the threads of obstore run: in the process that first opens a bucket."""

T = TypeVar("T")


def _meaning(error: Exception, scheme: str) -> str:
    """Return what an error is known to mean and what to do, empty for one of no known words."""
    said = str(error)
    if _SOUGHT.search(said.partition(_DETAILS)[0]):
        return _NO_CREDENTIALS[scheme]
    return next((meaning for words, meaning in _MEANINGS.items() if words in said), "")


def _reason(error: Exception) -> str:
    """Return what went wrong and what to do, without the queries of URLs, which may be signed."""
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return "access is denied; check the credentials and the bucket's policy"
    if isinstance(error, ValueError):
        return "that is no name of an object; correct it"
    told, _, details = str(error).partition(_DETAILS)
    if answer := re.search(r"<Code>(\w+)</Code>.*?<Message>(.*?)[\n<]", told, re.DOTALL):
        told = f"{answer[1]}: {answer[2]}"
    elif cause := re.search(r'(?:message|error): "([^"]+)"', details):
        told = f"{told} ({cause[1]})"
    said = without_secrets(re.sub(r"(://[^\s?]*)\?\S*", r"\1", " ".join(told.split())))
    return f"{said[:300].rstrip('.')}; the same command continues from here"


def bucket_folder(url: str) -> Folder:
    """Return the folder of a bucket at a URL."""
    scheme, _, rest = url.partition("://")
    return Folder(url, Bucket(f"{scheme}://{rest.partition('/')[0]}"))


class Bucket:
    """A bucket: its store of obstore, the same one while the environment is the same.

    Parameters
    ----------
    url : str
        ``s3://BUCKET``, ``gs://BUCKET`` or ``az://CONTAINER``.

    Raises
    ------
    StorageError
        When the environment holds what cannot be followed, or no credentials.
    """

    def __init__(self, url: str) -> None:
        settings = sorted(item for item in os.environ.items() if item[0].startswith(_SETTINGS))
        self.store = self.call(url, lambda: _store(url, tuple(settings)))

    @staticmethod
    def call(url: str, operation: Callable[[], T]) -> T:
        """Return what a call of obstore returns.

        Raises
        ------
        StorageError
            In one line that names the URL and no secret.
        DataError
            When a listing meets a name that obstore cannot read.
        """
        if os.getpid() != _PROCESS:  # its threads are missing here: it would wait for ever
            raise StorageError(
                f"{url} cannot be read in a forked process; start processes by spawn"
            )
        try:
            return _interruptible(operation)
        except InvalidPathError as error:
            name = re.search(r'Path "(.*?)"', str(error))
            raise DataError(
                f"{url}: no file can have such a name as {name and name[1]!r}; rename the object"
            ) from None
        except (BaseError, OSError, ValueError) as error:
            meaning = _meaning(error, url.partition("://")[0])
            found = (ours for theirs, ours in _KINDS if isinstance(error, theirs))
            kind = StorageError if meaning else next(found, StorageError)
            # Not chained: what obstore says holds the URLs of requests, signatures included.
            raise kind(f"{url}: {meaning or _reason(error)}") from None


def _interruptible(operation: Callable[[], T]) -> T:
    """Return what an operation returns; a signal ends the wait, as it does not in Rust's code."""
    if threading.current_thread() is not threading.main_thread():
        return operation()
    outcome: Future[T] = Future()

    def work() -> None:
        try:
            outcome.set_result(operation())
        except BaseException as error:
            outcome.set_exception(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(1)  # not for ever: a signal that comes just before that begins is not heard
    return outcome.result()


@functools.lru_cache(maxsize=4)
def _store(url: str, environment: tuple[tuple[str, str], ...]) -> Any:
    scheme, _, bucket = url.partition("://")
    if not _BUCKET.fullmatch(bucket):
        raise StorageError(f"{url}: that is no name of a bucket; correct it")
    make, endpoints = _STORES[scheme]
    endpoint = next((name for name in endpoints if os.environ.get(name)), "")
    if endpoint and not _ENDPOINT.fullmatch(os.environ[endpoint]):
        raise StorageError(f"{url}: {endpoint} is no URL of http:// or https://; correct it")
    tries = os.environ.get("AWS_MAX_ATTEMPTS", str(TRIES))
    if not tries.isdecimal() or tries == "0":
        raise StorageError(f"{url}: AWS_MAX_ATTEMPTS = {tries!r} is no number of tries; correct it")
    if scheme == "s3" and not any(os.environ.get(name) for name in _CREDENTIALS) and _elsewhere():
        raise StorageError(f"{url}: {_NO_CREDENTIALS['s3']}")
    return make(
        bucket,
        client_options={
            "allow_http": os.environ.get(endpoint, "").startswith("http:"),
            "connect_timeout": timedelta(seconds=10),
            "read_timeout": timedelta(seconds=60),
            "timeout": timedelta(days=1),  # of a whole object
        },
        retry_config={
            "max_retries": int(tries) - 1,
            "backoff": {
                "init_backoff": timedelta(seconds=0.1),
                "base": 4,
                "max_backoff": timedelta(seconds=10),
            },
        },
    )


def _elsewhere() -> bool:
    """Whether credentials of AWS are a profile's, or there are none: obstore would ask EC2."""
    file = os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    disabled = os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true"
    return (
        disabled or bool(os.environ.get("AWS_PROFILE")) or os.path.exists(os.path.expanduser(file))
    )
