"""The function that makes the rows of each format, and their batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from miner.training.exports.groups import Wish
from miner.training.exports.trainers import (
    flagembedding,
    ms_swift,
    nemo,
    pylate,
    sentence_transformers,
    tevatron,
)
from miner.training.exports.triplets import Block

__all__ = ["MAKERS", "written_batches"]

_SLICE_ROWS = 1 << 12
_SLICE_PASSAGES = 1 << 15

MAKERS: dict[str, Callable[[Block, Wish], tuple[Any, ...]]] = {
    **sentence_transformers.MAKERS,
    "flagembedding": flagembedding.lines,
    "tevatron": tevatron.lines,
    "ms-swift": ms_swift.lines,
    "nemo": nemo.tables,
    "pylate-kd": pylate.tables,
}
"""Functions that return the rows of a block for each table of the format, as record batches whose
values may be dictionary-encoded."""


def written_batches(rows: Any) -> Iterator[Any]:
    """Yield the rows of a table in batches of bounded size, with dictionaries decoded."""
    plain = pa.schema([(field.name, _plain(field.type)) for field in rows.schema])
    lists = [column for column in rows.columns if pa.types.is_list(column.type)]
    widest = max([pc.max(pc.list_value_length(column)).as_py() or 1 for column in lists], default=1)
    step = max(1, min(_SLICE_ROWS, _SLICE_PASSAGES // widest))
    for start in range(0, max(len(rows), 1), step):
        yield rows.slice(start, step).cast(plain)


def _plain(kind: Any) -> Any:
    """Return a type without dictionaries."""
    if pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _plain(field.type)) for field in kind])
    return kind.value_type if pa.types.is_dictionary(kind) else kind
