"""Real servers of the protocols of S3 and Google (moto) and of Azure (Azurite), on free ports."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

OTHER = "MINE_TEST_S3"
"""The URL of a server that is there already; see test_ceph.py."""
AZURITE = ROOT / ".azurite/node_modules/.bin/azurite-blob"
"""Where `make test-slow` installs it."""
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = (  # Azurite's, in its documentation
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


class Bucket:
    """A bucket, looked at by a client of the tests' own: boto3, which moto brings."""

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


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of the server; one for all tests of a process, or that of an environment variable."""
    if OTHER in os.environ:
        yield os.environ[OTHER]
        return
    pytest.importorskip("moto.server")
    with _served(sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p") as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def google_server() -> Iterator[str]:
    """The URL of a server of Google Cloud Storage's XML protocol, with a bucket `bucket`."""
    pytest.importorskip("moto.server")
    with _served(sys.executable, "-m", "tests.storage.remote.google_server") as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def azure_server() -> Iterator[str]:
    """The URL of a server of Azure's protocol, with a container `bucket`."""
    node = shutil.which("node")
    if node is None or not AZURITE.exists():
        pytest.skip("Azurite is not installed")
    options = ["--silent", "--disableTelemetry", "--inMemoryPersistence", "--skipApiVersionCheck"]
    with _served(node, AZURITE, *options, "--blobHost", "127.0.0.1", "--blobPort") as port:
        _make_container(port)
        yield f"http://127.0.0.1:{port}"


def _make_container(port: int) -> None:
    """Make the container `bucket` by a request that is signed with the account's key."""
    facts = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    path = f"/{ACCOUNT}/bucket?restype=container"
    lines = ["PUT", *11 * [""], *(f"{name}:{value}" for name, value in sorted(facts.items()))]
    lines += [f"/{ACCOUNT}/{ACCOUNT}/bucket", "restype:container"]
    key, text = base64.b64decode(ACCOUNT_KEY), "\n".join(lines).encode()
    signature = base64.b64encode(hmac.digest(key, text, hashlib.sha256)).decode()
    facts |= {"Authorization": f"SharedKey {ACCOUNT}:{signature}", "Content-Length": "0"}
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("PUT", path, headers=facts)
    assert connection.getresponse().status == 201
    connection.close()


@contextmanager
def _served(*command: str | Path) -> Iterator[int]:
    """Run a server whose last word is a free port, and end it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT}
    with subprocess.Popen([*command, str(port)], **quiet) as process:
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
    monkeypatch.setenv("GOOGLE_BASE_URL", google_server)
    monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "very-secret")
    monkeypatch.setenv("MINE_WORK", str(tmp_path / "work"))
    return f"gs://bucket/{uuid.uuid4().hex}"


@pytest.fixture
def azure(azure_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a folder of its own there, and an environment that leads to it."""
    monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
    monkeypatch.setenv("AZURITE_BLOB_STORAGE_URL", azure_server)
    monkeypatch.setenv("MINE_WORK", str(tmp_path / "work"))
    return f"az://bucket/{uuid.uuid4().hex}"


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
    if OTHER in os.environ:  # Ceph 16 wants it of boto3
        environment["AWS_REQUEST_CHECKSUM_CALCULATION"] = "when_required"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    client = pytest.importorskip("boto3").client("s3")
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=name)
    return Bucket(client, name)
