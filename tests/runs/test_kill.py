"""A process that dies as it writes a shard leaves nothing behind that a reader could meet."""

from __future__ import annotations

from pathlib import Path

import pytest

import miner
from tests.durable import Crash, at_rename, crash
from tests.operating import MAIN, end, start

DIE = f"""
import os
from tests.durable import at_rename, die
def die_torn(temporary, final):
    os.truncate(temporary, temporary.stat().st_size // 2)
    die(temporary, final)
at_rename("part-*.parquet", die_torn, {{number}})
{MAIN}"""


@pytest.mark.slow
def test_torn_files_are_not_published(small: Path, tmp_path: Path) -> None:
    command = ["run", "--data", str(small), "--out", str(tmp_path / "out"), "--quiet"]
    for number in (1, 2):
        assert end(start(DIE.format(number=number), *command)).code == 9
        assert not (tmp_path / "out" / "latest").exists()
    assert list((tmp_path / "out" / ".staging").rglob(".*.tmp"))
    assert end(start(MAIN, *command)).code == 0
    run = miner.open_run(tmp_path / "out")
    names = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*")}
    shards = {f"{name}/part-00000.parquet" for name in ("hard", "semi_hard")}
    tables = {"hubs.parquet", "confusion.parquet", "label_noise.parquet"}
    told = {"manifest.json", "metrics.prom", "report.html"}
    assert names == {"census.parquet", "hard", "semi_hard", *told, *shards, *tables}
    assert not list((tmp_path / "out" / ".staging").rglob("*"))
    assert not miner.verify_run(run).problems


def test_damaged_records_cost_their_unit_only(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = {"dataset": {"path": str(small)}, "output": {"path": str(tmp_path / "out")}}
    with monkeypatch.context() as patched:
        at_rename("part-*.parquet", crash, patch=patched.setattr)
        with pytest.raises(Crash):
            miner.mine(job)
    staging = next((tmp_path / "out" / ".staging").iterdir())
    next(staging.glob("work/count-*.json")).write_text("")
    other = tmp_path / "out" / ".staging" / "other"
    other.mkdir()
    (other / "staging.json").write_text("{")
    begun = tmp_path / "out" / ".staging" / "begun"  # killed before it could say what it was
    begun.mkdir()
    assert miner.mine(job).run_id == staging.name
    assert not begun.exists()


def test_the_same_job_in_other_words_is_the_same_run(small: Path, tmp_path: Path) -> None:
    sections = {
        "dataset": {"path": str(small)},
        "output": {"path": str(tmp_path / "out")},
    }
    first = miner.mine(sections)
    sections["dataset"] |= {"id": "id", "label": "label", "content": "embedding"}
    spelt = {**sections, "model": {"name": "precomputed"}, "index": {"factory": "Flat"}}
    spelt["mining"] = {"normalize": True, "metric": "euclidean"}
    spelt["output"] = {**sections["output"], "content": False}
    again = miner.run_job(miner.parse_job(spelt))
    assert (again.run.run_id, again.mined) == (first.run_id, False)
