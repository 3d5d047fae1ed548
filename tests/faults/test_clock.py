"""A clock that is set, forward or back, as a job runs and between its starts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path

import pytest

import miner
import miner.runs.staging
from tests.conftest import Result
from tests.faults.jobs import payload

Cli = Callable[..., Result]
DAY = 86_400.0


@dataclass
class Wall:
    """The time of day, as if it had been set `ahead` by so many seconds."""

    real: Callable[[], float]
    ahead: float = 0.0

    def time(self) -> float:
        return self.real() + self.ahead

    def now(self, zone: tzinfo = UTC) -> datetime:
        return datetime.fromtimestamp(self.time(), zone)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    wall = Wall(time.time)
    monkeypatch.setattr(time, "time", wall.time)
    monkeypatch.setattr(miner.runs.staging, "datetime", wall)
    return wall


@pytest.fixture
def words(small: Path, tmp_path: Path) -> list[str]:
    return ["run", "--data", str(small), "--out", str(tmp_path / "out"), "--workers", "1"]


class Broken(Exception):
    """Ends a run in the middle."""


def mine(small: Path, out: Path, progress: Callable[[str, int, int], None]) -> miner.Run:
    job = {"dataset": {"path": str(small)}, "output": {"path": str(out)}, "engine": {"workers": 1}}
    return miner.mine(job, progress=progress)


def test_no_duration_is_of_the_wall(
    small: Path, tmp_path: Path, wall: Wall, caplog: pytest.LogCaptureFixture
) -> None:
    steady = mine(small, tmp_path / "steady", lambda *_: None)

    def jump(stage: str, done: int, total: int) -> None:
        wall.ahead = DAY if wall.ahead < 0 else -DAY

    caplog.set_level(logging.INFO, "miner")
    run = mine(small, tmp_path / "out", jump)
    told = [one.facts for one in caplog.records if hasattr(one, "facts")]
    seconds = [facts["seconds"] for facts in told if "seconds" in facts]
    seconds += [*run.manifest["timings"].values(), run.manifest["embedding"]["seconds"]]
    assert len(seconds) > 10 and all(0 <= one < 600 for one in seconds)
    assert payload(run.path) == payload(steady.path)
    assert miner.verify_run(run).problems == []


@pytest.mark.parametrize("days", [-3, 3])
def test_work_goes_on_whenever_it_is(small: Path, tmp_path: Path, wall: Wall, days: int) -> None:
    out = tmp_path / "out"

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "writing":
            raise Broken

    with pytest.raises(Broken):
        mine(small, out, stop)
    (left,) = (out / ".staging").iterdir()
    records = {path: path.stat().st_mtime_ns for path in left.glob("work/count-*.json")}
    wall.ahead = days * DAY
    stages = set()
    run = mine(small, out, lambda stage, done, total: stages.add(stage) if done == 0 else None)
    assert records and run.run_id == left.name == miner.latest_id(out)
    assert run.manifest["embedding"]["embedded"] == 0
    assert payload(run.path) == payload(mine(small, tmp_path / "fresh", lambda *_: None).path)


def test_the_run_made_last_is_the_latest(words: list[str], wall: Wall, cli: Cli) -> None:
    """By its name it is not: names are in the order of the clock that they were made by."""
    out, made = Path(words[4]), []
    for wall.ahead in (3 * DAY, -3 * DAY, 0.0):
        assert cli(*words, "--force", "--quiet").code == 0
        made.append(miner.latest_id(out))
    assert len(set(made)) == 3 and sorted(made) == [made[1], made[2], made[0]]
    wall.ahead = -3 * DAY
    assert cli(*words, "--quiet").code == 0  # nothing to do
    assert miner.latest_id(out) == made[2]
    assert cli("prune", out, "--keep", 1).code == 0
    assert sorted(path.name for path in (out / "runs").iterdir()) == [made[2], made[0]]
    assert (out / "latest").resolve().name == made[2]


def test_work_of_the_future_is_not_old(small: Path, words: list[str], wall: Wall, cli: Cli) -> None:
    """Nor is it removed under the hands of the one who is at it, however old it seems."""
    out = Path(words[4])
    seen = []

    def look(stage: str, done: int, total: int) -> None:
        if stage == "writing" and not seen:
            wall.ahead = 3 * DAY
            seen.append(cli("prune", out).code)
            raise Broken

    with pytest.raises(Broken):
        mine(small, out, look)
    assert seen == [4]
    (left,) = (out / ".staging").iterdir()
    wall.ahead = -3 * DAY
    assert cli("prune", out).code == 0 and left.exists()
    wall.ahead = 3 * DAY
    assert cli("prune", out).code == 0 and not left.exists()
