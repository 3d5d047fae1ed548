"""Vectors in ``.npy`` files, whose other columns are in a table next to them.

Two layouts: ``NAME.npy`` with ``NAME.csv`` or ``labels.csv`` (or a table of another format), and
numbered parts, as img2dataset and clip-retrieval write LAION's sets: ``img_emb_0.npy`` with
``metadata_0.parquet``, in one folder or in folders of their own. Rows are joined by their numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from miner.datasets.base import Table
from miner.datasets.formats.arrays import COMPANIONS, array_column, load_vectors
from miner.errors import DataError
from miner.storage.arrays import release_pages

__all__ = ["TABLES", "VectorTable", "join_vectors", "table_of", "vector_files"]

_NUMBER = re.compile(r"(\d+)\D*$")
TABLES = ("csv", "tsv", "jsonl", "json", "parquet", "arrow")
"""Formats of a table next to vectors."""


@dataclass(frozen=True, slots=True)
class VectorTable:
    """A table with a column `embedding`, which is in other files.

    Attributes
    ----------
    ends : tuple of int
        For each array, the number of rows up to its end.
    usual : dict of str
        The column that is content by default.
    """

    where: str
    table: Table
    arrays: tuple[Any, ...]
    ends: tuple[int, ...]
    vectors: tuple[Path, ...]
    usual: dict[str, str] = field(default_factory=lambda: {"content": "embedding"})

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read: the table's, and the vectors."""
        return (*self.table.files, *self.vectors)

    @property
    def untyped(self) -> bool:
        """Whether the table has no types."""
        return self.table.untyped

    @property
    def faults(self) -> dict[str, str]:
        """The columns of the table that cannot be read."""
        return dict(getattr(self.table, "faults", {}))

    @property
    def types(self) -> dict[str, Any]:
        """The Arrow type of each column, by name."""
        return {**self.table.types, "embedding": array_column(self.arrays[0][:0]).type}

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Stream the named columns."""
        names = list(dict.fromkeys(columns))
        others = [name for name in names if name != "embedding"] or [first_column(self.table)]
        start = 0
        for batch in self.table.batches(others):
            if "embedding" in names:
                part = int(np.searchsorted(self.ends, start, side="right"))
                shift = self.ends[part] - len(self.arrays[part])
                rows = self.arrays[part][start - shift : start - shift + len(batch)]
                batch = batch.append_column("embedding", array_column(rows))
            start += len(batch)
            yield batch.select(names)
        for array in self.arrays:
            release_pages(array)


def first_column(table: Table) -> str:
    """Return a column that can be read, by which rows are counted."""
    faults = getattr(table, "faults", {})
    return next(name for name in table.types if name not in faults)


def vector_files(folder: Path) -> list[Path]:
    """List the ``.npy`` files of a folder, at any depth, that hold vectors; sorted by number."""
    ends = tuple(f".{name}.npy" for name in COMPANIONS)
    hidden = (".", "_")
    return sorted(
        (
            file
            for file in folder.rglob("*.npy")
            if not file.name.endswith(ends)
            and not any(part.startswith(hidden) for part in file.relative_to(folder).parts)
        ),
        key=_place,
    )


def _place(file: Path) -> tuple[int, str]:
    number = _NUMBER.search(file.stem)
    return (int(number[1]) if number else -1, file.as_posix())


def table_of(vectors: Path) -> Path | None:
    """Return the table that belongs to a ``.npy`` file by its name; None if there is none."""
    number = _NUMBER.search(vectors.stem)
    stems = [vectors.stem, "labels", *([f"metadata_{number[1]}"] if number else [])]
    folders = [vectors.parent, vectors.parent.parent / "metadata"]
    names = [
        folder / f"{stem}.{kind}{packed}"
        for stem in stems
        for folder in folders
        for kind in TABLES
        for packed in ("", ".gz", ".zst")
    ]
    return next((name for name in names if name.is_file()), None)


def join_vectors(
    where: str,
    vectors: Sequence[Path],
    tables: Sequence[Path],
    opened: Callable[[list[Path]], Table],
) -> VectorTable:
    """Join vectors and tables, part by part in the order of their numbers.

    Parameters
    ----------
    where : str
        The path, as error messages name it.
    vectors, tables : sequence of Path
    opened : callable
        Opens files as one table.

    Raises
    ------
    DataError
        If they do not belong together: the message says why.
    """
    vectors, tables = sorted(vectors, key=_place), sorted(tables, key=_place)
    stems = {_NUMBER.sub("", file.stem) for file in vectors}
    if len(vectors) > 1 and len(stems) > 1:
        raise DataError(
            f"{where} holds vectors of several names ({', '.join(sorted(stems))}); name those that "
            f"are meant by a pattern, such as '{vectors[0].parent}/{min(stems)}*.npy'"
        )
    numbers = [[_place(file)[0] for file in files] for files in (vectors, tables)]
    if len(vectors) != len(tables) or (len(tables) > 1 and numbers[0] != numbers[1]):
        alone = sorted(set(numbers[0]) ^ set(numbers[1]))[:1]
        missing = f": the number {alone[0]} is not in both" if alone else ""
        raise DataError(
            f"{where}: {len(vectors)} files of vectors ({vectors[0].name}, ...) and {len(tables)} "
            f"tables ({tables[0].name}, ...) do not belong together{missing}; each needs the other "
            "with the same number"
        )
    table = opened(list(tables))
    arrays = [load_vectors(file) for file in vectors]
    for file, array, part in zip(vectors, arrays, tables, strict=True):
        alone_table = opened([part])
        rows = sum(map(len, alone_table.batches([first_column(alone_table)])))
        if rows != len(array):
            raise DataError(
                f"{file} has {len(array):,} rows, {part} has {rows:,}, so they are not read "
                "together; each row of the one needs a row of the other, in the same order"
            )
        if array.shape[1:] != arrays[0].shape[1:] or array.dtype != arrays[0].dtype:
            raise DataError(
                f"{file} has vectors of {array.shape[1:]} {array.dtype}, {vectors[0]} of "
                f"{arrays[0].shape[1:]} {arrays[0].dtype}; write them alike"
            )
    ends = tuple(int(end) for end in np.cumsum([len(array) for array in arrays]))
    return VectorTable(where, table, tuple(arrays), ends, tuple(vectors))
