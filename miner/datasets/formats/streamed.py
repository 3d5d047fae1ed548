"""A table over several files, which are streamed one after the other.

Arrow's rarer layouts (views, dictionaries, run-end encoding) are converted to the usual ones,
because few functions of Arrow accept them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.datasets.base import ROWS, data_errors
from miner.datasets.content import is_list, is_string
from miner.datasets.formats.class_names import class_names, named_classes, named_type
from miner.errors import DataError
from miner.formatting import bytes_text

__all__ = ["StreamedTable", "check_filled", "one_schema", "usual_layout", "usual_type"]

_MOST_BYTES, _MOST_ROW = 64 << 20, 1 << 30
"""Most bytes of a batch after conversion to the usual layout, and of a row."""


def usual_type(kind: Any) -> Any:
    """Return the type of a column in the usual layout, at any depth in lists, structs and maps.

    Views become plain strings and binaries; dictionaries and run-end encodings become their value
    type. Timestamps in seconds become milliseconds, as in Parquet, so that a value beyond the range
    of milliseconds is refused when it is read.

    Arrow can neither filter nor take from arrays of views, nor from run-end encodings with indices
    of another width (seen in pyarrow 26.0). Polars, for example, writes such arrays.
    """
    types = pa.types
    if types.is_string_view(kind):
        return pa.string()
    if types.is_binary_view(kind):
        return pa.binary()
    if types.is_timestamp(kind) and kind.unit == "s":
        return pa.timestamp("ms", kind.tz)
    if types.is_dictionary(kind):
        return usual_type(kind.value_type)
    if types.is_run_end_encoded(kind):
        return usual_type(kind.value_type)
    if types.is_struct(kind):
        return pa.struct([_field(kind.field(place)) for place in range(kind.num_fields)])
    if types.is_map(kind):
        return pa.map_(_field(kind.key_field), _field(kind.item_field), kind.keys_sorted)
    return _list_type(kind)


def _list_type(kind: Any) -> Any:
    if pa.types.is_list(kind):
        return pa.list_(_field(kind.value_field))
    if pa.types.is_large_list(kind):
        return pa.large_list(_field(kind.value_field))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_field(kind.value_field), kind.list_size)
    return kind


def _field(field: Any) -> Any:
    return field.with_type(usual_type(field.type))


def usual_layout(column: Any) -> Any:
    """Convert a column to its `usual_type`; return it unchanged if it has this type.

    Raises
    ------
    pyarrow.ArrowException
        If Arrow cannot convert it.
    """
    kind = usual_type(column.type)
    if kind == column.type:
        return column
    if pa.types.is_dictionary(column.type):
        return usual_layout(column.dictionary).take(column.indices)
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return _usual_lists(column)
    if pa.types.is_run_end_encoded(column.type):  # cannot be cast, nor decoded with views inside
        whole = pa.RunEndEncodedArray.from_arrays(column.run_ends, usual_layout(column.values))
        return pc.run_end_decode(whole.slice(column.offset, len(column)))
    return column.cast(kind)


def _usual_lists(column: Any) -> Any:
    """Convert lists; only values inside the lists are converted, not all of the child array."""
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    large = pa.types.is_large_list(column.type)
    made = pa.LargeListArray if large else pa.ListArray
    places = pa.array(ends, pa.int64() if large else pa.int32())
    values = usual_layout(column.flatten())
    lists = made.from_arrays(places, values, mask=column.is_null())
    return lists.cast(usual_type(column.type))


def row_bytes(column: Any) -> NDArray[np.int64]:
    """Return about how many bytes each row of a column takes in the usual layout."""
    kind, types = column.type, pa.types
    if types.is_dictionary(kind):
        sizes = np.append(row_bytes(column.dictionary), 0)
        codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return np.asarray(sizes[codes], np.int64)
    if types.is_run_end_encoded(kind):
        sizes = row_bytes(column.values)
        ends = column.run_ends.to_numpy()
        rows = np.arange(column.offset, column.offset + len(column))
        return np.asarray(sizes[np.searchsorted(ends, rows, side="right")], np.int64)
    if types.is_struct(kind):
        parts = [row_bytes(part) for part in column.flatten()]
        zeros = np.zeros(len(column), np.int64)
        return np.asarray(np.sum([zeros, *parts], axis=0), np.int64)
    if is_list(kind):
        lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
        ends = np.cumsum(lengths, dtype=np.int64)
        total = np.concatenate([[0], np.cumsum(row_bytes(column.flatten()))])
        return np.asarray(total[ends] - total[ends - lengths])
    if types.is_string_view(kind) or types.is_binary_view(kind):
        column = column.cast(pa.large_binary())
    if is_string(column.type) or _is_binary(column.type):
        return np.asarray(pc.binary_length(column).fill_null(0), np.int64)
    return np.full(len(column), -(-column.nbytes // max(len(column), 1)))


def _is_binary(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


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
    """

    where: str
    parts: tuple[Path, ...]
    schema: Any
    stream: Stream
    constants: Mapping[str, Mapping[Path, Any]]
    untyped: bool = False
    names: Mapping[str, Mapping[Path, Any]] = field(default_factory=dict)
    described: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read. Their checksums identify the data."""
        return self.parts + self.described

    def with_names(self, features: Mapping[Path, Any]) -> StreamedTable:
        """Return the table with class names instead of numbers; `features` describes each file."""
        names = class_names(features, self.schema)
        fields = [
            one.with_type(named_type(one.type)) if one.name in names else one for one in self.schema
        ]
        return replace(self, schema=pa.schema(fields), names=names)

    @property
    def types(self) -> dict[str, Any]:
        """The Arrow type of each column, by name."""
        return {column.name: column.type for column in self.schema}

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Stream the named columns, in batches of at most `ROWS` rows."""
        wanted = list(dict.fromkeys(columns))
        for name in wanted:
            if self.schema.names.count(name) > 1:
                raise DataError(f"{self.where} has several columns {name!r}; rename all but one")
        schema = pa.schema([self.schema.field(name) for name in wanted])
        inner = [name for name in wanted if name not in self.constants]
        if not inner:  # one column is read, to learn the number of rows of a file
            inner = [name for name in self.types if name not in self.constants][:1]
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
            arrays.append(column)
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def check_filled(files: Sequence[Path]) -> None:
    """Raise a `DataError` for an empty file."""
    for file in files:
        with data_errors(str(file)):
            if file.stat().st_size == 0:
                raise DataError(f"{file} is empty; check how it was written")


def one_schema(schemas: Mapping[Path, Any]) -> Any:
    """Return the common schema of all files, in the usual layout.

    Raises
    ------
    DataError
        If a file has other columns or types; the message names the first such file.
    """
    first, schema = next(iter(schemas.items()))
    types = _types(first, schema)
    for file, other in schemas.items():
        found = _types(file, other)
        missing = sorted(set(types) - set(found))
        if missing:
            raise DataError(
                f"{file} has no column {missing[0]!r}, which {first} has; all files need the same"
            )
        for name, kind in types.items():
            if found[name] != kind:
                raise DataError(
                    f"{file}, column {name!r} is {found[name]}, in {first} it is {kind}; write "
                    "them with one type"
                )
    return pa.schema([(one.name, usual_type(one.type)) for one in schema])


def _types(file: Path, schema: Any) -> dict[str, Any]:
    """Return the types of a file's columns, by name."""
    try:
        return {field.name: field.type for field in schema}
    except UnicodeDecodeError:
        raise DataError(
            f"{file}: the name of a column is no text; the file is damaged, write it again"
        ) from None
