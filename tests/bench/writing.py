"""Mine a synthetic labelled set with a cap on the written triplets, and print time and memory.

Run it as a separate process. It prints one JSON line. A stub model returns the texts' vectors.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.common import median, peak_bytes, report, rounded, timed
from tests.bench.shapes import clusters

ROWS, DIM, CLASSES = 20_000, 64, 400
WORKERS = 2


def make(folder: Path) -> dict[str, Any]:
    """Write vectors with text ids, and texts with the same labels and clusters."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(8)
    labels = rng.integers(0, CLASSES, ROWS)
    vectors = clusters(rng, labels, rng.standard_normal((CLASSES, DIM)), (1.0, 1.5))
    ids = [f"row-{row:06d}" for row in range(ROWS)]
    listed = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), DIM)
    pq.write_table(
        pa.table({"id": ids, "embedding": listed, "label": labels}), folder / "ids.parquet"
    )
    words = np.array([f"word{number}" for number in range(3_000)])
    texts = [" ".join(rng.choice(words, rng.integers(5, 15))) + f" {row}" for row in range(ROWS)]
    pq.write_table(pa.table({"id": ids, "text": texts, "label": labels}), folder / "texts.parquet")
    np.save(folder / "vectors.npy", vectors)
    return {}


class Stub:
    """A model that returns the vector of a text by the number at the end of the text."""

    def embed(self, texts: list[str]) -> np.ndarray:
        vectors = np.load("vectors.npy", mmap_mode="r")
        return np.asarray(vectors[[int(text.rsplit(" ", 1)[1]) for text in texts]])


def mine(folder: Path, content: str, most: int) -> dict[str, Any]:
    """Mine with a cap on each class; the manifest has the time of each stage."""
    import miner

    model = {"name": "tests.bench.writing:Stub"} if content == "texts" else {}
    run = miner.mine(
        {
            "dataset": {"path": str(folder / f"{content}.parquet")},
            "model": model,
            "select": {"max_triplets": most},
            "output": {"path": str(folder / "out")},
        },
        force=True,
    )
    shards = run.manifest["shards"]
    return {
        "rows": sum(shard["rows"] for shard in shards),
        "bytes": sum(shard["bytes"] for shard in shards),
        "peak_bytes": peak_bytes(),
        "timings": run.manifest["timings"],
    }


def rewrite(folder: Path, rounds: int) -> dict[str, Any]:
    """Measure the yardstick: write the finished tables of the shards from memory, with pyarrow.

    Row groups, columns, compression and page checksums are the same, and two shards are written at
    a time.
    """
    import pyarrow.parquet as pq

    paths = sorted((folder / "out" / "latest").glob("*/part-*.parquet"))
    tables = [pq.read_table(path) for path in paths]
    group = max(pq.ParquetFile(path).metadata.row_group(0).num_rows for path in paths)
    texts = [field.name for field in tables[0].schema if str(field.type) != "float"]

    def write(number: int) -> None:
        with pq.ParquetWriter(
            folder / f"again-{number}.parquet",
            tables[number].schema,
            compression="zstd",
            compression_level=3,
            use_dictionary=texts,
            write_page_checksum=True,
            version="2.6",
        ) as writer:
            writer.write_table(tables[number], row_group_size=group)

    def every() -> None:
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(write, range(len(tables))))

    every()
    seconds = [timed(every) for _ in range(rounds)]
    size = sum((folder / f"again-{number}.parquet").stat().st_size for number in range(len(paths)))
    rows = sum(table.num_rows for table in tables)
    return {"rows": rows, "bytes": size, "seconds": median(seconds), "rounds": rounded(seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=["make", "mine", "rewrite"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--content", choices=["ids", "texts"], default="ids")
    parser.add_argument("--most", type=int, default=500_000, help="most rows of each class")
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    if given.work == "make":
        report(make(given.folder))
    elif given.work == "mine":
        report(mine(given.folder, given.content, given.most))
    else:
        report(rewrite(given.folder, given.rounds))


if __name__ == "__main__":
    main()
