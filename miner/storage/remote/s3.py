"""S3, and every store that speaks its protocol (MinIO, Ceph), by boto3.

Credentials, region and endpoint are botocore's affair: ``AWS_ACCESS_KEY_ID``,
``AWS_SECRET_ACCESS_KEY``, ``AWS_PROFILE``, ``AWS_REGION``, ``AWS_ENDPOINT_URL`` and so on.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from email.utils import parsedate_to_datetime
from itertools import islice
from pathlib import Path
from typing import Any

import boto3
import boto3.exceptions
import botocore.exceptions
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from miner.errors import StorageError
from miner.formatting import without_secrets
from miner.storage.remote.base import Entry, Folder, Unfinished

__all__ = ["S3Folder"]

_CHUNK = 1 << 20
_MULTIPART = 16 << 20
_TRIES = 5
_BATCH = 1000
"""Objects that one request may delete."""

_REASONS = {
    "NoSuchBucket": "there is no such bucket; make it, or correct the name",
    "AccessDenied": "access is denied; check the credentials and the bucket's policy",
    "403": "access is denied; check the credentials and the bucket's policy",
    "InvalidAccessKeyId": "the access key is not known there; check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key does not fit; check AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "the credentials have expired; get new ones",
    "NotImplemented": "this store lacks what is needed (a conditional put); use another",
}
_GONE = ("404", "NoSuchKey", "NotFound")
_TRANSIENT = (
    botocore.exceptions.ResponseStreamingError,
    botocore.exceptions.IncompleteReadError,
    botocore.exceptions.HTTPClientError,
)


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Turn what botocore raises into one line that names the URL and no secret."""
    try:
        yield
    except (
        botocore.exceptions.BotoCoreError,
        botocore.exceptions.ClientError,
        boto3.exceptions.Boto3Error,
    ) as error:
        raise StorageError(f"{url}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(
        error, botocore.exceptions.NoCredentialsError | botocore.exceptions.TokenRetrievalError
    ):
        return "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    if isinstance(error, botocore.exceptions.ParamValidationError):
        return "that is no name of a bucket or an object; correct it"
    known = _REASONS.get(_code(error))
    if known:
        return known
    said = without_secrets(" ".join(str(error).split()))[:300].rstrip(".")
    return f"{said}; the same command goes on from here"


def _code(error: Exception) -> str:
    if isinstance(error, botocore.exceptions.ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return ""


@functools.lru_cache(maxsize=4)
def _client(environment: tuple[tuple[str, str], ...]) -> Any:
    """Make a client, one for all folders while the environment that it reads is the same."""
    chosen: dict[str, Any] = {"connect_timeout": 10, "read_timeout": 60, "max_pool_connections": 32}
    if "AWS_RETRY_MODE" not in os.environ:  # growing pauses with a random share
        tries = int(os.environ.get("AWS_MAX_ATTEMPTS", _TRIES))
        chosen["retries"] = {"mode": "standard", "total_max_attempts": tries}
    region = None
    if not (os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")):
        region = boto3.Session().region_name or "us-east-1"
    return boto3.Session().client("s3", region_name=region, config=Config(**chosen))


class S3Folder(Folder):
    """A prefix of a bucket."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.bucket, _, prefix = url.partition("://")[2].partition("/")
        self.base = f"{prefix}/" if prefix else ""
        environment = {k: v for k, v in os.environ.items() if k.startswith("AWS_")}
        with _told(url):
            try:
                self.client = _client(tuple(sorted(environment.items())))
            except ValueError as error:  # an endpoint that is no URL
                raise StorageError(f"{url}: {without_secrets(str(error))}") from error

    def _call(self, operation: Callable[..., Any], name: str, **arguments: Any) -> Any:
        with _told(f"{self.url}/{name}".rstrip("/")):
            return operation(Bucket=self.bucket, **arguments)

    def entries(self, under: str = "") -> list[Entry]:
        """List all objects whose name begins with `under`, in the order of their names."""
        pages = self.client.get_paginator("list_objects_v2")
        with _told(self.url):
            return [
                self._entry(found["Key"][len(self.base) :], found, "Size")
                for page in pages.paginate(Bucket=self.bucket, Prefix=self.base + under)
                for found in page.get("Contents", [])
            ]

    def _entry(self, name: str, found: Any, size: str) -> Entry:
        tag = found["ETag"].strip('"')
        return Entry(name, found[size], tag, found["LastModified"].timestamp())

    def _unless_gone(self, operation: Callable[..., Any], name: str) -> Any:
        """Ask for an object; None when there is none."""
        with _told(f"{self.url}/{name}"):
            try:
                return operation(Bucket=self.bucket, Key=self.base + name)
            except botocore.exceptions.ClientError as error:
                if _code(error) in _GONE:
                    return None
                raise

    def entry(self, name: str) -> Entry | None:
        """Look at one object; None when there is none."""
        found = self._unless_gone(self.client.head_object, name)
        return None if found is None else self._entry(name, found, "ContentLength")

    def read(self, name: str) -> bytes | None:
        """Read a small object; None when there is none."""
        found = self._unless_gone(self.client.get_object, name)
        if found is None:
            return None
        with _told(f"{self.url}/{name}"), closing(found["Body"]) as body:
            content: bytes = body.read()
            return content

    def stream(self, entry: Entry, start: int) -> Iterator[bytes]:
        """Read an object from a byte on; what breaks off is gone on with."""
        place, tries = start, 0
        while place < entry.bytes:
            try:
                for chunk in self._body(entry, place):
                    place, tries = place + len(chunk), 0
                    yield chunk
            except _TRANSIENT as error:
                tries += 1
                if tries == _TRIES:
                    raise StorageError(f"{self.url}/{entry.name}: {_reason(error)}") from error
                time.sleep(0.2 * 2**tries)

    def _body(self, entry: Entry, start: int) -> Iterator[bytes]:
        found = self._call(
            self.client.get_object,
            entry.name,
            Key=self.base + entry.name,
            Range=f"bytes={start}-",
        )
        with closing(found["Body"]) as body:
            if found["ETag"].strip('"') != entry.tag:
                raise StorageError(
                    f"{self.url}/{entry.name} changed while it was read; run the command again"
                )
            yield from body.iter_chunks(_CHUNK)

    def write(self, name: str, content: bytes) -> None:
        """Write a small object, whatever is there."""
        self._call(self.client.put_object, name, Key=self.base + name, Body=content)

    def create(self, name: str, content: bytes) -> bool:
        """Write a small object unless there is one; False if there is. Of many callers one wins."""
        put = functools.partial(self.client.put_object, Bucket=self.bucket, Key=self.base + name)
        for attempt in range(_TRIES):
            with _told(f"{self.url}/{name}"):
                try:
                    put(Body=content, IfNoneMatch="*")
                    return True
                except botocore.exceptions.ClientError as error:
                    if _code(error) == "ConditionalRequestConflict":  # another put is under way
                        time.sleep(0.2 * 2**attempt)
                        continue
                    if _code(error) != "PreconditionFailed":
                        raise
            # An answer that was lost makes botocore try again, which then meets our own object.
            return self.read(name) == content
        return False

    def upload(self, path: Path, name: str) -> Entry:
        """Upload a file; it appears when it is whole."""
        config = TransferConfig(multipart_threshold=_MULTIPART, multipart_chunksize=_MULTIPART)
        with _told(f"{self.url}/{name}"):
            self.client.upload_file(str(path), self.bucket, self.base + name, Config=config)
        found = self.entry(name)
        if found is None or found.bytes != path.stat().st_size:
            raise StorageError(f"{self.url}/{name} is not as it was uploaded; try again")
        return found

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; those that are gone already are no error."""
        rest = iter(names)
        while batch := [{"Key": self.base + name} for name in islice(rest, _BATCH)]:
            wanted = {"Objects": batch, "Quiet": True}
            answer = self._call(self.client.delete_objects, "", Delete=wanted)
            for error in answer.get("Errors", []):
                raise StorageError(f"s3://{self.bucket}/{error['Key']}: {error['Message']}")

    def now(self) -> float:
        """Return the store's time, in seconds since 1970."""
        answer = self._call(self.client.list_objects_v2, "", Prefix=self.base, MaxKeys=1)
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        return parsedate_to_datetime(date).timestamp() if date else time.time()

    def arrow(self) -> tuple[Any, str]:
        """Return a ``pyarrow.fs.FileSystem`` and the path of this folder in it."""
        from pyarrow.fs import S3FileSystem

        chosen: dict[str, Any] = {"region": self.client.meta.region_name}
        endpoint = self.client.meta.endpoint_url
        if "amazonaws.com" not in endpoint:
            chosen["scheme"], _, chosen["endpoint_override"] = endpoint.partition("://")
        return S3FileSystem(**chosen), f"{self.bucket}/{self.base}".rstrip("/")

    def unfinished(self, under: str = "") -> list[Unfinished]:
        """List uploads of names that begin with `under` and were never completed."""
        pages = self.client.get_paginator("list_multipart_uploads")
        with _told(self.url):
            return [
                Unfinished(found["Key"][len(self.base) :], found["UploadId"])
                for page in pages.paginate(Bucket=self.bucket, Prefix=self.base + under)
                for found in page.get("Uploads", [])
            ]

    def abort(self, upload: Unfinished) -> None:
        """Give the room of an unfinished upload back."""
        with _told(f"{self.url}/{upload.name}"):
            try:
                self.client.abort_multipart_upload(
                    Bucket=self.bucket, Key=self.base + upload.name, UploadId=upload.upload
                )
            except botocore.exceptions.ClientError as error:
                if _code(error) not in ("NoSuchUpload", *_GONE):
                    raise
