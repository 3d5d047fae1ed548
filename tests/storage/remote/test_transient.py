"""A network that fails now and then: requests are tried again, and nothing is done twice."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("obstore")

import miner
from miner.errors import StorageError
from miner.storage.remote.base import open_folder
from tests.storage.remote.conftest import Bucket
from tests.storage.remote.proxy import Proxy, running


def test_a_run_gets_through(
    bucket: Bucket, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"{n},{'word ' * (n % 7 + 1)}{n},c{n % 5}" for n in range(60)]
    (tmp_path / "big.csv").write_text("\n".join(["id,text,label", *rows]) + "\n")
    data = bucket.put("big.csv", tmp_path / "big.csv")
    requests, spoilt = count(1), list[str]()

    def spoil(method: str, path: str) -> str:
        number, what = next(requests), f"{method} {path}"
        kind = "refused" if number % 4 == 0 else ""
        if method == "PUT" and path.endswith("manifest.json"):
            kind = "unanswered"
        if method == "GET" and path.endswith("big.csv") and spoilt.count(f"cut {what}") < 2:
            kind = "cut"
        elif any(line.endswith(what) for line in spoilt):
            return ""
        if kind:
            spoilt.append(f"{kind} {what}")
        return kind

    out = f"{bucket.url}/mined"
    with running(Proxy(server, spoil)) as spoiler:
        monkeypatch.setenv("AWS_ENDPOINT_URL", spoiler.url)
        miner.mine({"dataset": {"path": data}, "output": {"path": out}})
        (run,) = miner.list_runs(out)[0]
        assert miner.open_run(out).run_id == run.run_id
        assert miner.verify_run(run).problems == []
    assert {line.split()[0] for line in spoilt} == {"refused", "unanswered", "cut"}
    assert sum(line.startswith("unanswered PUT") for line in spoilt) == 1
    local = miner.mine(
        {"dataset": {"path": str(tmp_path / "big.csv")}, "output": {"path": str(tmp_path / "out")}}
    )
    files = bucket.files(f"mined/runs/{run.run_id}")
    for file in local.path.rglob("*.parquet"):
        assert files[file.relative_to(local.path).as_posix()] == file.read_bytes()


def test_a_download_that_breaks_off_again_and_again(
    bucket: Bucket, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = np.random.default_rng(0).bytes(12 << 20)
    bucket.put("x", content)
    cuts = count(1)

    def halve(method: str, path: str) -> str:
        return "cut" if method == "GET" and next(cuts) < 8 else ""

    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    with running(Proxy(server, halve)) as halving:
        monkeypatch.setenv("AWS_ENDPOINT_URL", halving.url)
        folder = open_folder(bucket.url)
        entry = folder.entry("x")
        assert entry is not None
        assert b"".join(folder.stream(entry, 0)) == content
    assert next(cuts) > 8
    with running(Proxy(server, lambda method, path: "unanswered")) as mute:
        monkeypatch.setenv("AWS_ENDPOINT_URL", mute.url.replace("//", "//name:very-secret@"))
        with pytest.raises(StorageError, match="the same command continues from here") as caught:
            open_folder(bucket.url).entries()
    assert "very-secret" not in str(caught.value)
