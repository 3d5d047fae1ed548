"""What every object store must do, on each that is registered; and the URLs that lead to one."""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

pytest.importorskip("obstore")

import miner
from miner.errors import MineError, StorageError
from miner.storage.remote.arrow_files import arrow_files
from miner.storage.remote.base import FOLDERS, Folder, open_folder
from miner.storage.urls import check_url, fetched_folder, is_url, local_root, url_name
from tests.conftest import Result
from tests.storage.remote.conftest import Bucket


@pytest.fixture(params=["s3", "gs", pytest.param("az", marks=pytest.mark.slow)])
def folder(request: pytest.FixtureRequest) -> Folder:
    fixture = {"s3": "bucket", "gs": "google", "az": "azure"}[request.param]
    where = request.getfixturevalue(fixture)
    return open_folder(f"{getattr(where, 'url', where)}/deep/er")


def test_the_time_is_the_stores(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a machine whose clock is days ahead, every lease would have run out."""
    real = time.time
    before = folder.now()
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: real() + 200_000)
        assert 0 <= folder.now() - before < 600
    assert folder.entries() == []


def test_objects_come_back_as_they_were(folder: Folder, tmp_path: Path) -> None:
    assert folder.entries() == []
    assert folder.entry("a/x") is folder.read("a/x") is None
    content = bytes(range(256)) * 8192
    (tmp_path / "file").write_bytes(content)
    entry = folder.upload(tmp_path / "file", "a/x")
    folder.write("a/b/y", b"small")
    folder.write("z", b"")
    assert [one.name for one in folder.entries()] == ["a/b/y", "a/x", "z"]
    assert [one.name for one in folder.entries("a/")] == ["a/b/y", "a/x"]
    for seen in (folder.entry("a/x"), folder.entries("a/x")[0]):  # Ceph cuts off fractions of time
        assert seen and abs(seen.modified - entry.modified) < 1
        assert replace(seen, modified=entry.modified) == entry
    assert (entry.bytes, abs(entry.modified - folder.now()) < 60) == (len(content), True)
    assert b"".join(folder.stream(entry, 0)) == content
    assert b"".join(folder.stream(entry, len(content) - 3)) == content[-3:]
    assert folder.read("a/b/y") == b"small"
    folder.write("a/x", b"another")
    assert folder.entry("a/x") != entry
    with pytest.raises(StorageError, match="changed while it was read"):
        list(folder.stream(entry, 0))
    folder.remove(["a/x", "never", "z"])
    assert [one.name for one in folder.entries()] == ["a/b/y"]


def test_of_many_creators_one_wins(folder: Folder) -> None:
    start = Barrier(16)

    def create(number: int) -> bool:
        start.wait()
        return folder.create("one", str(number).encode())

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(create, range(16)))
    assert sum(won) == 1
    assert folder.read("one") == str(won.index(True)).encode()
    assert folder.create("one", str(won.index(True)).encode())  # an answer that was lost


def test_a_large_object_is_made_of_parts(folder: Folder, tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(20 << 20)
    (tmp_path / "file").write_bytes(content)
    entry = folder.upload(tmp_path / "file", "a/x")
    assert folder.part(entry, 7, 11) == content[7:11]
    digest = hashlib.sha256()
    for chunk in folder.stream(entry, 0):
        assert len(chunk) < 4 << 20
        digest.update(chunk)
    assert digest.digest() == hashlib.sha256(content).digest()


@pytest.mark.slow
def test_more_objects_than_one_answer_lists(folder: Folder) -> None:
    names = [f"a/{number:04}" for number in range(1200)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: folder.write(name, b"x"), names))
    assert [entry.name for entry in folder.entries()] == names
    assert [entry.name for entry in folder.entries("a/11")] == names[1100:]
    assert folder.children() == ["a"]
    folder.remove(names)
    assert folder.entries() == []
    folder.remove([])


def test_arrow_reads_there(folder: Folder, tmp_path: Path) -> None:
    table = pa.table({"id": range(10_000), "text": [f"row {n}" for n in range(10_000)]})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=1000)
    entry = folder.upload(tmp_path / "x.parquet", "a/x.parquet")
    files = arrow_files(folder)
    stored = pyarrow.dataset.dataset(["a/x.parquet"], format="parquet", filesystem=files)
    assert stored.to_table() == table
    pickled: Any = pickle.loads(pickle.dumps(stored))
    assert pickled.head(3, columns=["text"])["text"].to_pylist() == ["row 0", "row 1", "row 2"]
    assert b"very-secret" not in pickle.dumps(stored)
    assert files.get_file_info("a/x.parquet").size == entry.bytes
    assert files.get_file_info("never").type == pyarrow.fs.FileType.NotFound
    with pytest.raises(StorageError, match=f"{folder.url}/never is missing"):
        files.open_input_file("never")
    with pytest.raises(NotImplementedError):
        files.delete_file("a/x.parquet")
    with files.open_input_file("a/x.parquet") as opened:
        folder.write("a/x.parquet", b"another")
        with pytest.raises(StorageError, match="changed while it was read"):
            opened.read(10)


@pytest.mark.parametrize("cloud", ["google", pytest.param("azure", marks=pytest.mark.slow)])
def test_a_run_on_another_cloud(
    small: Path,
    cloud: str,
    request: pytest.FixtureRequest,
    cli: Callable[..., Result],
    tmp_path: Path,
) -> None:
    out = f"{request.getfixturevalue(cloud)}/mined"
    arguments = ["run", "--data", small, "--out", out]
    assert cli(*arguments).code == 0
    run = miner.open_run(out)
    assert miner.verify_run(run).problems == []
    local = miner.mine({"dataset": {"path": str(small)}, "output": {"path": str(tmp_path / "o")}})
    assert run.manifest["shards"] == local.manifest["shards"]
    assert "already mined" in cli(*arguments).out
    assert cli(*arguments, "--force").code == 0
    assert cli("prune", out, "--keep", 1).code == 0
    assert not [entry for entry in open_folder(out).entries() if run.run_id in entry.name]


def test_what_is_no_object_is_told(bucket: Bucket) -> None:
    bucket.put("deep/full/", b"")
    bucket.put("deep/full/x", b"1")
    bucket.put("deep/empty/", b"")
    bucket.put("deep/", b"")
    folder = open_folder(f"{bucket.url}/deep")
    assert [entry.name for entry in folder.entries()] == ["full/x"]
    assert open_folder(f"{bucket.url}/deep/empty").entries() == []
    with pytest.raises(StorageError, match="not a valid name of an object"):
        folder.read("a//b")
    with pytest.raises(StorageError, match="not a valid name of a bucket"):
        open_folder("s3://two words/x")


def test_what_the_environment_cannot_say(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused(words: str, **environment: str) -> None:
        with monkeypatch.context() as patched, pytest.raises(StorageError, match=words) as caught:
            for name, value in environment.items():
                patched.setenv(name, value)
            open_folder(bucket.url).entries()
        assert "very-secret" not in str(caught.value)
        assert caught.value.__cause__ is None and len(str(caught.value).splitlines()) == 1

    refused("AWS_ENDPOINT_URL_S3 is not a URL", AWS_ENDPOINT_URL_S3="very-secret")
    refused("is not a number above 0", AWS_MAX_ATTEMPTS="many")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
        refused("set AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    nobody = {"AWS_METADATA_ENDPOINT": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"}
    refused("set AWS_ACCESS_KEY_ID", **nobody)
    refused("profiles are not read", AWS_PROFILE="mine")
    (tmp_path / "no-credentials").write_text("[default]\n")
    refused("profiles are not read")


def test_credentials_of_the_other_clouds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("GOOGLE_", "AZURE_"))]:
        monkeypatch.delenv(name)
    for name in ("GCE_METADATA_HOST", "GCE_METADATA_IP"):
        monkeypatch.setenv(name, "127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(StorageError, match="set GOOGLE_APPLICATION_CREDENTIALS"):
        open_folder("gs://bucket/x").entries()
    with pytest.raises(StorageError, match="set AZURE_STORAGE_ACCOUNT_NAME"):
        open_folder("az://bucket/x").entries()
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "mine")
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("AZURE_MSI_ENDPOINT", "http://127.0.0.1:9/metadata/identity/oauth2/token")
    with pytest.raises(StorageError, match="set AZURE_STORAGE_ACCOUNT_KEY"):
        open_folder("az://bucket/x").entries()
    monkeypatch.setenv("AZURE_STORAGE_SAS_KEY", "sv=1&sig=very-secret")
    with pytest.raises(StorageError, match="Connection refused") as caught:
        open_folder("az://bucket/x").entries()
    assert "very-secret" not in str(caught.value)


SIGNAL = """
import signal, sys
from miner.storage.remote.base import open_folder
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
open_folder(sys.argv[1]).entries()
"""


def test_a_signal_ends_the_wait(bucket: Bucket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        environment = os.environ | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{deaf.getsockname()[1]}"}
        command = [sys.executable, "-c", SIGNAL, bucket.url]
        with subprocess.Popen(command, env=environment) as process:
            with deaf.accept()[0]:
                process.terminate()
                assert process.wait(20) == 7


FORK = """
import os, sys
from miner.storage.remote.arrow_files import arrow_files
from miner.storage.remote.base import open_folder
folder = open_folder(sys.argv[1])
assert folder.entries() == []
child = os.fork()
if not child:
    try:
        folder.entries()
    except Exception as error:
        print(error, flush=True)
    os._exit(0)
os.waitpid(child, 0)
assert folder.entries() == []
"""


def test_a_forked_process_is_refused(bucket: Bucket) -> None:
    command = [sys.executable, "-c", FORK, bucket.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "cannot be read in a forked process" in done.stdout


@pytest.mark.parametrize("scheme", sorted(FOLDERS.names()))
def test_every_store_says_what_it_lacks(scheme: str) -> None:
    for module in FOLDERS.entries[scheme].needs:
        pytest.importorskip(module)
    with pytest.raises(MineError):
        open_folder(f"{scheme}://user:pw@bucket/x")


def test_urls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MINE_WORK", str(tmp_path))
    assert [is_url(path) for path in ("s3://b", "gs://b/c", "C:/x", "a/b", "s3:/b")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert check_url("S3://Bucket/x//", "k") == "s3://Bucket/x"
    assert local_root("mined") == Path("mined")
    root = local_root("s3://bucket/a b/mined/")
    assert root == local_root("s3://bucket/a b/mined") != local_root("s3://bucket/a-b/mined")
    assert root.parent == tmp_path / "out"
    assert root.name.startswith("bucket-a-b-mined-")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://elsewhere")
    assert root != local_root("s3://bucket/a b/mined")
    copied = fetched_folder("s3://bucket", "version")
    assert url_name(f"{copied}/bucket/x.csv, row 3") == "s3://bucket/x.csv, row 3"
    monkeypatch.delenv("MINE_WORK")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert local_root("s3://b/x").parent == tmp_path / "caches/mine/out"
