"""A file of a run that was changed or is missing is named by whatever reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import miner
from miner.errors import StorageError
from tests.conftest import Result

Cli = Callable[..., Result]


def readers(run: miner.Run, out: Path) -> list[list[object]]:
    """Commands that read the shards of a run."""
    return [
        ["show", run.path],
        ["report", run.path, "--output", out],
        ["compare", run.path, run.path],
        *(["export", run.path, "--format", name, "--out", out] for name in ("triplet", "pair")),
    ]


def test_no_flip_of_a_bit_gives_another_output(cli: Cli, run: miner.Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for name in ("hard/part-00000.parquet", "semi_hard/part-00000.parquet", "census.parquet"):
        path = run.path / name
        whole = path.read_bytes()
        for at in rng.integers(len(whole), size=8).tolist():
            broken = bytearray(whole)
            broken[at] ^= 1 << int(rng.integers(8))
            path.write_bytes(broken)
            done = cli("export", run.path, "--format", "triplet", "--out", tmp_path / "x")
            assert (done.code, done.out) == (6, "") and f"{name} was changed" in done.err
            assert done.err.count("\n") == 1 and not (tmp_path / "x").exists()
        path.write_bytes(whole)


@pytest.mark.parametrize("what", ["was changed", "is missing"])
def test_all_readers_name_what_is_damaged(
    cli: Cli, run: miner.Run, tmp_path: Path, what: str
) -> None:
    torch = pytest.importorskip("miner.torch")
    shard = run.path / "hard" / "part-00000.parquet"
    if what == "is missing":
        shard.unlink()
    else:
        content = bytearray(shard.read_bytes())
        content[len(content) // 3] ^= 1
        shard.write_bytes(content)
    for words in [*readers(run, tmp_path / "x"), ["verify", run.path]]:
        done = cli(*words)
        assert done.code == 6 and done.err.count("\n") == 1
        assert f"hard/part-00000.parquet {what}" in done.err
    for read in (miner.Run.triplets, miner.Run.part_paths, torch.TripletDataset):
        with pytest.raises(StorageError, match=what):
            read(miner.open_run(run.path), "hard")
    with pytest.raises(StorageError, match=what):
        torch.TripletIndex(run.path)
    assert miner.open_run(run.path).part_paths("semi_hard")


def test_a_changed_manifest_is_named(cli: Cli, run: miner.Run, tmp_path: Path) -> None:
    path = run.path / "manifest.json"
    path.write_text(path.read_text().replace('"margin": 0.2', '"margin": 0.3'))
    for words in readers(run, tmp_path / "x"):
        done = cli(*words)
        assert done.code == 6 and "manifest.json was changed" in done.err
