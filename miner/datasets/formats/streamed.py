"""A table over several files, which are streamed one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from miner.datasets.base import ROWS, data_errors
from miner.datasets.column_types import row_bytes, usual_layout, usual_type
from miner.datasets.formats.class_names import class_names, named_classes, named_type
from miner.errors import DataError
from miner.formatting import bytes_text

__all__ = ["StreamedTable", "check_filled"]

_MOST_BYTES, _MOST_ROW = 64 << 20, 1 << 30
"""Most bytes of a batch after conversion to the usual layout, and of a row."""


Stream = Callable[[Path, Sequence[str]], Iterator[pa.RecordBatch]]


@dataclass(frozen=True, slots=True)
class StreamedTable:
    """A table of several files, streamed one after the other.

    Attributes
    ----------
    constants : mapping of str to mapping of Path to value
        Columns with one value per file, such as the columns of hive folders. Their types are in
        `schema`.
    names : mapping of str to mapping of Path to pyarrow.Array
        For each column of numbered classes, the class names in each file.
    described : tuple of Path
        Files without rows that describe the others.
    stream : callable
        Yields the batches of one file with the given columns.
    faults : mapping of str to str
        For each column that cannot be read, the message that says why.
    """

    where: str
    parts: tuple[Path, ...]
    schema: Any
    stream: Stream
    constants: Mapping[str, Mapping[Path, Any]]
    untyped: bool = False
    names: Mapping[str, Mapping[Path, Any]] = field(default_factory=dict)
    described: tuple[Path, ...] = ()
    faults: Mapping[str, str] = field(default_factory=dict)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read. Their checksums identify the data."""
        return self.parts + self.described

    def with_names(self, features: Mapping[Path, Any]) -> StreamedTable:
        """Return the table with class names instead of numbers; `features` describes each file."""
        names, faults = class_names(features, self.schema)
        fields = [
            one.with_type(named_type(one.type)) if one.name in names else one for one in self.schema
        ]
        return replace(
            self, schema=pa.schema(fields), names=names, faults={**faults, **self.faults}
        )

    @property
    def types(self) -> dict[str, Any]:
        """The Arrow type of each column, by name."""
        return {column.name: column.type for column in self.schema}

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Stream the named columns, in batches of at most `ROWS` rows."""
        wanted = list(dict.fromkeys(columns))
        for name in wanted:
            if name in self.faults:
                raise DataError(self.faults[name])
            if self.schema.names.count(name) > 1:
                raise DataError(f"{self.where} has several columns {name!r}; rename all but one")
        schema = pa.schema([self.schema.field(name) for name in wanted])
        inner = [name for name in wanted if name not in self.constants]
        if not inner:  # one column is read, to learn the number of rows of a file
            aside = {*self.constants, *self.faults}
            inner = [name for name in self.types if name not in aside][:1]
        row = 0
        for file in self.parts:
            with data_errors(str(file)):
                for batch in self.stream(file, inner):
                    batch.validate(full=True)  # some readers accept any bytes as text
                    for part in self._cut(batch, row):
                        yield self._complete(part, file, schema, row)
                        row += len(part)

    def _cut(self, batch: pa.RecordBatch, row: int) -> Iterator[pa.RecordBatch]:
        """Cut a batch into pieces of bounded size in the usual layout.

        A small batch may grow: a short code of a dictionary can refer to a long text.

        Raises
        ------
        DataError
            If a single row is too large.
        """
        sizes = np.zeros(len(batch), np.int64)
        for column in batch.columns:
            if column.nbytes > _MOST_BYTES or usual_type(column.type) != column.type:
                sizes += row_bytes(column)
        if sizes.max(initial=0) > _MOST_ROW:
            raise DataError(
                f"{self.where}, row {row + int(sizes.argmax())} has more than "
                f"{bytes_text(_MOST_ROW)}; shorten it, or remove it"
            )
        ends, start = np.cumsum(sizes), 0
        while start < len(batch):
            before = ends[start - 1] if start else 0
            end = int(np.searchsorted(ends, before + _MOST_BYTES, side="right"))
            end = min(max(end, start + 1), start + ROWS)
            yield batch.slice(start, end - start)
            start = min(end, len(batch))

    def _complete(self, batch: pa.RecordBatch, file: Path, schema: Any, row: int) -> pa.RecordBatch:
        arrays = []
        for one in schema:
            if one.name in self.constants:
                value = self.constants[one.name][file]
                arrays.append(pa.repeat(pa.scalar(value, one.type), len(batch)))
                continue
            column = usual_layout(batch.column(one.name))
            if one.name in self.names:
                where = f"{self.where}, column {one.name!r}"
                column = named_classes(column, self.names[one.name][file], where, row)
            arrays.append(_widened(column, one, f"{self.where}, row {row}"))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _widened(column: Any, wanted: Any, where: str) -> Any:
    """Convert a column of a file to the type that it has in all files together.

    Raises
    ------
    DataError
        If a value does not fit, such as an integer from 2^53 on where other files have floats.
    """
    if column.type == wanted.type:
        return column
    try:
        return column.cast(wanted.type)
    except pa.ArrowException as error:
        raise DataError(
            f"{where} and after, column {wanted.name!r} is {column.type}, in other files "
            f"{wanted.type}: {error}; write them with one type"
        ) from error


def check_filled(files: Sequence[Path]) -> None:
    """Raise a `DataError` for an empty file."""
    for file in files:
        with data_errors(str(file)):
            if file.stat().st_size == 0:
                raise DataError(f"{file} is empty; check how it was written")
