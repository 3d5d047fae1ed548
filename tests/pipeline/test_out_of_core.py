"""Out of core: vectors of four times the memory are mined exactly, and never held."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from tests.pipeline.engines.data import payload

MIB = 1 << 20
LITTLE, PLENTY = "32MiB", "1GiB"
SPARE = 128 * MIB
"""For counts, ids and links (some 400 bytes a row, measured), tiles and row groups on their way."""


def write_rows(path: Path, rows: int, dim: int, labels: int = 0) -> Path:
    """Write random vectors to a Parquet file, some at a time: id, embedding, label."""
    rng = np.random.default_rng(rows)
    with pq.ParquetWriter(path, _schema(labels), compression="none") as writer:
        for start in range(0, rows, 2048):
            ids = np.arange(start, min(start + 2048, rows))
            values = rng.standard_normal(len(ids) * dim, dtype=np.float32)
            columns = [ids, pa.ListArray.from_arrays(np.arange(len(ids) + 1) * dim, values)]
            columns += [ids % labels] if labels else []
            writer.write_table(pa.table(columns, schema=_schema(labels)))
    return path


def _schema(labels: int) -> Any:
    fields = [("id", pa.int64()), ("embedding", pa.list_(pa.float32()))]
    return pa.schema(fields + [("label", pa.int64())] * bool(labels))


def pairs(folder: Path, rows: int, dim: int) -> dict[str, str]:
    """Write 300 queries with 3 links each to a corpus; return the section of a job."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    links = {"query_id": np.arange(900) // 3, "corpus_id": rng.choice(rows, 900, replace=False)}
    pq.write_table(pa.table(links), folder / "links.parquet")
    write_rows(folder / "queries.parquet", 300, dim)
    write_rows(folder / "corpus.parquet", rows, dim)
    return {role: str(folder / f"{role}.parquet") for role in ("queries", "corpus", "links")}


@dataclass(frozen=True)
class MinedClass:
    """A run in a process of its own: its bytes, and its most memory, all and anonymous."""

    files: dict[str, bytes]
    peak: int
    anonymous: int


def run(dataset: dict[str, str], out: Path, memory: str) -> MinedClass:
    """Mine; look at the process some hundred times a second."""
    sections = {f"dataset.{role}": path for role, path in dataset.items()}
    sections |= {"mining.memory": memory, "select.max_triplets": "20000"}
    words = [word for name, value in sections.items() for word in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "miner", "run", *words, "--out", str(out), "--workers", "2"]
    process = subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True)
    most, ended = [0], threading.Event()
    watching = threading.Thread(target=_watch, args=(process.pid, most, ended))
    watching.start()
    said, _ = process.communicate(timeout=300)
    ended.set()
    watching.join()
    assert process.returncode == 0
    return MinedClass(payload(miner.open_run(out)), json.loads(said)["peak_rss_bytes"], most[0])


def _watch(pid: int, most: list[int], ended: threading.Event) -> None:
    """Note the most anonymous memory: what is mapped from files is the kernel's to take back."""
    while not ended.wait(0.004):  # less than it takes to fill a few MiB
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return
        held = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon:")]
        most[0] = max([most[0], *(1024 * int(kib) for kib in held)])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel for anonymous memory")
def test_vectors_of_many_times_the_memory_are_not_held(tmp_path: Path) -> None:
    """Reading, storing, the index, both passes, sealing: none holds what it streams."""
    rows, dim = 200_000, 512
    vectors = 4 * rows * dim
    tiny = run(pairs(tmp_path / "few", 1000, dim), tmp_path / "base", LITTLE)
    dataset = pairs(tmp_path / "many", rows, dim)
    little = run(dataset, tmp_path / "little", LITTLE)
    plenty = run(dataset, tmp_path / "plenty", PLENTY)
    assert little.files == plenty.files and len(little.files) == 4
    assert vectors > 12 * 32 * MIB
    assert little.anonymous - tiny.anonymous < 32 * MIB + SPARE < vectors / 2
    # Rows are kept where there is room: of two runs of the same data it shows in one.
    assert plenty.anonymous - little.anonymous > vectors / 2
    assert little.peak >= little.anonymous


@pytest.mark.slow
def test_labelled_items_of_many_times_the_memory_have_the_same_bytes(tmp_path: Path) -> None:
    """Anchors and rows are the same: tiles in both directions."""
    path = write_rows(tmp_path / "data.parquet", 16_384, 512, labels=2000)
    little = run({"path": str(path)}, tmp_path / "little", "8MiB")
    plenty = run({"path": str(path)}, tmp_path / "plenty", PLENTY)
    assert 4 * 16_384 * 512 == 4 * 8 * MIB
    assert little.files == plenty.files and len(little.files) == 6


@pytest.mark.slow
def test_a_quarter_of_the_vectors_is_enough(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "data.parquet", 2048, 512, labels=300)
    seen = []
    for memory in ("1MiB", PLENTY):
        sections = {
            "dataset": {"path": str(path)},
            "mining": {"memory": memory},
            "select": {"max_triplets": 2000},
            "output": {"path": str(tmp_path / memory)},
        }
        seen.append(payload(miner.mine(sections)))
    assert seen[0] == seen[1] and len(seen[0]) == 6
