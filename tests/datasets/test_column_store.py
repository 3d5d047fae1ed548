"""Columns on disk: the values of rows come in the order asked for, whole or in slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from miner.datasets.base import ROWS
from miner.datasets.column_store import ColumnFile, write_column


@pytest.fixture(scope="module")
def column(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("column") / "ids.arrow"
    write_column(path, pa.array([f"row {n}" for n in range(2 * ROWS + 5)]))
    return path


@pytest.mark.parametrize("most", [0, 1 << 30], ids=["slice by slice", "at once"])
@pytest.mark.parametrize("count", [0, 1, 7, 50, 9000], ids=str)
def test_slices_hold_the_values_of_the_rows(column: Path, count: int, most: int) -> None:
    spool = ColumnFile(column, most_bytes=most)
    rows = np.random.default_rng(count).integers(0, 2 * ROWS + 5, count)
    rows[count // 2 :] = 2 * ROWS + 4  # the last, often
    expected = [f"row {row}" for row in rows]
    assert spool.take(rows).to_pylist() == expected
    parts = [part.to_pylist() for part in spool.slices(rows, 7)]
    assert [value for part in parts for value in part] == expected
    assert [len(part) for part in parts[:-1]] == [7] * (len(parts) - 1)
