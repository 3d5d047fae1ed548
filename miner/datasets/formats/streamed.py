"""A table over several files, each of which can be streamed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from miner.datasets.base import ROWS, data_errors
from miner.datasets.formats.arrow_layouts import usual_layout, usual_type
from miner.errors import DataError

__all__ = ["StreamedTable", "check_filled", "one_schema"]

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
        for file in self.files:
            with data_errors(str(file)):
                # Without a column of its own, the file still says how many rows it has.
                stream = self.stream(file, inner or self._any_column())
                for batch in stream:
                    batch.validate(full=True)  # some readers take any bytes for text
                    for start in range(0, len(batch), ROWS):
                        yield self._complete(batch.slice(start, ROWS), file, schema)

    def _any_column(self) -> list[str]:
        return [name for name in self.types if name not in self.constants][:1]

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
    """Return the schema that all files share, in the usual layouts.

    Raises
    ------
    DataError
        That names the first file with other columns, or types.
    """
    first, schema = next(iter(schemas.items()))
    types = {field.name: field.type for field in schema}
    for file, other in schemas.items():
        found = {field.name: field.type for field in other}
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
    return pa.schema([one.with_type(usual_type(one.type)) for one in schema])
