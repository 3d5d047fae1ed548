"""What every object store must do, on each that is registered; and the URLs that lead to one."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

pytest.importorskip("boto3")

import miner
from miner.errors import MineError, StorageError, UsageError
from miner.storage.remote.base import FOLDERS, Folder, open_folder
from miner.storage.remote.s3 import S3Folder
from miner.storage.urls import check_url, fetched_folder, is_url, local_root, url_name
from tests.conftest import Result
from tests.storage.remote.conftest import Bucket


@pytest.fixture(params=["s3", "gs", "memory"])
def folder(request: pytest.FixtureRequest) -> Folder:
    if request.param == "s3":
        return open_folder(f"{request.getfixturevalue('bucket').url}/deep/er")
    if request.param == "gs":
        return open_folder(f"{request.getfixturevalue('google')}/deep/er")
    pytest.importorskip("fsspec")
    return open_folder(f"memory://{uuid.uuid4().hex}/deep/er")


def test_the_time_is_the_stores(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a machine whose clock is days ahead, every lease would have run out."""
    real = time.time
    before = folder.now()
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: real() + 200_000)
        assert 0 <= folder.now() - before < 600
    assert folder.entries() == []


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # gcsfs' own
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
    assert folder.unfinished() == []


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


def test_arrow_reads_there(folder: Folder) -> None:
    folder.write("x.bin", b"arrow")
    system, base = folder.arrow()
    opened: Any = system
    with opened.open_input_file(f"{base}/x.bin") as file:
        assert file.read() == b"arrow"


def test_a_run_by_fsspec(small: Path, bucket: Bucket) -> None:
    pytest.importorskip("fsspec")
    out = f"memory://{uuid.uuid4().hex}/mined"
    run = miner.mine({"dataset": {"path": str(small)}, "output": {"path": out}})
    opened = miner.open_run(out)
    assert opened.run_id == run.run_id
    assert opened.triplets("hard").count_rows() == run.manifest["written"]["hard"]["rows"]
    assert miner.verify_run(opened).problems == []


def test_a_run_on_google_cloud_storage(
    small: Path, google: str, cli: Callable[..., Result], tmp_path: Path
) -> None:
    out = f"{google}/mined"
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


def test_without_a_conditional_put_no_run_is_published(small: Path, tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    url = f"file://{tmp_path}/mined"
    with pytest.raises(UsageError, match="no conditional put"):
        miner.mine({"dataset": {"path": str(small)}, "output": {"path": url}})
    local = miner.mine({"dataset": {"path": f"file://{small}"}, "output": {"path": str(tmp_path)}})
    assert local.manifest["dataset"]["items"] == 60


def test_what_breaks_off_is_gone_on_with(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    import botocore.exceptions

    content = bytes(range(256)) * 20000
    bucket.put("x", content)
    folder = S3Folder(bucket.url)
    entry = folder.entry("x")
    assert entry is not None
    whole, starts = S3Folder._body, []

    def torn(self: S3Folder, entry: Any, start: int) -> Any:
        starts.append(start)
        for number, chunk in enumerate(whole(self, entry, start)):
            if number == 1:
                raise botocore.exceptions.ReadTimeoutError(endpoint_url="x")
            yield chunk

    monkeypatch.setattr(S3Folder, "_body", torn)
    monkeypatch.setattr("miner.storage.remote.s3.time.sleep", lambda seconds: None)
    assert b"".join(folder.stream(entry, 0)) == content
    assert len(starts) > 3

    def never(self: S3Folder, entry: Any, start: int) -> Any:
        raise botocore.exceptions.ReadTimeoutError(endpoint_url="http://u:very-secret@x")

    monkeypatch.setattr(S3Folder, "_body", never)
    with pytest.raises(StorageError, match="goes on from here") as caught:
        list(folder.stream(entry, 0))
    assert "very-secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", sorted(FOLDERS.names()))
def test_every_store_says_what_it_lacks(scheme: str) -> None:
    for module in FOLDERS.entries[scheme].needs:
        pytest.importorskip(module)
    with pytest.raises(MineError):
        open_folder(f"{scheme if scheme != 'fsspec' else 'nosuch'}://user:pw@bucket/x")


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
