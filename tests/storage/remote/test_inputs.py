"""Data on object storage serves wherever a local path does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("obstore")

import miner
from miner.datasets.fetch import fetch, fetch_dataset
from miner.errors import DataError, StorageError, UsageError
from miner.job_sections import DatasetJob
from miner.progress import silent
from miner.storage.remote import copies
from miner.storage.remote.base import Folder
from tests.conftest import ROOT, Result
from tests.storage.remote.conftest import Bucket

SAMPLES = ROOT / "sample_data"


def payload(run: miner.Run) -> dict[str, bytes]:
    files = list(run.path.rglob("*.parquet"))
    return {path.relative_to(run.path).as_posix(): path.read_bytes() for path in files}


def mined(out: Path, **dataset: Any) -> miner.Run:
    return miner.mine({"dataset": dataset, "output": {"path": str(out)}})


def test_a_file_gives_the_bytes_of_a_local_one(bucket: Bucket, small: Path, tmp_path: Path) -> None:
    url = bucket.put("data/small.parquet", small)
    local, remote = mined(tmp_path / "a", path=str(small)), mined(tmp_path / "b", path=url)
    assert payload(remote) == payload(local)
    assert remote.manifest["fingerprint"] == local.manifest["fingerprint"]
    facts = remote.manifest["dataset"]["files"]
    assert [file["path"] for file in facts] == [url]
    assert "very-secret" not in json.dumps(remote.manifest)


@pytest.fixture
def hive(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    for number in range(4):
        folder = tmp_path / "hive" / f"split={'ab'[number % 2]}"
        folder.mkdir(parents=True, exist_ok=True)
        table = {
            "id": range(10 * number, 10 * number + 10),
            "embedding": rng.standard_normal((10, 4)).tolist(),
            "label": [f"c{n % 3}" for n in range(10)],
        }
        pq.write_table(pa.table(table), folder / f"part-{number}.parquet")
    return tmp_path / "hive"


@pytest.mark.parametrize(
    "pattern", ["", "/*/*.parquet", "/**/*.parquet", "/split=a/*", "/split=[b]/part-?.parquet"]
)
def test_folders_and_patterns(bucket: Bucket, hive: Path, tmp_path: Path, pattern: str) -> None:
    url = bucket.put_folder("deep/hive", hive)
    bucket.put("deep/hive/_SUCCESS", b"")
    bucket.put("deep/hive/.hidden.parquet", b"no table")
    bucket.put("deep/other.parquet", b"no table")
    local = mined(tmp_path / "a", path=f"{hive}{pattern}")
    remote = mined(tmp_path / "b", path=f"{url}{pattern}")
    assert payload(remote) == payload(local)


def test_a_beir_folder_and_its_links(bucket: Bucket, tmp_path: Path) -> None:
    (folder,) = {path.parent for path in SAMPLES.rglob("corpus.jsonl")}
    url = bucket.put_folder("beir", folder)
    local, remote = mined(tmp_path / "a", path=str(folder)), mined(tmp_path / "b", path=url)
    assert payload(remote) == payload(local)
    apart = {"queries": f"{url}/queries.jsonl", "corpus": f"{url}/corpus.jsonl"}
    (links,) = (folder / "qrels").glob("*.tsv")
    columns = {"id": "_id", "links": f"{url}/qrels/{links.name}"}
    files = mined(tmp_path / "c", **apart, **columns).manifest["dataset"]["files"]
    assert [file["path"] for file in files] == [*apart.values(), columns["links"]]


def test_images_arrays_and_saved_data_sets(bucket: Bucket, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    np.save(tmp_path / "v.npy", rng.standard_normal((12, 3)).astype(np.float32))
    np.save(tmp_path / "v.label.npy", np.arange(12) % 3)
    bucket.put("np/v.label.npy", tmp_path / "v.label.npy")
    url = bucket.put("np/v.npy", tmp_path / "v.npy")
    local = mined(tmp_path / "a", path=str(tmp_path / "v.npy"))
    assert payload(mined(tmp_path / "b", path=url)) == payload(local)
    images = pytest.importorskip("PIL.Image")
    for number in range(8):
        file = tmp_path / f"images/c{number % 2}/{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        images.fromarray(rng.integers(0, 255, (4, 4), dtype=np.uint8)).save(file)
    url = bucket.put_folder("images", tmp_path / "images")
    local = mined(tmp_path / "c", path=str(tmp_path / "images"))
    assert payload(mined(tmp_path / "d", path=url)) == payload(local)


def test_a_copy_serves_until_the_object_changes(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = bucket.put("a.csv", b"id,text,label\n1,one,a\n")
    first = fetch(url, "DATA", silent)
    with monkeypatch.context() as patched:
        patched.setattr(Folder, "stream", None)
        assert fetch(url, "DATA", silent) == first
    bucket.put("a.csv", b"id,text,label\n1,two,a\n")
    second = fetch(url, "DATA", silent)
    assert second != first
    assert b"two" in Path(second).read_bytes()
    assert b"one" in Path(first).read_bytes()


def test_a_broken_fetch_goes_on_within_the_file(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = np.random.default_rng(0).bytes(3 << 20)
    bucket.put("d/a.bin", b"small")
    bucket.put("d/b.bin", content)
    starts: list[tuple[str, int]] = []
    whole = Folder.stream

    def torn(self: Folder, entry: Any, start: int) -> Iterator[bytes]:
        starts.append((entry.name, start))
        for number, chunk in enumerate(whole(self, entry, start)):
            if number == 1 and len(starts) <= 2:
                raise StorageError("cut")
            yield chunk

    monkeypatch.setattr(Folder, "stream", torn)
    url = f"{bucket.url}/d"
    with pytest.raises(StorageError, match="cut"):
        fetch(url, "DATA", silent)
    heard: list[tuple[str, int, int]] = []
    folder = Path(fetch(url, "DATA", lambda *facts: heard.append(facts)))
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
        "a.bin": b"small",
        "b.bin": content,
    }
    assert [name for name, _ in sorted(starts)] == ["a.bin", "b.bin", "b.bin"]
    assert 1 << 20 <= max(starts)[1] < len(content)
    assert heard[0][1] == 0
    assert heard[-1] == ("fetching", len(content) + 5, len(content) + 5)


def test_copies_are_bounded_but_not_those_in_use(bucket: Bucket) -> None:
    urls = [bucket.put(f"{name}.csv", b"x" * 1000) for name in "abc"]
    copied = [Path(fetch(url, "DATA", silent)) for url in urls]
    copies.keep_copies_within(0)
    assert all(path.exists() for path in copied)
    for mark in [mark for mark in copies._HELD if mark.name != _mark(copied[1])]:
        copies.os.close(copies._HELD.pop(mark))
    copies.keep_copies_within(2500)
    assert [path.exists() for path in copied] == [False, True, True]
    copies.keep_copies_within(0)
    assert [path.exists() for path in copied] == [False, True, False]


def _mark(path: Path) -> str:
    (name,) = [part for part in path.parts if part.startswith("s3-")]
    return f".{name}.used"


def test_what_cannot_be_a_file_is_refused(bucket: Bucket) -> None:
    bucket.put("bad/a/../../x.csv", b"1")
    with pytest.raises(DataError, match="no file can have such a name"):
        fetch(f"{bucket.url}/bad", "DATA", silent)
    bucket.put("both/a", b"1")
    bucket.put("both/a/b.csv", b"1")
    with pytest.raises(DataError, match=r"both/a is an object and a folder"):
        fetch(f"{bucket.url}/both", "DATA", silent)
    bucket.put("marked/", b"")
    bucket.put("marked/a.csv", b"1")
    assert [path.name for path in Path(fetch(f"{bucket.url}/marked", "", silent)).iterdir()] == [
        "a.csv"
    ]


Cli = Callable[..., Result]


def refused(result: Result, code: int, *words: str) -> None:
    assert result.code == code, result.err
    assert len(result.err.splitlines()) == 1
    for word in words:
        assert word in result.err
    assert "very-secret" not in result.err + result.out
    assert "Traceback" not in result.err


def test_errors_are_one_line(
    bucket: Bucket, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("data/small.parquet", b"PAR1 no more")

    def run(url: str) -> Result:
        return cli("run", "--data", url, "--out", tmp_path / "out", "--quiet")

    refused(run(f"{bucket.url}/data/smal.parquet"), 3, "did you mean 'small.parquet'?")
    refused(run(f"{bucket.url}/none/*.csv"), 3, "matches no object")
    refused(run(f"{bucket.url}/data/small.parquet"), 3, f"{bucket.url}/data/small.parquet cannot")
    refused(run("s3://missing-bucket-here/x.csv"), 6, "this bucket does not exist")
    refused(run("s3://user:very-secret@bucket/x.csv"), 2, "given with credentials")
    refused(run("s3://"), 2, "names no bucket")
    refused(run("nosuch://bucket/x.csv"), 2, "unknown object store 'nosuch'", "Known: az, gs, s3")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://name:very-secret@127.0.0.1:9")
    refused(run(f"{bucket.url}/x.csv"), 6, "127.0.0.1:9", "continues from here")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    refused(run(f"{bucket.url}/x.csv"), 6, "set AWS_ACCESS_KEY_ID")


def test_init_and_plan(bucket: Bucket, cli: Cli, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    url = bucket.put("requests.csv", SAMPLES / "support_requests.csv")
    assert cli("init", url, "--job", "own.toml").code == 0
    assert miner.load_job("own.toml").dataset.path == url
    facts = json.loads(cli("plan", "own.toml", "--json").out)
    assert facts["dataset"]["items"] == 400


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    import miner.registry

    monkeypatch.setattr(miner.registry.importlib.util, "find_spec", lambda name: None)
    for scheme in ("s3", "gs", "az"):
        refused(cli("run", "--data", f"{scheme}://b/x.csv"), 2, "[remote]'")


def test_what_is_local_stays_as_it_is() -> None:
    dataset = DatasetJob(path="a/b.csv")
    assert fetch_dataset(dataset, 1, silent) is dataset
    with pytest.raises(UsageError, match="credentials"):
        miner.parse_job({"dataset": {"path": "x.csv"}, "output": {"path": "s3://k:s@b/o"}})
