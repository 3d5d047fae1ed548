"""Index files, which FAISS writes: a disk that refuses them is told as for any other file."""

from __future__ import annotations

import errno
import os
import resource
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import miner
from miner.errors import StorageError
from miner.indexes.base import build_index, open_index
from tests.faults.driver import Driver, limited
from tests.faults.jobs import QUIET, payload, words
from tests.faults.storm import Lab

FACTORIES = ["Flat", "HNSW8", "IVF8,Flat"]


def built(factory: str) -> miner.indexes.base.Index:
    rows = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
    return build_index(factory, "euclidean", 8, [rows], lambda most: rows)


@pytest.mark.parametrize("factory", FACTORIES)
def test_a_disk_that_is_full_before_its_last_byte(factory: str, tiny: Path) -> None:
    """FAISS itself would only print that its last write failed."""
    index, path = built(factory), tiny / "index.faiss"
    index.save(path)
    size, blocks = path.stat().st_size, os.statvfs(tiny).f_blocks
    path.unlink()
    for room in (0, 1, size // 8192, (size - 1) // 4096):  # pages that are left
        (tiny / "filler").write_bytes(bytes((blocks - room) * 4096))
        with pytest.raises(StorageError, match=os.strerror(errno.ENOSPC)) as told:
            index.save(path)
        assert str(told.value).startswith(f"{path}: ") or ".index.faiss." in str(told.value)
        assert os.listdir(tiny) == ["filler"]
    (tiny / "filler").unlink()
    index.save(path)
    assert path.stat().st_size == size


def test_an_index_file_that_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "index.faiss"
    with pytest.raises(StorageError, match=r"index.faiss: No such file or directory"):
        open_index("HNSW8", "euclidean", path)
    built("HNSW8").save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(StorageError, match=r"index.faiss cannot be opened: .*; run the command"):
        open_index("HNSW8", "euclidean", path)


APPROXIMATE = ("--index", "HNSW32", "--set", "index.min_recall=1e-9")


@pytest.mark.slow
def test_a_run_goes_on_after_its_index_was_refused(lab: Lab, tmp_path: Path) -> None:
    truth = Driver([*words(lab.data, tmp_path / "truth"), *APPROXIMATE], tmp_path)
    assert truth.start(more=QUIET).code == 0
    driver = Driver([*words(lab.data, tmp_path / "out"), *APPROXIMATE], tmp_path)
    hit = driver.start(before=partial(limited, resource.RLIMIT_FSIZE, 60_000), more=QUIET)
    assert hit.code == 6, hit
    (line,) = (one for one in hit.err.splitlines() if not one.startswith("mine: warning: "))
    assert "index.faiss" in line and "File too large; nothing was published; raise the" in line
    assert driver.start(more=QUIET).code == 0
    runs = [payload((tmp_path / name / "latest").resolve()) for name in ("truth", "out")]
    assert runs[0] == runs[1]
