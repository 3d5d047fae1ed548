"""Input that changes or goes as it is read: exit code 3, and nothing of it is taken for another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import miner
from miner.errors import DataError

Progress = Callable[[str, int, int], None]


class Letters(miner.Model):
    """Counts letters."""

    def weights(self) -> str:
        return "letters"

    def embed(self, batch: Sequence[str]) -> np.ndarray:
        return np.array([[len(text), text.count("x") + 1.0] for text in batch], dtype=np.float32)


def write(path: Path, letter: str) -> None:
    lines = [f"{letter * (20 + n % 7)}{n:03},c{n % 9}" for n in range(300)]
    path.write_text("\n".join(["text,label", *lines]))


def mine(data: Path, out: Path, progress: Progress = lambda *_: None) -> miner.Run:
    job = {
        "dataset": {"path": str(data)},
        "model": {"name": "tests.faults.test_changed_input:Letters"},
        "select": {"max_triplets": 0},
        "output": {"path": str(out), "content": False},
    }
    return miner.mine(job, progress=progress)


def at(wanted: str, act: Callable[[], None]) -> Progress:
    """Do something when a stage of that name begins."""

    def meddle(stage: str, done: int, total: int) -> None:
        if stage == wanted and not done:
            act()

    return meddle


@pytest.mark.parametrize("stage", ["reading", "embedding"])
def test_no_vector_is_kept_for_other_content(tmp_path: Path, stage: str) -> None:
    data, out, told = tmp_path / "texts.csv", tmp_path / "out", "changed as it was read; run the"
    write(data, "a")
    with pytest.raises(DataError, match=told):
        mine(data, out, at(stage, partial(write, data, "x")))
    assert not (out / "latest").exists()
    write(data, "a")
    again, fresh = mine(data, out), mine(data, tmp_path / "fresh")
    vectors = [next(run.root.glob(".store/*/vectors-0.f32")).read_bytes() for run in (again, fresh)]
    assert vectors[0] == vectors[1]


@pytest.mark.parametrize("stage", ["reading", "embedding"])
def test_input_that_goes_is_missed_by_name(tmp_path: Path, stage: str) -> None:
    data, out = tmp_path / "texts.csv", tmp_path / "out"
    write(data, "a")
    with pytest.raises(DataError) as told:
        mine(data, out, at(stage, data.unlink))
    assert str(data) in str(told.value) and "\n" not in str(told.value)
    assert not (out / "latest").exists()
    write(data, "a")
    assert mine(data, out).run_id == miner.latest_id(out)


def test_input_is_read_to_its_end_before_triplets_are_counted(tmp_path: Path) -> None:
    """What happens to it later is of no matter."""
    data, out = tmp_path / "texts.csv", tmp_path / "out"
    write(data, "a")
    run = mine(data, out, at("counting", data.unlink))
    write(data, "a")
    assert miner.verify_run(run).problems == []
