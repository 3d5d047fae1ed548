"""Another selection of the same triplets counts nothing, and writes what a fresh run writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miner
from miner.embedding.eviction import list_kept
from miner.errors import StorageError
from tests.conftest import Result, write_vectors
from tests.durable import Crash, at_rename, crash, full_disk
from tests.operating import listen, units_done
from tests.runs.test_commit import dies, payload, python

ROWS = 60
SECOND: list[tuple[dict[str, Any], bool]] = [
    ({"seed": 7}, True),
    ({"max_triplets": 40}, True),
    ({"per_anchor": 5}, True),
    ({"per_negative": 3}, True),
    ({"classes": ["hard"]}, True),
    ({"per_pair": 2}, False),
    ({"strategy": "hardest"}, False),
    ({"strategy": "uniform", "options": {"k": 7}}, True),
    ({"strategy": "uniform", "ranks": [0, 20]}, False),
    ({"max_score": 0.3, "suspects": True}, False),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((ROWS, 5)).astype(np.float32)
    rows[30:34] = rows[:4]  # ties
    path = tmp_path_factory.mktemp("data") / "data.parquet"
    return write_vectors(path, rows, [f"c{n % 4}" for n in range(ROWS)])


def job(data: Path, out: Path, **sections: dict[str, Any]) -> dict[str, dict[str, Any]]:
    built: dict[str, dict[str, Any]] = {
        "dataset": {"path": str(data)},
        "select": {"max_triplets": 500},
        "output": {"path": str(out)},
        "engine": {"workers": 1},
    }
    return {name: {**built.get(name, {}), **sections.get(name, {})} for name in built | sections}


@pytest.fixture(scope="module")
def first(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output root of the first run, which has counted."""
    out = tmp_path_factory.mktemp("first") / "out"
    run = miner.mine(job(data, out, output={"report": False}))
    assert run.manifest["census"]["reused"] is False
    return out


@pytest.fixture
def counted(first: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(first, tmp_path / "out", symlinks=True)


Mine = Callable[..., tuple[miner.Run, bool]]


@pytest.fixture
def mine(caplog: pytest.LogCaptureFixture) -> Mine:
    """Mine; say whether the count was kept, as the log and the manifest have it."""

    def call(job: dict[str, Any], *, force: bool = False) -> tuple[miner.Run, bool]:
        listen(caplog)
        run = miner.mine(job, force=force)
        kept = units_done(caplog, "counting") == 0
        assert run.manifest["census"]["reused"] is kept
        return run, kept

    return call


@pytest.mark.parametrize(("select", "reused"), SECOND, ids=lambda value: str(value))
def test_another_selection_writes_what_a_fresh_run_writes(
    select: dict[str, Any],
    reused: bool,
    data: Path,
    counted: Path,
    tmp_path: Path,
    mine: Mine,
) -> None:
    run, kept = mine(job(data, counted, select=select))
    assert kept is reused
    fresh, kept = mine(job(data, tmp_path / "fresh", select=select))
    assert kept is False
    assert payload(run) == payload(fresh)
    for facts in ("census", "written"):
        left, right = (dict(one.manifest[facts]) for one in (run, fresh))
        loss = [one.pop("mean_loss", 0.0) for one in (left, right)]
        left.pop("reused", None), right.pop("reused", None)
        assert left == right and loss[0] == pytest.approx(loss[1], rel=1e-6)
    assert not miner.verify_run(run, full=True).problems


def test_what_a_strategy_made_of_the_pairs_is_kept_too(
    data: Path, tmp_path: Path, mine: Mine
) -> None:
    out = tmp_path / "out"
    hardest = {"strategy": "hardest", "options": {"k": 2}, "max_triplets": 60}
    assert mine(job(data, out, select=hardest))[1] is False
    changes = (
        ({"seed": 5}, True),
        ({"max_triplets": 90}, True),
        ({"options": {"k": 3}}, False),
        ({"skip_nearest": 1}, False),
        ({"strategy": "all", "options": {}}, True),
        ({"strategy": "uniform", "seed": 9}, True),
        ({"strategy": "uniform", "ranks": [0, 20]}, False),
        ({"strategy": "uniform", "ranks": [0, 20], "max_triplets": 10}, True),
        # How many of a class are drawn hangs on the seed.
        ({"strategy": "uniform", "ranks": [0, 20], "seed": 5}, False),
    )
    for number, (change, kept) in enumerate(changes):
        run, found = mine(job(data, out, select=hardest | change))
        assert found is kept, change
        fresh = miner.mine(job(data, tmp_path / f"fresh-{number}", select=hardest | change))
        assert payload(run) == payload(fresh)


@pytest.mark.parametrize(
    "mining",
    [{"margin": 0.3}, {"metric": "sqeuclidean"}, {"metric": "cosine"}, {"normalize": False}],
    ids=str,
)
def test_other_triplets_are_counted(
    mining: dict[str, Any], data: Path, counted: Path, mine: Mine
) -> None:
    before = payload(miner.open_run(counted))
    other, kept = mine(job(data, counted, mining=mining))
    assert kept is False
    assert payload(other)["census.parquet"] != before["census.parquet"]
    assert mine(job(data, counted, select={"seed": 1}))[1] is True  # the first one's


def test_force_counts_again(data: Path, counted: Path, mine: Mine) -> None:
    before = miner.open_run(counted)
    forced, kept = mine(job(data, counted), force=True)
    assert kept is False and forced.run_id != before.run_id
    assert payload(forced) == payload(before)
    assert mine(job(data, counted, select={"seed": 1}))[1] is True


def test_the_loss_is_counted_when_it_is_missing(data: Path, tmp_path: Path, mine: Mine) -> None:
    out = tmp_path / "out"
    assert mine(job(data, out, mining={"loss": False}))[1] is False
    run, kept = mine(job(data, out))
    assert kept is False and run.manifest["census"]["mean_loss"] > 0
    run, kept = mine(job(data, out, mining={"loss": False}, select={"seed": 1}))
    assert kept is True and "mean_loss" not in run.manifest["census"]


def test_without_the_texts_the_count_of_the_store_with_them_serves(
    tmp_path: Path, mine: Mine
) -> None:
    path = tmp_path / "texts.csv"
    lines = [f"{n},{'abcde'[n % 5] * (1 + n % 7)} {n % 11},c{n % 3}" for n in range(60)]
    path.write_text("\n".join(["id,text,label", *lines]) + "\n")
    out, model = tmp_path / "out", {"name": "tests.pipeline.test_count_cache:letters"}
    assert mine(job(path, out, model=model))[1] is False
    bare = job(path, out, model=model, output={"path": str(out), "content": False})
    run, kept = mine(bare)
    assert kept is True and "anchor" not in run.triplets("hard").schema.names
    fresh = {**bare, "output": {"path": str(tmp_path / "fresh"), "content": False}}
    assert payload(run) == payload(miner.mine(fresh))


def letters(texts: list[str]) -> np.ndarray:
    """Count some letters."""
    return np.array([[text.count(x) for x in "abcde12"] for text in texts], dtype=np.float32)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("how", ["truncated", "changed", "missing", "empty"])
@pytest.mark.parametrize("name", ["census.npy", "loss.npy", "record.json"])
def test_a_torn_record_is_ignored(
    name: str, how: str, data: Path, counted: Path, tmp_path: Path, mine: Mine
) -> None:
    out = counted
    (path,) = out.glob(f".store/*/counts/*/{name}")
    whole = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    elif how == "changed":
        whole[len(whole) // 2] ^= 1
        path.write_bytes(whole)
    else:
        path.write_bytes(whole[: len(whole) // 2] if how == "truncated" else b"")
    run, kept = mine(job(data, out, select={"seed": 1}))
    assert kept is False
    assert payload(run) == payload(miner.mine(job(data, tmp_path / "fresh", select={"seed": 1})))
    assert mine(job(data, out, select={"seed": 2}))[1] is True  # it was mended


def test_a_record_of_vectors_that_were_damaged_serves_those_that_are_made_again(
    data: Path, counted: Path, tmp_path: Path, mine: Mine
) -> None:
    (vectors,) = counted.glob(".store/*/vectors-0.f32")
    whole = vectors.read_bytes()
    moved = np.frombuffer(whole, dtype="<f4").copy()
    moved[:5] = moved[5:10]
    moved.tofile(vectors)
    run, kept = mine(job(data, counted, select={"seed": 1}))
    assert kept is True and vectors.read_bytes() == whole
    assert payload(run) == payload(miner.mine(job(data, tmp_path / "fresh", select={"seed": 1})))


def test_a_killed_run_leaves_nothing_of_its_record(data: Path, tmp_path: Path, mine: Mine) -> None:
    """It had written its arrays, and not yet named them."""
    out = tmp_path / "out"
    given = job(data, out, output={"report": False})
    assert python(f"{dies('record.json')}; import miner; miner.mine({given!r})") == (9, "")
    assert list(out.glob(".store/*/counts/*/.*.tmp"))
    goes_on(data, out, mine, reused=False)


@pytest.mark.parametrize(
    ("place", "late", "reused"),
    [("work/write-*.bin", False, True), ("counts/*/census.npy", True, False)],
)
def test_a_crashed_run_s_count_is_used_if_it_was_stored(
    place: str,
    late: bool,
    reused: bool,
    data: Path,
    tmp_path: Path,
    mine: Mine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched, pytest.raises(Crash):
        at_rename(place, crash, late=late, patch=patched.setattr)
        miner.mine(job(data, tmp_path / "out"))
    goes_on(data, tmp_path / "out", mine, reused=reused)


def goes_on(data: Path, out: Path, mine: Mine, *, reused: bool) -> None:
    """Another selection and the same one are mined as if nothing had been."""
    assert mine(job(data, out, select={"seed": 1}))[1] is reused
    run, kept = mine(job(data, out))
    assert kept is True  # its own, or what the other selection counted since
    assert payload(run) == payload(miner.mine(job(data, out.with_name("fresh"))))
    assert not list(out.glob(".store/*/counts/*/.*.tmp"))


def test_it_is_said(data: Path, tmp_path: Path, cli: Callable[..., Result]) -> None:
    out = tmp_path / "out"
    first = cli("run", "--data", data, "--out", out)
    assert "mine: counting\n" in first.err and "earlier run" not in first.err + first.out
    again = cli("run", "--data", data, "--out", out, "--seed", 3)
    assert "mine: counting: kept from an earlier run\n" in again.err
    assert "counts kept from an earlier run (--force counts again)" in again.out
    lines = [line for line in again.out.splitlines()[:12] if "/" not in line]  # but for paths
    assert max(map(len, lines)) <= 80


def test_a_record_is_listed_and_goes_with_its_store(
    data: Path, tmp_path: Path, cli: Callable[..., Result]
) -> None:
    out = tmp_path / "out"
    for margin in (0.1, 0.2, 0.3):
        miner.mine(job(data, out, mining={"margin": margin}))
    kept = list_kept(out / ".cache", out / ".store")
    assert sorted(one.kind for one in kept) == ["count"] * 3 + ["store"]
    listed = json.loads(cli("cache", out, "--json").out)
    files = [path for path in (out / ".store").rglob("*") if path.is_file()]
    assert listed["bytes"] == sum(path.stat().st_size for path in files)
    assert cli("cache", out).out.count("count ") == 3
    old = listed["bytes"] - 1
    dry = json.loads(cli("prune", out, "--json", "--vectors", f"{old}B", "--dry-run").out)
    pruned = json.loads(cli("prune", out, "--json", "--vectors", f"{old}B").out)
    assert dry == pruned | {"dry_run": True}
    assert [one["kind"] for one in pruned["removed"]] == ["count"]  # of the first margin
    largest = max(one.bytes for one in kept if one.kind == "count")
    most = listed["bytes"] - pruned["bytes"] - largest - 1
    pruned = json.loads(cli("prune", out, "--json", "--vectors", f"{most}B").out)
    # The store was used before the last count, which is of no use without it.
    assert [one["kind"] for one in pruned["removed"]] == ["count", "store", "count"]
    assert json.loads(cli("cache", out, "--json").out) == {"bytes": 0, "kept": []}


def test_an_old_record_goes_before_a_store_in_use(data: Path, tmp_path: Path, mine: Mine) -> None:
    out = tmp_path / "out"
    mine(job(data, out))
    size = sum(one.bytes for one in list_kept(out / ".cache", out / ".store"))
    bound = {"max_size": f"{size}B"}
    mine(job(data, out, mining={"margin": 0.3}, cache=bound))
    kinds = [one.kind for one in list_kept(out / ".cache", out / ".store")]
    assert kinds == ["count", "store"]
    assert mine(job(data, out, mining={"margin": 0.3}, select={"seed": 1}))[1] is True
    assert mine(job(data, out, select={"seed": 1}))[1] is False


def test_a_full_disk_is_said(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    at_rename("record.json", full_disk, patch=monkeypatch.setattr)
    with pytest.raises(StorageError, match="No space left"):
        miner.mine(job(data, out))
    assert not (out / "latest").exists()
