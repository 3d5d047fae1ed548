"""Input that changes as it is read: exit code 3, and nothing of it is taken for what was there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import miner
from miner.errors import DataError


class Meddling(miner.Model):
    """A model of lengths that changes the data before its second batch, once."""

    data: Path
    calls = 0

    def weights(self) -> str:
        return "lengths"

    def embed(self, batch: Sequence[str]) -> np.ndarray:
        Meddling.calls += 1
        if Meddling.calls == 2:
            write(Meddling.data, "x")
        return np.array([[len(text), text.count("x") + 1.0] for text in batch], dtype=np.float32)


def write(path: Path, letter: str) -> None:
    """Write long texts, so that the file is read in pieces; only their letters tell which."""
    lines = [f"{letter * (2000 + n % 7)}{n:06},c{max(n, 9)}" for n in range(3000)]
    path.write_text("\n".join(["text,label", *lines]))


def mine(data: Path, out: Path) -> miner.Run:
    return miner.mine(
        {
            "dataset": {"path": str(data)},
            "model": {"name": "tests.faults.test_changed_input:Meddling", "batch_size": 16},
            "select": {"max_triplets": 0},
            "index": {"factory": "Flat"},
            "mining": {"hubs": 0, "confusions": 0, "neighbours": 0, "gaps": 0},
            "output": {"path": str(out), "content": False},
        }
    )


def test_no_vector_is_kept_for_other_content(tmp_path: Path) -> None:
    data = Meddling.data = tmp_path / "texts.csv"
    write(data, "a")
    Meddling.calls = 0
    with pytest.raises(DataError, match="changed as it was read; run the same command again"):
        mine(data, tmp_path / "out")
    assert not (tmp_path / "out/latest").exists()
    write(data, "a")
    again = mine(data, tmp_path / "out")
    fresh = mine(data, tmp_path / "fresh")
    vectors = [next(run.root.glob(".store/*/vectors-0.f32")).read_bytes() for run in (again, fresh)]
    assert vectors[0] == vectors[1]
