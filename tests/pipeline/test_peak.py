"""The peak memory of a run is its own, not that of the process that started it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from miner.pipeline.attempt import peak_rss
from tests.conftest import ROOT

FAT = 600 << 20
PARENT = f"""
import subprocess, sys
held = bytearray({FAT})
held[::4096] = bytes(len(range(0, {FAT}, 4096)))
child = "from miner.pipeline.attempt import peak_rss; print(peak_rss())"
print(subprocess.run([sys.executable, "-c", child], stdout=-1, text=True, check=True).stdout)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a child begins at zero")
def test_a_fat_parent_does_not_show() -> None:
    command = [sys.executable, "-c", PARENT]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert 10 << 20 < int(done.stdout) < FAT


def test_without_a_status_file_the_system_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: Path) -> str:
        raise FileNotFoundError(str(path))

    monkeypatch.setattr(Path, "read_text", missing)
    assert peak_rss() > 10 << 20
