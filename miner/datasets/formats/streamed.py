"""A table over several files, each of which can be streamed.

Layouts of Arrow that little can compute on, or be written, are read as the usual ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from miner.datasets.base import ROWS, data_errors
from miner.errors import DataError

__all__ = ["StreamedTable", "check_filled", "one_schema", "usual_layout", "usual_type"]


def usual_type(kind: Any) -> Any:
    """Return a type with plain strings and binaries for views, and values for runs, at any depth.

    Seconds become milliseconds, as they do in Parquet, so that those too far for it are refused as
    they are read.

    Arrow filters and takes from no array of views, nor by places that are not as wide as its runs'
    ends (seen in pyarrow 26.0); others write them, polars for one.
    """
    types = pa.types
    if types.is_string_view(kind):
        return pa.string()
    if types.is_binary_view(kind):
        return pa.binary()
    if types.is_timestamp(kind) and kind.unit == "s":
        return pa.timestamp("ms", kind.tz)
    if types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, usual_type(kind.value_type), kind.ordered)
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
    """Return a column as one of that type; itself where it is.

    Raises
    ------
    pyarrow.ArrowException
        Where Arrow cannot turn one into the other.
    """
    kind = usual_type(column.type)
    if kind == column.type:
        return column
    if pa.types.is_run_end_encoded(column.type):  # it cannot be cast, or decoded with views
        whole = pa.RunEndEncodedArray.from_arrays(column.run_ends, usual_layout(column.values))
        return pc.run_end_decode(whole.slice(column.offset, len(column)))
    return column.cast(kind)


Stream = Callable[[Path, Sequence[str]], Iterator[pa.RecordBatch]]


@dataclass(frozen=True, slots=True)
class StreamedTable:
    """Files one after the other.

    Attributes
    ----------
    constants : mapping of str to mapping of Path to value
        Columns that are one value a file, such as those of hive folders; their types are in
        `schema`.
    stream : callable
        Gives the batches of one file with the columns that are asked of it.
    """

    where: str
    files: tuple[Path, ...]
    schema: Any
    stream: Stream
    constants: Mapping[str, Mapping[Path, Any]]
    untyped: bool = False

    @property
    def types(self) -> dict[str, Any]:
        """Column name -> Arrow type."""
        return {column.name: column.type for column in self.schema}

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Stream the named columns, in batches of at most `ROWS` rows."""
        wanted = list(dict.fromkeys(columns))
        for name in wanted:
            if self.schema.names.count(name) > 1:
                raise DataError(f"{self.where} has several columns {name!r}; rename all but one")
        schema = pa.schema([self.schema.field(name) for name in wanted])
        inner = [name for name in wanted if name not in self.constants]
        if not inner:  # without a column of its own, a file still says how many rows it has
            inner = [name for name in self.types if name not in self.constants][:1]
        for file in self.files:
            with data_errors(str(file)):
                for batch in self.stream(file, inner):
                    batch.validate(full=True)  # some readers take any bytes for text
                    for start in range(0, len(batch), ROWS):
                        yield self._complete(batch.slice(start, ROWS), file, schema)

    def _complete(self, batch: pa.RecordBatch, file: Path, schema: Any) -> pa.RecordBatch:
        arrays = []
        for field in schema:
            if field.name in self.constants:
                value = self.constants[field.name][file]
                arrays.append(pa.repeat(pa.scalar(value, field.type), len(batch)))
            else:
                arrays.append(usual_layout(batch.column(field.name)))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)


def check_filled(files: Sequence[Path]) -> None:
    """Refuse files without a byte in them."""
    for file in files:
        with data_errors(str(file)):
            if file.stat().st_size == 0:
                raise DataError(f"{file} is empty; check how it was written")


def one_schema(schemas: Mapping[Path, Any]) -> Any:
    """Return the names and types that all files share, in the usual layouts.

    Raises
    ------
    DataError
        That names the first file with other columns, or types.
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
    """Return the types of the columns of a file by name."""
    try:
        return {field.name: field.type for field in schema}
    except UnicodeDecodeError:
        raise DataError(
            f"{file}: the name of a column is no text; the file is damaged, write it again"
        ) from None
