"""A run in object storage: the bytes of a local one, committed by its manifest, read there."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("obstore")

import miner
from miner.errors import LockError, StorageError, UsageError
from miner.runs.publishing import RemoteOutput
from miner.storage.remote import lease
from miner.storage.remote.base import open_folder
from miner.storage.remote.lease import Lease
from tests.conftest import Result
from tests.storage.remote.conftest import Bucket

Cli = Callable[..., Result]


def job(data: Path, out: str | Path, **sections: Any) -> dict[str, Any]:
    return {
        "dataset": {"path": str(data)},
        "output": {"path": str(out)},
        "engine": {"workers": 1},
        **sections,
    }


def payload(files: dict[str, bytes]) -> dict[str, bytes]:
    told = ("manifest.json", "metrics.prom")
    return {name: content for name, content in files.items() if name not in told}


def local_payload(run: miner.Run) -> dict[str, bytes]:
    files = [path for path in run.path.rglob("*") if path.is_file()]
    return payload({file.relative_to(run.path).as_posix(): file.read_bytes() for file in files})


@pytest.mark.report
def test_the_report_is_a_file_of_the_run(bucket: Bucket, small: Path, cli: Cli) -> None:
    run = miner.mine(job(small, f"{bucket.url}/mined"))
    assert b"<!doctype html>" in bucket.files(f"mined/runs/{run.run_id}")["report.html"]
    assert miner.verify_run(run).problems == []
    made = cli("report", f"{bucket.url}/mined/latest", "--json")
    assert made.code == 0, made.err
    assert json.loads(made.out)["sample"] == 10_000  # the vectors are on this machine


def test_data_in_and_a_run_out(bucket: Bucket, small: Path, tmp_path: Path, cli: Cli) -> None:
    url = bucket.put("data/small.parquet", small)
    local = miner.mine(job(small, tmp_path / "local"))
    out = f"{bucket.url}/deep/mined"
    mined = cli("run", "--data", url, "--out", out)
    assert mined.code == 0, mined.err
    latest = json.loads(bucket.get("deep/mined/latest.json"))
    assert latest["path"] == f"runs/{latest['run_id']}"
    assert f"{out}/{latest['path']}/hard" in mined.out
    files = bucket.files(f"deep/mined/{latest['path']}")
    assert payload(files) == local_payload(local)
    manifest = json.loads(files["manifest.json"])
    assert manifest["fingerprint"] == local.manifest["fingerprint"]
    assert manifest["job"]["output"]["path"] == out
    assert not any(b"very-secret" in content for content in files.values())
    assert not list((tmp_path / "work/out").glob("*/.staging/*"))
    again = cli("run", "--data", url, "--out", out, "--json")
    assert json.loads(again.out)["mined"] is False
    assert json.loads(again.out)["path"] == f"{out}/{latest['path']}"


@pytest.fixture
def run(bucket: Bucket, small: Path) -> miner.Run:
    return miner.mine(job(small, f"{bucket.url}/mined"))


def test_a_run_is_read_where_it_is(run: miner.Run, bucket: Bucket, tmp_path: Path) -> None:
    for name in ("", "/latest", f"/runs/{run.run_id}", "/"):
        opened = miner.open_run(f"{bucket.url}/mined{name}")
        assert opened.run_id == run.run_id
        assert opened.where == f"{bucket.url}/mined/runs/{run.run_id}"
    hard = opened.triplets("hard")
    assert hard.count_rows() == run.manifest["written"]["hard"]["rows"] > 0
    assert hard.head(3).num_rows == 3
    assert not list(opened.path.rglob("*.parquet"))
    assert opened.census()["hard"].to_numpy().sum() == run.manifest["census"]["hard"]
    with pytest.raises(UsageError, match="no triplets of class"):
        opened.triplets("easy")


def test_commands_read_a_remote_run(
    run: miner.Run, bucket: Bucket, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = f"{bucket.url}/mined"
    (listed,) = json.loads(cli("runs", out, "--json").out)
    assert (listed["run_id"], listed["latest"]) == (run.run_id, True)
    shown = cli("show", f"{out}/latest")
    assert shown.code == 0
    assert "valid triplets" in shown.out
    facts = json.loads(cli("verify", out, "--json").out)
    assert {check["name"]: check["state"] for check in facts["checks"]}["anchors"] == "ok"
    exported = json.loads(cli("export", out, "--format", "triplet", "--json").out)
    assert exported["rows"] > 0
    assert Path(exported["path"]).parent == tmp_path / "exports"
    refused = cli("export", out, "--format", "triplet", "--out", f"{out}/x")
    assert (refused.code, "local folder" in refused.err) == (2, True)
    assert cli("cache", out).code == 0
    plan = json.loads(
        cli("plan", "--data", run.manifest["job"]["dataset"]["path"], "--out", out, "--json").out
    )
    assert plan["already_mined"] == run.run_id


def test_verify_finds_what_was_changed_since(run: miner.Run, bucket: Bucket, cli: Cli) -> None:
    out, key = f"{bucket.url}/mined", f"mined/runs/{run.run_id}/hard/part-00000.parquet"
    miner.open_run(out).part_paths("hard")  # a copy must not hide what becomes of the object
    whole = bytearray(bucket.get(key))
    whole[len(whole) // 2] ^= 1
    bucket.put(key, bytes(whole))
    found = cli("verify", out)
    assert (found.code, "hard/part-00000.parquet" in found.err) == (6, True)
    assert "checksum does not match" in found.err
    bucket.put(key, bytes(whole[:-1]))
    assert "bytes, the manifest says" in cli("verify", out).err
    bucket.client.delete_object(Bucket=bucket.name, Key=key)
    assert "is missing" in cli("verify", out).err
    again = miner.mine(job(Path(run.manifest["job"]["dataset"]["path"]), out))
    assert again.run_id != run.run_id
    bucket.put(f"mined/runs/{again.run_id}/hard/more.parquet", b"x")
    assert "hard/more.parquet is not in the manifest" in cli("verify", out).err


def test_what_is_no_run_is_no_run(bucket: Bucket, cli: Cli) -> None:
    bucket.put("mined/runs/half/hard/part-00000.parquet", b"x")
    assert cli("show", f"{bucket.url}/mined/runs/half").code == 6
    nothing = cli("show", f"{bucket.url}/nothing")
    assert (nothing.code, "no run at" in nothing.err) == (2, True)
    assert cli("runs", f"{bucket.url}/mined").out.startswith("no runs in")
    bucket.put("mined/latest.json", b'{"run_id": "half", "path": "runs/half"}')
    assert "not a finished run" in cli("show", f"{bucket.url}/mined/latest").err
    bucket.put("mined/latest.json", b"{")
    assert cli("show", f"{bucket.url}/mined").code == 6
    missing = cli("runs", "s3://missing-bucket-here/mined")
    assert (missing.code, "this bucket does not exist" in missing.err) == (6, True)


def test_without_a_bucket_or_credentials(
    small: Path, bucket: Bucket, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(out: str) -> Result:
        return cli("run", "--data", small, "--out", out, "--quiet")

    missing = start("s3://missing-bucket-here/mined")
    assert (missing.code, "this bucket does not exist" in missing.err) == (6, True)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    without = start(f"{bucket.url}/mined")
    assert (without.code, "set AWS_ACCESS_KEY_ID" in without.err) == (6, True)
    assert len(without.err.splitlines()) == 1


# One writer


def test_a_second_start_names_the_holder(bucket: Bucket, small: Path, cli: Cli) -> None:
    folder = open_folder(f"{bucket.url}/mined")
    other = Lease(folder, "another machine's work folder")
    other.acquire()
    refused = cli("run", "--data", small, "--out", folder.url, "--quiet")
    assert refused.code == 4
    assert (
        f"is in use by process {other._facts['process']} on {other._facts['host']}" in refused.err
    )
    assert len(refused.err.splitlines()) == 1
    other.release()
    assert cli("run", "--data", small, "--out", folder.url, "--quiet").code == 0
    (left,) = bucket.keys("mined/.lease/")
    assert json.loads(bucket.get(left))["released"] is True


def test_a_run_waits_for_a_prune_of_another_machine(bucket: Bucket, small: Path, cli: Cli) -> None:
    folder = open_folder(f"{bucket.url}/mined")
    other = Lease(folder, "another machine's work folder", brief=True)
    other.acquire()
    release = threading.Timer(1, other.release)
    release.start()
    done = cli("run", "--data", small, "--out", folder.url)
    release.join()
    assert done.code == 0
    assert "waiting while it is being pruned: " in done.err


def test_an_expired_lease_is_taken_over_and_its_holder_stops(
    bucket: Bucket, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_folder(f"{bucket.url}/mined")
    sleeper = Lease(folder, "elsewhere")
    sleeper.acquire()
    later = folder.now() + lease.SECONDS + 10
    with monkeypatch.context() as patched:
        patched.setattr(type(folder), "now", lambda self: later)
        run = miner.mine(job(small, folder.url))
    with pytest.raises(LockError, match="was taken over by another run"):
        sleeper.check()
    sleeper.release()
    assert [entry.name for entry in folder.entries(".lease/")] == [".lease/00000002.json"]
    assert miner.open_run(folder.url).run_id == run.run_id


def test_of_many_takers_one_wins(bucket: Bucket) -> None:
    from concurrent.futures import ThreadPoolExecutor
    from threading import Barrier

    start = Barrier(8)

    def take(number: int) -> bool:
        taker = Lease(open_folder(f"{bucket.url}/mined"), f"work {number}")
        start.wait()
        try:
            taker.acquire()
        except LockError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(8))) == 1


def test_a_lease_is_renewed_while_it_is_held(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SECONDS", 0.2)
    folder = open_folder(f"{bucket.url}/mined")
    with lease.held_lease(folder, tmp_path) as held:
        for _ in range(100):
            if held._facts["renewed"] > 2:
                break
            lease.threading.Event().wait(0.05)
    assert json.loads(bucket.get("mined/.lease/00000001.json"))["renewed"] > 2
    broken = Lease(folder, "x")
    bucket.put("mined/.lease/00000001.json", b"not JSON")
    with pytest.raises(LockError, match="is in use"):
        broken.acquire()


# The commit


def staged(bucket: Bucket, small: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, ...]:
    """What a run hands to `publish`, caught before it does anything."""
    caught: list[Any] = []

    class Caught(Exception):
        pass

    def catch(self: RemoteOutput, *arguments: Any) -> None:
        caught.extend([self, *arguments])
        raise Caught

    with monkeypatch.context() as patched:
        patched.setattr(RemoteOutput, "publish", catch)
        with pytest.raises(Caught):
            miner.mine(job(small, f"{bucket.url}/mined"))
    return tuple(caught)


def test_two_publishers_of_one_run(
    bucket: Bucket, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, staging, manifest, progress = staged(bucket, small, monkeypatch)
    whole = output.folder.create
    won: list[bool] = []

    def race(name: str, content: bytes) -> bool:
        if name.endswith("manifest.json") and not won:
            won.append(True)
            late = json.loads(content) | {"timings": {}}
            assert whole(name, json.dumps(late).encode())
        created: bool = whole(name, content)
        won.append(created)
        return created

    monkeypatch.setattr(output.folder, "create", race)
    output.publish(staging, manifest, progress)
    assert won == [True, False]
    key = f"mined/runs/{staging.run_id}/manifest.json"
    assert json.loads(bucket.get(key))["timings"] == {}
    bucket.put(key, json.dumps({**manifest, "shards": []}).encode())
    with pytest.raises(StorageError, match="published by another process"):
        output.publish(staging, manifest, progress)


def test_nothing_is_visible_before_the_manifest(
    bucket: Bucket, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, staging, manifest, progress = staged(bucket, small, monkeypatch)
    upload, seen = output.folder.upload, []

    def look(path: Path, name: str) -> Any:
        entry = upload(path, name)
        seen.append(name)
        assert miner.list_runs(output.where) == ([], [])
        return entry

    monkeypatch.setattr(output.folder, "upload", look)
    output.publish(staging, manifest, progress)
    named = {file["path"] for file in [*manifest["shards"], *manifest["files"]]}
    assert {name.removeprefix(f"runs/{staging.run_id}/") for name in seen} == named
    assert len(miner.list_runs(output.where)[0]) == 1


def test_what_changed_since_it_was_uploaded_is_uploaded_again(
    bucket: Bucket, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, staging, manifest, progress = staged(bucket, small, monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr(output.folder, "create", lambda name, content: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            output.publish(staging, manifest, progress)
    under = f"mined/runs/{staging.run_id}"
    keys = sorted(bucket.files(under))
    assert "manifest.json" not in keys
    bucket.put(f"{under}/census.parquet", b"other")
    bucket.put(f"{under}/stray.parquet", b"of an earlier try")
    seen: list[str] = []
    upload = output.folder.upload
    monkeypatch.setattr(
        output.folder, "upload", lambda path, name: (seen.append(name), upload(path, name))[1]
    )
    output.publish(staging, manifest, progress)
    assert [name.rpartition("/")[2] for name in seen] == ["census.parquet"]
    assert sorted(bucket.files(under)) == sorted([*keys, "manifest.json"])


@pytest.mark.slow
def test_engines_and_content_do_not_matter(bucket: Bucket, tmp_path: Path) -> None:
    vectors = np.random.default_rng(2).standard_normal((40, 6)).astype(np.float32)
    np.savez(tmp_path / "v.npz", embedding=vectors, label=np.arange(40) % 4)
    url = bucket.put("v.npz", tmp_path / "v.npz")
    local = miner.mine(job(tmp_path / "v.npz", tmp_path / "local"))
    remote = miner.mine(job(url, f"{bucket.url}/o", engine={"name": "processes", "workers": 2}))
    files = bucket.files(f"o/runs/{remote.run_id}")
    assert payload(files) == local_payload(local)
