"""The usual layout of columns, and the one type of a column whose parts have several.

Arrow's rarer layouts (views, dictionaries, run-end encoding) are converted to the usual ones,
because few functions of Arrow accept them. Extension types become their usual spelling or storage.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.datasets.content import is_list, is_string
from miner.errors import DataError

__all__ = ["one_schema", "row_bytes", "usual_layout", "usual_type", "wider_type"]


def usual_type(kind: Any) -> Any:
    """Return the type of a column in the usual layout, at any depth in lists, structs and maps.

    Views become plain strings and binaries; dictionaries and run-end encodings become their value
    type; a UUID becomes its text, and any other extension type its storage. Timestamps in seconds
    become milliseconds, as in Parquet, so that a value beyond the range of milliseconds is refused
    when it is read.

    Arrow can neither filter nor take from arrays of views, nor from run-end encodings with indices
    of another width (seen in pyarrow 26.0). Polars, for example, writes such arrays.
    """
    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _plain_type(kind)
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


def _plain_type(kind: Any) -> Any:
    """Return the usual type of an extension type: its usual spelling, else its storage."""
    if kind.extension_name == "arrow.uuid":
        return pa.string()
    if kind.extension_name == "arrow.bool8":
        return pa.bool_()
    inner = usual_type(kind.storage_type)
    if kind.extension_name == "arrow.fixed_shape_tensor":
        inner = inner.value_type
        for size in reversed(kind.shape):
            inner = pa.list_(inner, size)
    return inner


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
    if isinstance(column.type, pa.BaseExtensionType):
        return _plain(column, kind)
    if pa.types.is_dictionary(column.type):
        return usual_layout(column.dictionary).take(column.indices)
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return _usual_lists(column)
    if pa.types.is_run_end_encoded(column.type):  # cannot be cast, nor decoded with views inside
        whole = pa.RunEndEncodedArray.from_arrays(column.run_ends, usual_layout(column.values))
        return pc.run_end_decode(whole.slice(column.offset, len(column)))
    return column.cast(kind)


def _plain(column: Any, kind: Any) -> Any:
    """Convert a column of an extension type to `kind`."""
    if column.type.extension_name == "arrow.uuid":
        values = column.storage.to_pylist()
        texts = [None if one is None else str(uuid.UUID(bytes=one)) for one in values]
        return pa.array(texts, pa.string())
    storage = usual_layout(column.storage)
    if column.type.extension_name != "arrow.fixed_shape_tensor":
        return storage.cast(kind)
    values = storage.values.slice(storage.offset * storage.type.list_size)
    sizes = column.type.shape
    for size in reversed(sizes[1:]):
        values = pa.FixedSizeListArray.from_arrays(values, size)
    whole = values.slice(0, len(column) * sizes[0])
    return pa.FixedSizeListArray.from_arrays(whole, sizes[0], mask=column.is_null())


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


def one_schema(schemas: Mapping[Path, Any]) -> tuple[Any, dict[str, str]]:
    """Return the common schema of all files, in the usual layout.

    Types that differ are widened if the wider type holds every value of the others.

    Returns
    -------
    pyarrow.Schema
        The columns of the first file, then those that only others have.
    dict of str to str
        For each column that cannot be read from all files, the message that says why.
    """
    found = {file: _types(file, schema) for file, schema in schemas.items()}
    first = next(iter(schemas.values()))
    kinds: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for name in dict.fromkeys(name for one in found.values() for name in one):
        there = {file: one[name] for file, one in found.items() if name in one}
        holder, kinds[name] = next(iter(there.items()))
        for file, kind in there.items():
            wide = wider_type(kinds[name], kind)
            if wide is None:
                faults[name] = (
                    f"{file}, column {name!r} is {kind}, in {holder} it is {there[holder]}; write "
                    "them with one type"
                )
                break
            kinds[name] = wide
        without = [file for file in found if file not in there]
        if without:
            faults[name] = (
                f"{without[0]} has no column {name!r}, which {holder} has; all files need the same"
            )
    more = [name for name in kinds if name not in first.names]
    return pa.schema([(name, kinds[name]) for name in [*first.names, *more]]), faults


def wider_type(first: Any, second: Any) -> Any:
    """Return the type that holds the values of two usual types; None if there is none.

    Arrow would also store text as bytes, and decimals as floats. Large integers that floats cannot
    hold are refused when they are read.
    """
    if first == second:
        return first
    schemas = [pa.schema([("", kind)]) for kind in (first, second)]
    try:
        wide = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None
    kinds, types = [one for one in (first, second) if not pa.types.is_null(one)], pa.types
    bytes_of_text = not is_string(wide) and any(map(is_string, kinds))
    float_of_decimal = types.is_floating(wide) and any(map(types.is_decimal, kinds))
    return None if bytes_of_text or float_of_decimal else wide


def _types(file: Path, schema: Any) -> dict[str, Any]:
    """Return the usual types of a file's columns, by name."""
    try:
        return {field.name: usual_type(field.type) for field in schema}
    except UnicodeDecodeError:
        raise DataError(
            f"{file}: the name of a column is no text; the file is damaged, write it again"
        ) from None
