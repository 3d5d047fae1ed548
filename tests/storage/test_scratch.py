"""Temporary folders of processes that were killed go with the next one that makes one."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from miner.storage.scratch import scratch_folder
from tests.conftest import ROOT

HOLD = """
import sys
from miner.storage.scratch import scratch_folder
with scratch_folder("mine-test-") as folder:
    (folder / "deep").mkdir()
    (folder / "deep" / "file").write_text("x")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders go, here and in processes that are started from here."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def holder(place: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has a folder."""
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def test_what_a_killed_process_left_is_removed(holder: subprocess.Popen[str], place: Path) -> None:
    assert holder.stdout is not None
    left = Path(holder.stdout.readline().strip())
    with scratch_folder("mine-test-") as mine:
        assert (left / "deep" / "file").exists() and mine.is_dir()  # it lives
    assert not mine.exists()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert left.exists()
    with scratch_folder("mine-other-"):
        assert left.exists()
    with scratch_folder("mine-test-") as mine:
        assert list(place.iterdir()) == [mine]


def test_what_is_not_known_to_be_dead_stays(place: Path) -> None:
    (place / "mine-test-of-others").mkdir()
    (place / "elsewhere").mkdir()
    (place / "elsewhere" / ".held").touch()
    (place / "mine-test-link").symlink_to("elsewhere")
    (place / "mine-test-file").touch()
    (place / "mine-test-linked").mkdir()
    (place / "mine-test-linked" / ".held").symlink_to("../elsewhere/.held")
    before = sorted(place.rglob("*"))
    with scratch_folder("mine-test-"):
        assert set(before) < set(place.rglob("*"))
    assert sorted(place.rglob("*")) == before


def test_many_at_once_do_not_take_each_others(place: Path) -> None:
    lost: list[Path] = []

    def work() -> None:
        for _ in range(50):
            with scratch_folder("mine-test-") as folder:
                (folder / "file").touch()
                if not (folder / ".held").exists():
                    lost.append(folder)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lost == [] and list(place.iterdir()) == []


def test_without_locks_a_folder_is_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with scratch_folder("mine-test-") as one, scratch_folder("mine-test-") as other:
        assert one.is_dir() and other.is_dir() and one != other
    assert list(place.iterdir()) == []
