"""Class names instead of class numbers: the feature `ClassLabel` of Hugging Face `datasets`.

The names are in the metadata of an Arrow or Parquet schema, or in the file `dataset_info.json` of a
saved data set. The number -1 means that a row has no class.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from miner.datasets.content import is_list
from miner.errors import DataError

__all__ = ["class_names", "named_classes", "named_type", "schema_features"]


def schema_features(schema: Any) -> Any:
    """Return the features in the metadata of a schema; {} if there are none or they are damaged."""
    try:
        described = json.loads((schema.metadata or {})[b"huggingface"])
        return described["info"]["features"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return {}


def class_names(
    features: Mapping[Path, Any], schema: Any
) -> tuple[dict[str, dict[Path, Any]], dict[str, str]]:
    """Return, for each column of numbered classes and each file, the class names.

    Parameters
    ----------
    features : mapping of Path to value
        The described features of each file.
    schema : pyarrow.Schema
        The common schema; only columns of integers, or lists of them, can be classes.

    Returns
    -------
    dict of str to dict of Path to pyarrow.Array
    dict of str to str
        Messages by column: only some files name its classes, or a name occurs twice.
    """
    found: dict[str, dict[Path, Any]] = {}
    faults: dict[str, str] = {}
    for field in schema:
        if named_type(field.type) is None:
            continue
        names = {file: _names(described, field) for file, described in features.items()}
        without = [file for file, listed in names.items() if listed is None]
        if len(without) == len(names):
            continue
        if without:
            other = next(file for file, listed in names.items() if listed is not None)
            faults[field.name] = (
                f"{without[0]}, column {field.name!r}: its classes have no names, as they have in "
                f"{other}; write both with the same features"
            )
            continue
        for file, listed in names.items():
            if listed is not None and len(set(listed)) < len(listed):
                faults[field.name] = (
                    f"{file}, column {field.name!r}: two classes have one name; rename one"
                )
        found[field.name] = {file: pa.array(listed, pa.string()) for file, listed in names.items()}
    return found, faults


def _names(features: Any, field: Any) -> list[str] | None:
    """Return the class names of a column, or of the lists in it; None if it has none."""
    feature = features.get(field.name) if isinstance(features, Mapping) else None
    kind = field.type
    while is_list(kind):
        if isinstance(feature, list) and len(feature) == 1:  # written so by versions before 2.0
            feature = feature[0]
        else:
            feature = feature.get("feature") if isinstance(feature, Mapping) else None
        kind = kind.value_type
    if not isinstance(feature, Mapping) or feature.get("_type") != "ClassLabel":
        return None
    names = feature.get("names")
    whole = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if whole else None


def named_type(kind: Any) -> Any:
    """Return the type of a column after naming its classes; None if it cannot hold classes."""
    if is_list(kind):
        inner = named_type(kind.value_type)
        return None if inner is None else pa.list_(inner)
    return pa.string() if pa.types.is_integer(kind) else None


def named_classes(column: Any, names: Any, where: str, first: int) -> Any:
    """Replace the class numbers of a column by names, -1 by null.

    Parameters
    ----------
    column : pyarrow.Array
        Integers, or lists of them.
    names : pyarrow.Array
    where : str
        The table and the column, as error messages name them.
    first : int
        The row number of the first value.

    Raises
    ------
    DataError
        If a class has no name; the message names the first such row.
    """
    if not is_list(column.type):
        return _named(column, names, where, np.arange(first, first + len(column)))
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(first, first + len(column)), lengths)
    inner = column.flatten()
    if is_list(inner.type):
        values = named_classes(inner, names, where, first)
    else:
        values = _named(inner, names, where, rows)
    ends = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pa.ListArray.from_arrays(ends, values, mask=column.is_null())


def _named(numbers: Any, names: Any, where: str, rows: Any) -> Any:
    known = pc.and_(pc.greater_equal(numbers, -1), pc.less(numbers, len(names)))
    unknown = np.flatnonzero(~known.fill_null(True).to_numpy(zero_copy_only=False))
    if len(unknown):
        place = int(unknown[0])
        raise DataError(
            f"{where}, row {rows[place]}: class {numbers[place].as_py()} has no name: there are "
            f"{len(names)} names, from 0 on (-1 is no class); correct the row, or the names"
        )
    there = numbers.cast(pa.int64())
    return names.take(pc.if_else(pc.equal(there, -1), None, there))
