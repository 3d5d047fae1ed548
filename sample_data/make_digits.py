"""Write ``digits.parquet`` next to this file.

The 1,797 8x8 handwritten digits that scikit-learn ships, one row per image:

* ``id``     int32, the row number in scikit-learn's order
* ``image``  fixed_size_list<uint8>[64], row-major pixel values 0..16
* ``label``  int32, the digit 0..9

Needs scikit-learn and pyarrow; nothing is downloaded.

    python sample_data/make_digits.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.datasets import load_digits

OUTPUT = Path(__file__).resolve().parent / "digits.parquet"
PIXELS = 64


def digits_table() -> pa.Table:
    """Return the digits as an Arrow table without schema metadata."""
    digits = load_digits()
    images = np.ascontiguousarray(digits.data).astype(np.uint8)
    if images.shape[1] != PIXELS or not np.array_equal(images, digits.data):
        raise ValueError("the pixel values are not 64 whole numbers per image")

    image_type = pa.list_(pa.uint8(), PIXELS)
    schema = pa.schema([("id", pa.int32()), ("image", image_type), ("label", pa.int32())])
    columns = [
        pa.array(np.arange(len(images), dtype=np.int32)),
        pa.FixedSizeListArray.from_arrays(pa.array(images.ravel()), type=image_type),
        pa.array(digits.target.astype(np.int32)),
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def main() -> None:
    """Write the table; print its path, rows and bytes."""
    table = digits_table()
    pq.write_table(table, OUTPUT, compression="zstd")
    sys.stdout.write(f"{OUTPUT}: {table.num_rows} rows, {OUTPUT.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
