"""`metrics.prom`, for the textfile collector: whole, of every ending, with the last success."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import miner
from miner.errors import StorageError
from miner.runs.metrics import RunMetrics, write_metrics
from miner.storage.locks import lock_output
from tests.conftest import Result
from tests.durable import at_rename
from tests.operating import MAIN, SLOW, end, outs, series, start, wait_for_a_unit

Cli = Callable[..., Result]

SUCCESS = ("mine_last_success_timestamp_seconds",)
LAST = ("mine_last_run_timestamp_seconds",)
CODE = ("mine_last_exit_code",)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def words(small: Path, out: Path) -> list[str]:
    return ["run", "--data", str(small), "--out", str(out), "--quiet"]


def counts(run: miner.Run) -> dict[tuple[str, ...], float]:
    """What a metrics file says of a run, by its manifest."""
    census, written = run.manifest["census"], run.manifest["written"]
    found: dict[tuple[str, ...], float] = {("mine_items",): 60, ("mine_anchors",): 60}
    found |= {("mine_triplets", f"class={k}"): census[k] for k in ("easy", "semi_hard", "hard")}
    found |= {("mine_triplets_written", f"class={k}"): written[k]["rows"] for k in written}
    found |= {("mine_recall", f"class={name}"): 1 for name in ("semi_hard", "hard")}
    found[("mine_info", f"run_id={run.run_id}", f"version={miner.__version__}")] = 1
    return found


def test_what_a_good_run_tells(words: list[str], out: Path, cli: Cli) -> None:
    before = time.time()
    assert cli(*words).code == 0
    run = miner.open_run(out)
    found = series(out / "metrics.prom")
    own = {key: value for key, value in found.items() if key in counts(run)}
    assert own == counts(run)
    assert outs(out / "metrics.prom") == {str(out)}
    assert before <= found[LAST] == found[SUCCESS] <= time.time()
    assert found[CODE] == 0
    stages = {k: v for k, v in found.items() if k[0] == "mine_duration_seconds"}
    names = {f"stage={name}" for name in ("embed", "index", "count", "write", "seal", "report")}
    assert {key[1] for key in stages} == names
    assert 0 < sum(stages.values()) <= found[("mine_run_duration_seconds",)] < 600
    assert found[("mine_peak_memory_bytes",)] > 2**24
    singles = {LAST, SUCCESS, CODE, ("mine_run_duration_seconds",), ("mine_peak_memory_bytes",)}
    gates = {(f"mine_gate_{what}", "gate=min_rows") for what in ("value", "bound")}
    assert set(found) == set(own) | set(stages) | singles | gates
    rows = sum(one["rows"] for one in run.manifest["written"].values())
    assert found[("mine_gate_value", "gate=min_rows")] == rows
    in_the_run = series(run.path / "metrics.prom")
    assert {key: in_the_run[key] for key in own} == own
    assert in_the_run[CODE] == 0
    assert found[LAST] - 600 < in_the_run[SUCCESS] <= found[LAST]


def _bad_data(words: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Result:
    return cli(*words, "--set", "dataset.label=colour")


def _gate(words: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Result:
    return cli(*words, "--margin", "0.3", "--set", "gates.max_hard_share=0")


def _lock(words: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Result:
    with lock_output(Path(words[4])):
        return cli(*words)


def _storage(words: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Result:
    """The disk is full, as long as the run is at work."""

    def full(handle: int) -> None:
        if ".staging" in os.readlink(f"/proc/self/fd/{handle}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    return cli(*words, "--margin", "0.3")


def _defect(words: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Result:
    at_rename("census.parquet", lambda *_: 1 / 0, patch=monkeypatch.setattr)
    return cli(*words, "--margin", "0.3")


def _signal(words: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Result:
    process = start(SLOW + MAIN, *words, "--margin", "0.3", "--workers", "1")
    wait_for_a_unit(Path(words[4]))
    process.send_signal(signal.SIGTERM)
    return end(process)


ENDINGS = {3: _bad_data, 5: _gate, 4: _lock, 6: _storage, 1: _defect, 143: _signal}


@pytest.mark.parametrize("code", ENDINGS)
def test_a_failure_is_told_beside_the_last_success(
    words: list[str], out: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    assert cli(*words).code == 0
    run, good = miner.open_run(out), series(out / "metrics.prom")
    failed = ENDINGS[code](words, cli, monkeypatch)
    assert failed.code == code, failed.err
    assert len(failed.err.splitlines()) == 1
    assert f"is still run {run.run_id}" in failed.err
    bad = series(out / "metrics.prom")
    assert bad[CODE] == code
    assert bad[SUCCESS] == good[SUCCESS] < bad[LAST]
    assert {key: bad[key] for key in counts(run)} == counts(run)  # what trainers read now
    assert ("mine_gate_value", "gate=max_hard_share") in bad or code != 5


def test_a_first_start_that_fails(words: list[str], out: Path, cli: Cli) -> None:
    assert cli(*words, "--set", "dataset.label=colour").code == 3
    found = series(out / "metrics.prom")
    assert (found[CODE], found[SUCCESS]) == (3, 0)
    assert not [key for key in found if key[0].startswith(("mine_items", "mine_triplets"))]
    assert ("mine_info", f"version={miner.__version__}") in found
    assert cli(*words).code == 0
    assert series(out / "metrics.prom")[SUCCESS] > 0


def test_nothing_to_do_is_a_success(words: list[str], out: Path, cli: Cli) -> None:
    cli(*words)
    before = series(out / "metrics.prom")
    assert cli(*words).code == 0
    after = series(out / "metrics.prom")
    assert after[SUCCESS] > before[SUCCESS]
    assert after[("mine_items",)] == 60


def test_a_file_of_ones_own(words: list[str], out: Path, tmp_path: Path, cli: Cli) -> None:
    path = tmp_path / "textfile/mine.prom"
    more = ("--metrics", str(path))
    assert cli(*words, *more).code == 0
    assert not (out / "metrics.prom").exists()
    assert list(path.parent.glob("*.prom")) == [path]
    assert path.stat().st_mode & 0o444 == 0o444 & ~_umask()
    good = series(path)
    assert cli(*words, *more, "--margin", "0").code == 2  # the job is not even read
    assert outs(path) == {str(out)}
    bad = series(path)
    assert (bad[CODE], bad[SUCCESS]) == (2, good[SUCCESS])
    assert cli(*words, *more, "--dry-run").code == 0
    assert series(path) == bad
    other = ["--out", str(tmp_path / "other"), "--set", "dataset.label=colour"]
    assert cli(*words, *more, *other).code == 3
    assert series(path)[SUCCESS] == 0  # the success was another job's


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_wrong_usage_makes_no_folder(words: list[str], out: Path, cli: Cli) -> None:
    assert cli(*words, "--margin", "0").code == 2
    assert not out.exists()


def test_a_damaged_file_is_replaced(words: list[str], out: Path, cli: Cli) -> None:
    out.mkdir()
    for content in (b"\xff\xfe", b"mine_last_success_timestamp_seconds{out=\n", b""):
        (out / "metrics.prom").write_bytes(content)
        assert cli(*words).code == 0
        assert series(out / "metrics.prom")[CODE] == 0


def test_metrics_that_cannot_be_written_are_a_warning(
    words: list[str], out: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli(*words).code == 0
    before = (out / "metrics.prom").read_bytes()

    def full(handle: int) -> None:
        name = os.readlink(f"/proc/self/fd/{handle}")
        if ".metrics.prom." in name and "/.staging/" not in name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    result = cli(*words)
    assert result.code == 0
    assert result.err.splitlines() == [
        f"mine: warning: {out}/metrics.prom cannot be written: No space left on device; the run "
        "itself is not affected"
    ]
    assert (out / "metrics.prom").read_bytes() == before
    assert not list(out.glob(".metrics.prom*.tmp"))
    nowhere = cli(*words, "--metrics", "/sys/mine.prom")
    assert nowhere.code == 0
    assert "/sys/mine.prom cannot be written" in nowhere.err


def metered(out: Path, code: int) -> RunMetrics:
    return RunMetrics(str(out), time.time(), code, 1.0, {"embed": 0.5}, 1 << 20)


def test_readers_and_writers_at_once(tmp_path: Path) -> None:
    """Of many starts at once no reader sees half a file, and no refused one undoes the success."""
    path = tmp_path / "m.prom"
    write_metrics(path, metered(tmp_path, 0))
    success, done = series(path)[SUCCESS], threading.Event()
    seen: list[float] = []

    def read() -> None:
        while not done.is_set():
            seen.append(series(path)[SUCCESS])

    def write() -> None:
        for _ in range(10):
            write_metrics(path, metered(tmp_path, 4))

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write) for _ in range(3)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert seen and set(seen) == {success}
    assert series(path)[CODE] == 4
    with pytest.raises(StorageError):
        write_metrics(path / "below.prom", metered(tmp_path, 0))
