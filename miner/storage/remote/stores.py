"""Access to buckets with obstore, with errors of one line.

obstore takes credentials, region and endpoint from the environment (``AWS_ACCESS_KEY_ID``,
``GOOGLE_APPLICATION_CREDENTIALS``, ``AZURE_STORAGE_ACCOUNT_NAME`` and so on). It does not read AWS
profiles; where only a profile exists, an error says what to do.
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
"""For each URL scheme: the store class, and the variables that may name its endpoint, in order."""

_NO_CREDENTIALS = {
    "s3": "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (profiles are not read: "
    "`aws configure export-credentials --format env` prints one as such variables)",
    "gs": "no credentials; set GOOGLE_APPLICATION_CREDENTIALS",
    "az": "no credentials; set AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_KEY",
}
_SOUGHT = re.compile(
    r"Missing (Secret)?AccessKey|/latest/(api|meta-data)/|/computeMetadata/|/identity/"
)
"""Errors of obstore if credentials are incomplete, or the machine's cloud does not supply any."""
_MEANINGS = {
    ">NoSuchBucket<": "this bucket does not exist; create it, or correct the name",
    ">ContainerNotFound<": "this container does not exist; create it, or correct the name",
    ">InvalidAccessKeyId<": "the store does not know the access key; check AWS_ACCESS_KEY_ID",
    ">SignatureDoesNotMatch<": "the secret key is wrong; check AWS_SECRET_ACCESS_KEY",
    ">ExpiredToken<": "the credentials have expired; get new ones",
    ">NotImplemented<": "this store does not support conditional puts; use another store",
    "without LOCATION": "the bucket is in another region; set AWS_REGION",
    "Account must be specified": "no account; set AZURE_STORAGE_ACCOUNT_NAME",
    "InvalidCertificate": "its certificate is not trusted; set SSL_CERT_FILE to your CA file",
    "TimedOut": "the store did not answer in time; the same command continues from here",
}
"""The meaning of errors, by a code in the store's response or a phrase in obstore's message."""
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
"""The process in which obstore's threads run; they do not exist in a forked process."""

T = TypeVar("T")


def _meaning(error: Exception, scheme: str) -> str:
    """Return the meaning of a known error and a remedy, or '' if the error is not known."""
    said = str(error)
    if _SOUGHT.search(said.partition(_DETAILS)[0]):
        return _NO_CREDENTIALS[scheme]
    return next((meaning for words, meaning in _MEANINGS.items() if words in said), "")


def _reason(error: Exception) -> str:
    """Return what went wrong and a remedy, without URL queries, which may contain signatures."""
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return "access is denied; check the credentials and the bucket's policy"
    if isinstance(error, ValueError):
        return "this is not a valid name of an object; correct it"
    text, _, details = str(error).partition(_DETAILS)
    if answer := re.search(r"<Code>(\w+)</Code>.*?<Message>(.*?)[\n<]", text, re.DOTALL):
        text = f"{answer[1]}: {answer[2]}"
    elif cause := re.search(r'(?:message|error): "([^"]+)"', details):
        text = f"{text} ({cause[1]})"
    line = without_secrets(re.sub(r"(://[^\s?]*)\?\S*", r"\1", " ".join(text.split())))
    return f"{line[:300].rstrip('.')}; the same command continues from here"


def bucket_folder(url: str) -> Folder:
    """Return the `Folder` at a URL."""
    scheme, _, rest = url.partition("://")
    return Folder(url, Bucket(f"{scheme}://{rest.partition('/')[0]}"))


class Bucket:
    """A bucket and its obstore store, which is reused while the environment does not change.

    Parameters
    ----------
    url : str
        ``s3://BUCKET``, ``gs://BUCKET`` or ``az://CONTAINER``.

    Raises
    ------
    StorageError
        If a variable of the environment is not valid, or there are no credentials.
    """

    def __init__(self, url: str) -> None:
        settings = sorted(item for item in os.environ.items() if item[0].startswith(_SETTINGS))
        self.store = self.call(url, lambda: _store(url, tuple(settings)))

    @staticmethod
    def call(url: str, operation: Callable[[], T]) -> T:
        """Run an operation of obstore and return its result.

        Raises
        ------
        StorageError
            If it fails; the message is one line with the URL and without secrets.
        DataError
            If a listing contains a name that obstore cannot read.
        """
        if os.getpid() != _PROCESS:  # obstore's threads do not exist here: it would block
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
            # Not chained: obstore's message contains URLs of requests with their signatures.
            raise kind(f"{url}: {meaning or _reason(error)}") from None


def _interruptible(operation: Callable[[], T]) -> T:
    """Run an operation in a thread, so that a signal can interrupt it; Rust code cannot be."""
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
        thread.join(1)  # a limit, because a signal just before `join` would not wake it
    return outcome.result()


@functools.lru_cache(maxsize=4)
def _store(url: str, environment: tuple[tuple[str, str], ...]) -> Any:
    scheme, _, bucket = url.partition("://")
    if not _BUCKET.fullmatch(bucket):
        raise StorageError(f"{url}: this is not a valid name of a bucket; correct it")
    make, endpoints = _STORES[scheme]
    endpoint = next((name for name in endpoints if os.environ.get(name)), "")
    if endpoint and not _ENDPOINT.fullmatch(os.environ[endpoint]):
        raise StorageError(f"{url}: {endpoint} is not a URL with http:// or https://; correct it")
    tries = os.environ.get("AWS_MAX_ATTEMPTS", str(TRIES))
    if not tries.isdecimal() or tries == "0":
        raise StorageError(f"{url}: AWS_MAX_ATTEMPTS = {tries!r} is not a number above 0; set one")
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
    """Return whether AWS credentials come from a profile, or EC2's metadata service is disabled.

    obstore does not read profiles; it would ask the metadata service instead.
    """
    file = os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    disabled = os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true"
    return (
        disabled or bool(os.environ.get("AWS_PROFILE")) or os.path.exists(os.path.expanduser(file))
    )
