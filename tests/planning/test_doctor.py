"""`mine doctor` says what this machine has."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import miner
from tests.conftest import Result

Cli = Callable[..., Result]


def test_it_says_what_there_is(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MINE_WORK", str(tmp_path / "work"))
    said = cli("doctor")
    assert said.code == 0
    for words in (miner.__version__, f"numpy {np.__version__}", tmp_path / "cache", "usable cores"):
        assert str(words) in said.out
    assert max(map(len, said.out.splitlines())) <= 80 + len(str(tmp_path))
    facts = json.loads(cli("doctor", "--json").out)
    assert facts["cores"] == len(os.sched_getaffinity(0))
    assert facts["memory_bytes"] > 1 << 28 and facts["disk_free_bytes"] > 0
    assert facts["work"] == str(tmp_path / "work")


def test_it_names_the_packages_that_an_extra_lacks(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = ["duckdb>=1.4; extra == 'sql'", "no-such-package>=3; extra == 'sql'", "numpy>=2"]
    named = [one.replace("'", '"') for one in named]
    monkeypatch.setattr("miner.planning.doctor.requires", lambda name: named)
    pytest.importorskip("duckdb")
    assert miner.machine_facts()["extras"]["sql"] == ["no-such-package"]
    assert "not installed: no-such-package" in cli("doctor").out
