"""Finished runs whose shards have many small row groups, like the large groups of large runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import miner
from miner.runs.manifest_schema import manifest_checksum
from miner.storage.files import sha256_file
from miner.storage.json_files import write_json
from tests.training.exports.conftest import make_run

GROUP = 97
RunOf = Callable[[str], miner.Run]


def resealed(run: miner.Run) -> miner.Run:
    """Let the manifest of a run have the checksums of its shards as they are now."""
    manifest = run.manifest
    for shard in manifest["shards"]:
        path = run.path / shard["path"]
        shard |= {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    manifest["checksum"] = manifest_checksum(manifest)
    write_json(run.path / "manifest.json", manifest)
    return miner.open_run(run.path)


@pytest.fixture(scope="session")
def cut_run(tmp_path_factory: pytest.TempPathFactory) -> RunOf:
    """Return a function that makes a run of a kind of `make_run`, with row groups of 97 rows."""
    made: dict[str, miner.Run] = {}

    def get(kind: str) -> miner.Run:
        if kind not in made:
            run = make_run(kind, tmp_path_factory.mktemp(kind.replace(" ", "-")))
            for path in run.path.glob("*hard/*.parquet"):
                table = pq.read_table(path)
                pq.write_table(table, path, row_group_size=GROUP)
            made[kind] = resealed(run)
        return made[kind]

    return get


@pytest.fixture
def own_copy(cut_run: RunOf, tmp_path: Path) -> miner.Run:
    """Return a copy of a run that a test may damage."""
    root = shutil.copytree(cut_run("texts").root, tmp_path / "copy", symlinks=True)
    return miner.open_run(root)
