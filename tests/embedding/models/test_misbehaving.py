"""Whatever a server of embeddings does, a run ends in time, with a code and words that are true."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("requests")

from tests.conftest import Result
from tests.embedding.models.misbehaving import WAYS, misbehaving

CLIENT = "miner.embedding.models.http_client"
SPARE = 10.0
"""Seconds that a busy machine may take for the run itself."""


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{CLIENT}._FIRST_PAUSE", 0.001)
    monkeypatch.setattr(f"{CLIENT}._LONGEST_PAUSE", 0.01)


@pytest.mark.sampled(60)
@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("name", WAYS)
def test_a_run_ends_whatever_the_server_does(
    name: str,
    texts: Path,
    tmp_path: Path,
    cli: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    way, tries = WAYS[name], 3
    monkeypatch.setattr(f"{CLIENT}._DEADLINE", way.deadline)
    with misbehaving(way) as server:
        began = time.monotonic()
        result = cli(
            *("run", "--data", texts, "--out", tmp_path / "out", "--model", f"http:{server.url}"),
            *("--set", f"model.options.timeout={way.timeout}"),
            *("--set", f"model.options.retries={tries - 1}"),
            *("--set", "select.max_triplets=0"),
        )
        seconds = time.monotonic() - began
    assert result.code == way.code, result.err
    assert re.search(way.words, result.err), result.err
    assert seconds < tries * way.deadline * way.timeout + SPARE
    if way.code:
        assert len(result.err.strip().splitlines()) <= 2 and "Traceback" not in result.err
    if way.requests is not None:
        assert server.requests == way.requests
