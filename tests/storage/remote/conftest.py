"""A real server of S3's protocol (moto), on a free port of this machine; a bucket a test."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

OTHER = "MINE_TEST_S3"
"""The URL of a server that is there already; see test_ceph.py."""


class Bucket:
    """A bucket, looked at by a client of the tests' own."""

    def __init__(self, client: Any, name: str) -> None:
        self.client, self.name = client, name
        self.url = f"s3://{name}"

    def put(self, key: str, content: bytes | Path) -> str:
        body = content.read_bytes() if isinstance(content, Path) else content
        self.client.put_object(Bucket=self.name, Key=key, Body=body)
        return f"{self.url}/{key}"

    def put_folder(self, prefix: str, folder: Path) -> str:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            self.put(f"{prefix}/{file.relative_to(folder).as_posix()}", file)
        return f"{self.url}/{prefix}"

    def get(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return content

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self.name, Prefix=prefix)
        return [entry["Key"] for page in found for entry in page.get("Contents", [])]

    def files(self, prefix: str) -> dict[str, bytes]:
        return {key.removeprefix(f"{prefix}/"): self.get(key) for key in self.keys(f"{prefix}/")}

    def uploads(self) -> list[str]:
        found = self.client.list_multipart_uploads(Bucket=self.name)
        return [entry["Key"] for entry in found.get("Uploads", [])]


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of the server; one for all tests of a process, or that of an environment variable."""
    if OTHER in os.environ:
        yield os.environ[OTHER]
        return
    pytest.importorskip("moto.server")
    with _served("moto.server", "-H", "127.0.0.1", "-p") as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def google_server() -> Iterator[str]:
    """The URL of a server of Google Cloud Storage's protocol, with a bucket `bucket`."""
    pytest.importorskip("gcp_storage_emulator")
    pytest.importorskip("gcsfs")
    with _served("tests.storage.remote.google_server", after=["bucket"]) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _served(module: str, *before: str, after: Sequence[str] = ()) -> Iterator[int]:
    """Run a server's module on a free port, and end it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", module, *before, str(port), *after]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT}
    with subprocess.Popen(command, **quiet) as process:
        try:
            for _ in range(300):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                assert process.poll() is None, "the server ended"
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()


@pytest.fixture
def google(google_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a folder of its own there, and an environment that leads to it."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", google_server)
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # it asks for credentials
    monkeypatch.setenv("MINE_WORK", str(tmp_path / "work"))
    return f"gs://bucket/{uuid.uuid4().hex}"


@pytest.fixture
def bucket(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A bucket of its own, and an environment that leads to it."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "MINE_"))]:
        monkeypatch.delenv(name)
    environment = {
        "AWS_ACCESS_KEY_ID": "known-key",
        "AWS_SECRET_ACCESS_KEY": "very-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no-credentials"),
        "MINE_WORK": str(tmp_path / "work"),
    }
    if OTHER in os.environ:  # Ceph 16 wants it
        environment["AWS_REQUEST_CHECKSUM_CALCULATION"] = "when_required"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    client = pytest.importorskip("boto3").client("s3")
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    return Bucket(client, name)
