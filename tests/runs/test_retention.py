"""`mine prune --keep`: what is read, written to or the latest stays; what died goes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import miner
from tests.conftest import Result
from tests.durable import at_rename
from tests.operating import MAIN, SLOW, end, start, wait_for_a_unit

Cli = Callable[..., Result]


@pytest.fixture
def out(run: miner.Run, tmp_path: Path) -> Path:
    """Nine nights of one run, of which the first is the latest."""
    out = tmp_path / "out"
    for night in range(1, 10):
        shutil.copytree(run.path, out / f"runs/2026010{night}T000000Z-x")
    shutil.rmtree(run.path)
    point(out, 1)
    return out


def point(out: Path, night: int, *, record: bool = True) -> None:
    """Make a night the latest."""
    name = f"2026010{night}T000000Z-x"
    (out / "latest").unlink()
    (out / "latest").symlink_to(f"runs/{name}")
    if record:
        (out / "latest.json").write_text(json.dumps({"run_id": name, "path": f"runs/{name}"}))


def nights(out: Path) -> str:
    return "".join(sorted(path.name[7] for path in (out / "runs").iterdir()))


def pruned(cli: Cli, out: Path, *more: object) -> Any:
    result = cli("prune", out, "--json", *more)
    assert (result.code, result.err) == (0, "")
    return json.loads(result.out)


def test_a_week_is_kept_and_what_trainers_read(out: Path, cli: Cli) -> None:
    would = pruned(cli, out, "--keep", 7, "--dry-run")
    assert nights(out) == "123456789"
    facts = pruned(cli, out, "--keep", 7)
    assert facts == would | {"dry_run": False}
    assert [Path(one["path"]).name[7] for one in facts["removed"]] == ["2"]
    assert facts["in_use"] == []
    assert nights(out) == "13456789"
    assert miner.open_run(out / "latest").path.name[7] == "1"
    assert pruned(cli, out, "--keep", 7)["removed"] == []


def test_a_switch_that_broke_off_has_two_latest(out: Path, cli: Cli) -> None:
    """A process may die between `latest.json` and the symlink."""
    point(out, 2, record=False)
    pruned(cli, out, "--keep", 0)
    assert nights(out) == "12"
    (out / "latest").unlink()  # a file system without symlinks
    pruned(cli, out, "--keep", 0)
    assert nights(out) == "1"
    (out / "latest.json").write_text("{")
    refused = cli("prune", out, "--keep", 0)
    assert refused.code == 6
    assert "latest.json is not valid JSON" in refused.err
    assert nights(out) == "1"


def test_a_run_that_is_read_stays(out: Path, cli: Cli) -> None:
    read = out / "runs/20260103T000000Z-x"
    with miner.open_run(read).held(), miner.open_run(read).held():
        facts = pruned(cli, out, "--keep", 2, "--dry-run")
        assert facts["in_use"] == [str(read)]
        result = cli("prune", out, "--keep", 2)
        assert (result.code, result.err) == (0, "")
        assert f"in use, so it stays: {read}" in result.out
        assert "5 removed" in result.out
        assert nights(out) == "1389"
    assert pruned(cli, out, "--keep", 2)["in_use"] == []
    assert nights(out) == "189"
    gone = miner.open_run(out)
    shutil.rmtree(gone.path)
    with gone.held():  # of a run that is not there any more nobody can be a reader
        pass


READS = """
import sys, time, miner
with miner.open_run(sys.argv[1]).held():
    print("reading", flush=True)
    time.sleep(60)
"""


def test_a_reader_that_died_holds_nothing(out: Path, cli: Cli) -> None:
    process = start(READS, out / "runs/20260104T000000Z-x")
    assert process.stdout is not None
    assert process.stdout.readline() == "reading\n"
    assert len(pruned(cli, out, "--keep", 0)["in_use"]) == 1
    assert nights(out) == "14"
    process.kill()
    end(process)
    pruned(cli, out, "--keep", 0)
    assert nights(out) == "1"


@pytest.mark.parametrize("command", [["export", "--format", "triplet"], ["verify"]])
def test_our_own_commands_are_readers(
    out: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    """Another process prunes as one writes its first file, the other reads a shard."""
    read, opened = out / "runs/20260105T000000Z-x", Path.open
    seen: list[str] = []

    def prune(*paths: Path) -> None:
        if not seen:
            seen.extend(miner.prune_output(out, keep=0)["in_use"])

    def opening(path: Path, *mode: Any, **more: Any) -> Any:
        if path.parent == read / "hard":
            prune()
        return opened(path, *mode, **more)

    at_rename("part-*.parquet", prune, patch=monkeypatch.setattr)
    monkeypatch.setattr(Path, "open", opening)
    result = cli(command[0], read, *command[1:])
    assert seen == [str(read)]
    assert result.code == 0, result.err
    assert nights(out) == "15"


@pytest.fixture
def at_work(small: Path, tmp_path: Path) -> Iterator[tuple[Path, Any]]:
    """An output folder, and a process whose run is at work in it."""
    out = tmp_path / "live"
    process = start(SLOW + MAIN, "run", "--data", small, "--out", out, "--quiet", "--workers", 1)
    try:
        wait_for_a_unit(out)
        process.send_signal(signal.SIGSTOP)  # so that it stays at work
        yield out, process
    finally:
        process.kill()
        end(process)


def test_what_lives_is_left_alone_and_what_died_goes(at_work: tuple[Path, Any], cli: Cli) -> None:
    out, process = at_work
    (staging,) = (out / ".staging").iterdir()
    for hours in ("0", "24"):
        refused = cli("prune", out, "--keep", "0", "--hours", hours)
        assert (refused.code, refused.out) == (4, "")
        (line,) = refused.err.splitlines()
        assert f"is in use by process {process.pid}" in line
        assert (staging / "staging.json").exists()
    process.kill()
    process.wait()
    assert pruned(cli, out)["removed"] == []  # the same command may go on with it
    old = time.time() - 25 * 3600
    for path in [staging, *staging.rglob("*")]:
        os.utime(path, (old, old))
    (one,) = pruned(cli, out, "--dry-run")["removed"]
    assert (one["kind"], one["path"]) == ("staging", str(staging))
    assert pruned(cli, out)["bytes"] == one["bytes"] > 0
    assert not staging.exists()
