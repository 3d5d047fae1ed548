"""`mine prune` removes what nobody will read, and nothing else."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import miner
from miner.errors import LockError
from miner.storage.locks import lock_output
from tests.conftest import Result
from tests.durable import Crash, at_rename, crash

Cli = Callable[..., Result]


def mine(data: Path, out: Path, margin: float = 0.2) -> miner.Run:
    sections: dict[str, Any] = {"dataset": {"path": str(data)}, "output": {"path": str(out)}}
    return miner.mine(sections | {"mining": {"margin": margin}})


def age(folder: Path, hours: float) -> None:
    then = time.time() - 3600 * hours
    for path in [folder, *folder.rglob("*")]:
        os.utime(path, (then, then), follow_symlinks=False)


@pytest.fixture
def out(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three runs, the second of them the latest, and a fourth that died."""
    out = tmp_path / "out"
    runs = [mine(small, out, margin) for margin in (0.1, 0.2, 0.3)]
    for number, run in enumerate(runs):  # their names do not tell the order within a second
        run.path.rename(run.path.with_name(f"2026010{number + 1}T000000Z-x"))
    (out / "latest").unlink()
    (out / "latest").symlink_to("runs/20260102T000000Z-x")
    with monkeypatch.context() as patched:
        at_rename("census.parquet", crash, patch=patched.setattr)
        with pytest.raises(Crash):
            mine(small, out, 0.4)
    return out


def names(out: Path) -> list[str]:
    return sorted(path.name[7] for path in (out / "runs").iterdir())


def test_nothing_that_is_of_use_goes(out: Path, cli: Cli) -> None:
    (staging,) = (out / ".staging").iterdir()
    assert cli("prune", out).out == "0 removed, 0 B\n"
    assert staging.exists()
    assert names(out) == ["1", "2", "3"]


def test_old_and_useless_work_goes(out: Path, small: Path, cli: Cli) -> None:
    (staging,) = (out / ".staging").iterdir()
    (out / ".staging/never-begun").mkdir()
    (out / "exports").mkdir()
    (out / "exports/.x.tmp").mkdir()
    (out / ".latest.12345678.tmp").symlink_to("nowhere")
    age(staging, 30)
    facts = json.loads(cli("prune", out, "--dry-run", "--json").out)
    assert [(one["kind"], one["path"]) for one in facts["removed"]] == [
        ("staging", str(staging)),
        ("staging", str(out / ".staging/never-begun")),
    ]
    assert staging.exists()
    assert "2 would be removed" in cli("prune", out, "--dry-run").out
    assert json.loads(cli("prune", out, "--json").out) == facts | {"dry_run": False}
    assert not staging.exists()
    assert cli("prune", out, "--hours", "0").out.splitlines()[-1].startswith("2 removed")
    assert not list((out / "exports").iterdir())
    assert not list(out.glob(".*.tmp"))
    assert mine(small, out, 0.4).manifest["census"]["reused"]


@pytest.mark.parametrize(("keep", "left"), [(0, "2"), (1, "23"), (2, "23"), (3, "123"), (9, "123")])
def test_the_newest_and_the_latest_stay(out: Path, cli: Cli, keep: int, left: str) -> None:
    size = sum(
        path.stat().st_size
        for name in set("123") - set(left)
        for path in out.glob(f"runs/2026010{name}*/**/*")
        if path.is_file()
    )
    facts = json.loads(cli("prune", out, "--keep", keep, "--json").out)
    assert facts["bytes"] == size
    assert "".join(names(out)) == left
    assert len(list((out / ".staging").iterdir())) == 1
    assert miner.open_run(out).path.name.startswith("20260102")


def test_a_run_at_work_is_not_disturbed(out: Path, cli: Cli) -> None:
    with lock_output(out):
        with pytest.raises(LockError):
            miner.prune_output(out)
        assert miner.prune_output(out, keep=0, dry_run=True)["removed"]
    assert names(out) == ["1", "2", "3"]
    assert cli("prune", out / "nowhere").code == 2


def test_the_newest_of_one_second_stays(small: Path, tmp_path: Path, cli: Cli) -> None:
    job: dict[str, Any] = {"dataset": {"path": str(small)}, "output": {"path": str(tmp_path)}}
    made = [miner.mine(job, force=True).run_id for _ in range(4)]
    assert [run.run_id for run in miner.list_runs(tmp_path)[0]] == made
    assert cli("prune", tmp_path, "--keep", 1).code == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == made[-1:]
