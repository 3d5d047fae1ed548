"""A package of others adds a model through the entry points `mine.models`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import numpy as np


def letters(texts):
    return np.array([[1.0 + t.count(c) for c in "aeiou"] for t in texts], dtype=np.float32)
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Install a package by hand: a module, and what pip would write about it."""
    place = tmp_path / "site"
    about = place / "letters_model-1.0.dist-info"
    about.mkdir(parents=True)
    (place / "letters_model.py").write_text(CODE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: letters-model\nVersion: 1.0\n")
    points = "[mine.models]\nletters = letters_model:letters\nbroken = letters_model_gone:embed\n"
    (about / "entry_points.txt").write_text(points)
    return place


def run(package: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "miner", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_package_adds_a_model(package: Path, texts: Path, tmp_path: Path) -> None:
    listed = run(package, tmp_path, "models", "--json")
    states = {row["name"]: row["state"] for row in json.loads(listed.stdout)}
    assert states["letters"] == "ready"
    assert "letters_model_gone" in states["broken"] and states["wordllama"] == "ready"
    words = ["run", "--data", str(texts), "--out", "out", "--json", "--model"]
    ran = run(package, tmp_path, *words, "letters")
    assert ran.returncode == 0, ran.stderr
    facts = json.loads(ran.stdout)["model"]
    assert (facts["id"], facts["dim"]) == ("letters", 5)
    failed = run(package, tmp_path, *words, "broken")
    assert failed.returncode == 2 and "letters_model_gone" in failed.stderr
