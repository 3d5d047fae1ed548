"""A model of the hub without a network: one line."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

DATA = ROOT / "sample_data/support_requests.csv"


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None, reason="it is not installed"
)
def test_a_hub_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    words = ["--model", "sentence-transformers:org/none", "--out", str(tmp_path / "out"), "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "miner", "run", "--data", str(DATA), *words],
        cwd=ROOT,
        env={**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 6
    assert done.stderr.startswith("mine: error: model 'sentence-transformers:org/none': no network")
    assert done.stderr.count("\n") == 1
