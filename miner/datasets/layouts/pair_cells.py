"""The contents in the cells of a table of pairs: one, a list of them, or messages of a chat.

A passage may be a struct with a text and a title, as in Tevatron's files; its content is the title,
a space and the text. A list of messages with `role` and `content`, as in ms-swift's files, is one
content. Layouts: https://texttron.github.io/tevatron/datasets and
https://swift.readthedocs.io/en/latest/BestPractices/Embedding.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from miner.datasets.content import is_list, is_string
from miner.datasets.layouts.beir import with_title
from miner.triplets.types import Rows

__all__ = ["Occurrences", "content_type", "holds_many", "is_chat", "occurrences"]

_BODIES = ("text", "content", "contents", "body", "passage", "document")


@dataclass(frozen=True, slots=True)
class Occurrences:
    """The contents in some columns of a batch, row by row.

    Attributes
    ----------
    rows : ndarray of int64
        For each content, its row of the batch, ascending.
    values : pyarrow.Array
    negative : ndarray of bool
        Whether the content is from a column of negatives.
    """

    rows: Rows
    values: Any
    negative: NDArray[np.bool_]


def content_type(kind: Any) -> Any:
    """Return the type of the contents in a column of this type."""
    if holds_many(kind):
        kind = kind.value_type
    if is_chat(kind) or _body(kind) or pa.types.is_null(kind):
        return pa.string()
    return kind


def holds_many(kind: Any) -> bool:
    """Whether each cell of a column of this type holds a list of contents."""
    if not is_list(kind) or is_chat(kind):
        return False
    inner = kind.value_type
    return is_string(inner) or pa.types.is_null(inner) or bool(_body(inner)) or is_chat(inner)


def occurrences(batch: pa.RecordBatch, positive: str, negatives: Sequence[str]) -> Occurrences:
    """Return the contents in the columns of a batch: of each row the positives come first.

    Negatives without a value or with a blank text are left out, because rows have different numbers
    of them.
    """
    rows, values = _contents(batch.column(positive))
    if not negatives:
        return Occurrences(rows, values, np.zeros(len(rows), dtype=np.bool_))
    every, parts = [rows], [values]
    for name in negatives:
        rows, values = _contents(batch.column(name))
        filled = _filled(values)
        every.append(rows[filled])
        parts.append(values.filter(pa.array(filled)).cast(parts[0].type))
    whole = np.concatenate(every)
    order = np.argsort(whole, kind="stable")
    negative = (np.arange(len(whole)) >= len(every[0]))[order]
    return Occurrences(whole[order], pa.concat_arrays(parts).take(pa.array(order)), negative)


def _contents(column: Any) -> tuple[Rows, Any]:
    """Return the contents of a column, and the row of each."""
    rows = np.arange(len(column), dtype=np.int64)
    if holds_many(column.type):
        lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
        rows, column = np.repeat(rows, lengths), column.flatten()
    if is_chat(column.type):
        return rows, pa.array(map(_said, column.to_pylist()), pa.string())
    body = _body(column.type)
    if body:
        text = pc.struct_field(column, body)
        if not is_string(_fields(column.type).get("title", pa.null())):
            return rows, text
        return rows, with_title(pc.struct_field(column, "title").cast(text.type), text)
    return rows, column.cast(pa.string()) if pa.types.is_null(column.type) else column


def _filled(values: Any) -> NDArray[np.bool_]:
    there = values.is_valid()
    if is_string(values.type):
        there = pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(values), ""), False)
    return np.asarray(there.to_numpy(zero_copy_only=False))


def _fields(kind: Any) -> dict[str, Any]:
    if not pa.types.is_struct(kind):
        return {}
    return {kind.field(place).name: kind.field(place).type for place in range(kind.num_fields)}


def _body(kind: Any) -> str | None:
    """Return the field with the text of a struct that is a passage; None for other types."""
    fields = _fields(kind)
    return next((name for name in _BODIES if is_string(fields.get(name, pa.null()))), None)


def is_chat(kind: Any) -> bool:
    """Whether a type is a list of messages."""
    fields = _fields(kind.value_type) if is_list(kind) else {}
    return "role" in fields and is_string(fields.get("content", pa.null()))


def _said(messages: list[dict[str, str | None] | None] | None) -> str | None:
    """Return the text of the messages of a chat, one under the other."""
    said = [message.get("content") for message in messages or () if message]
    return "\n".join(text for text in said if text) or None
