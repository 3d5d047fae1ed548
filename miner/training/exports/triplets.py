"""Stream a finished run's triplets in blocks that contain all rows of their anchors.

The shards of a class are sorted by anchor in the order of the census. Both classes are read in
parallel, and the anchor of each row gets its number in the census, which is streamed too. Memory
holds some ten thousand rows, or the rows of one anchor if they are more, for runs of any size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from miner.errors import StorageError
from miner.runs.run import CENSUS, Run
from miner.runs.shards import SCORES, parquet_errors
from miner.training.encoded_triplets import ROLES

__all__ = ["Block", "Both", "View", "blocks", "empty_block", "shows_text"]

_ROWS = 1 << 14
_LISTED = 1 << 16
"""Rows of the shards, and anchors of the census, in one batch."""
_ENDED = np.iinfo(np.int64).max

_SCORE_OF = dict(zip(ROLES[1:], SCORES, strict=True))
"""The columns with the teacher's scores of an anchor and a passage, by the passage's role."""

Codes = NDArray[np.int64]
Part = tuple[Codes, Any]
"""The anchor numbers of some rows, and the rows as a record batch."""


@dataclass(frozen=True, slots=True)
class Block:
    """All rows of some anchors, sorted by anchor; hard rows of an anchor come first.

    The values of a row are its texts, or its ids if the shards contain no texts.

    Attributes
    ----------
    anchors : ndarray of shape (rows,), int64
        The number of the row's anchor in the block, from 0.
    shown : ndarray of shape (rows,), int64
        The index of the anchor's value in `anchor_values`.
    positives, negatives : ndarray of shape (rows,), int64
        The indices of the positive and of the negative in `passages`.
    d_ap, d_an : ndarray of shape (rows,), float32
    anchor_values, passages : pyarrow.Array
        The distinct values.
    ids : dict of str to pyarrow.Array
        The ids of each role, as strings, if the block has them in addition to texts.
    scores : dict of str to ndarray of shape (rows,), float32
        The teacher's scores of the positives and of the negatives, if the block has them.
    """

    anchors: Codes
    shown: Codes
    positives: Codes
    negatives: Codes
    d_ap: NDArray[np.float32]
    d_an: NDArray[np.float32]
    anchor_values: Any
    passages: Any
    ids: dict[str, Any]
    scores: dict[str, NDArray[np.float32]]

    @property
    def both(self) -> Both:
        """The positives of all rows, then the negatives of all rows."""
        return Both(
            np.concatenate([self.positives, self.negatives]),
            pa.concat_arrays([self.ids[role] for role in ROLES[1:]]) if self.ids else None,
            np.concatenate([self.scores[role] for role in ROLES[1:]]) if self.scores else None,
        )

    def anchors_shown(self, rows: Codes) -> Any:
        """Return the anchor values of some rows, an Arrow array."""
        return pa.DictionaryArray.from_arrays(self.shown[rows], self.anchor_values)

    def passages_shown(self, codes: Codes) -> Any:
        """Return the passages with some indices, an Arrow array."""
        return pa.DictionaryArray.from_arrays(codes, self.passages)


@dataclass(frozen=True, slots=True)
class Both:
    """The passages of a block's rows: first those of the positives, then those of the negatives.

    Attributes
    ----------
    codes : ndarray of shape (2 * rows,), int64
        Their indices in `Block.passages`.
    ids : pyarrow.Array or None
    scores : ndarray of shape (2 * rows,), float32, or None
    """

    codes: Codes
    ids: Any
    scores: Any


@dataclass(frozen=True, slots=True)
class View:
    """What a block has of its rows.

    Attributes
    ----------
    texts : bool
        Whether the values are texts; otherwise they are ids.
    ids : bool
        Whether the block has the ids too.
    scores : bool
        Whether it has the teacher's scores.
    """

    texts: bool
    ids: bool = False
    scores: bool = False

    @property
    def suffix(self) -> str:
        """What follows the name of a role in the name of the column with its values."""
        return "" if self.texts else "_id"

    @property
    def columns(self) -> list[str]:
        """The columns to read."""
        names = ["anchor_id", *(role + self.suffix for role in ROLES), "d_ap", "d_an"]
        if self.ids:
            names += [f"{role}_id" for role in ROLES]
        return [*dict.fromkeys([*names, *(SCORES if self.scores else ())])]


def shows_text(run: Run) -> bool:
    """Return whether the shards of a run contain texts."""
    return "anchor" in run.schema().names


def _batches(paths: Sequence[str], columns: Sequence[str], rows: int) -> Iterator[Any]:
    """Yield the record batches of Parquet files, one file after the other."""
    for path in paths:
        with parquet_errors(Path(path)), pq.ParquetFile(path) as file:
            for batch in file.iter_batches(rows, columns=list(columns), use_threads=False):
                if len(batch):
                    yield batch.select(columns)


def _numbered(run: Run, difficulty: str, columns: Sequence[str]) -> Iterator[Part]:
    """Yield the rows of a class with the positions of their anchors in the census."""
    path = str(run.file(CENSUS))
    census = _batches([path], ["anchor_id"], _LISTED)
    start = 0
    listed: list[Any] = []
    for batch in _batches(run.part_paths(difficulty), columns, _ROWS):
        ids = batch.column("anchor_id")
        while not listed or pc.index(listed[-1], ids[-1]).as_py() < 0:
            more = next(census, None)
            if more is None:
                break
            listed.append(more.column(0))
        known = pa.chunked_array(listed, ids.type).combine_chunks()
        numbers = pc.index_in(ids, value_set=known).fill_null(-1).to_numpy().astype(np.int64)
        wrong = np.flatnonzero(np.diff(numbers, prepend=0) < 0)
        if len(wrong):
            raise StorageError(
                f"{path} does not have anchor {ids[int(wrong[0])].as_py()!r} in the order of the "
                "shards; see mine verify"
            )
        yield start + numbers, batch
        start, listed = start + int(numbers[-1]), [known.slice(numbers[-1])]


def blocks(run: Run, difficulties: Sequence[str], view: View) -> Iterator[Block]:
    """Yield the triplets of some classes in blocks of complete anchors.

    Parameters
    ----------
    run : Run
    difficulties : sequence of str
        ``hard``, ``semi_hard``, or both in this order.
    view : View

    Raises
    ------
    StorageError
        If a shard is damaged, or not in the order of the census.
    """
    streams = [_numbered(run, name, view.columns) for name in difficulties]
    held: list[list[Part]] = [[] for _ in streams]
    last = [-1 for _ in streams]
    while min(last) < _ENDED:
        behind = last.index(min(last))
        part = next(streams[behind], None)
        if part is not None:
            held[behind].append(part)
        last[behind] = _ENDED if part is None else int(part[0][-1])
        parts = [before for one in held for before in _cut(one, min(last))]
        if parts:
            yield _block(parts, view)


def _cut(held: list[Part], end: int) -> Iterator[Part]:
    """Remove the rows of the anchors before `end` from `held`, and yield them."""
    for numbers, batch in [held.pop(0) for _ in held.copy()]:
        cut = int(np.searchsorted(numbers, end))
        if cut:
            yield numbers[:cut], batch.slice(0, cut)
        if cut < len(numbers):
            held.append((numbers[cut:], batch.slice(cut)))


def empty_block(run: Run, view: View) -> Block:
    """Return a block without rows, with the types of the run's columns."""
    schema = run.schema()
    batch = pa.RecordBatch.from_pylist([], pa.schema([schema.field(n) for n in view.columns]))
    return _block([(np.empty(0, dtype=np.int64), batch)], view)


def _block(parts: list[Part], view: View) -> Block:
    table = pa.Table.from_batches([batch for _, batch in parts])
    numbers = np.concatenate([numbers for numbers, _ in parts])
    order = np.argsort(numbers, kind="stable")  # stable, so hard rows stay first
    anchor, positive, negative = (table[role + view.suffix].chunks for role in ROLES)
    shown, anchor_values = _encoded(anchor)
    both, passages = _encoded(positive + negative)
    ordered = numbers[order]
    return Block(
        np.cumsum(np.diff(ordered, prepend=ordered[:1]) > 0).astype(np.int64),
        shown[order],
        both[: len(order)][order],
        both[len(order) :][order],
        table["d_ap"].to_numpy()[order],
        table["d_an"].to_numpy()[order],
        anchor_values,
        passages,
        {role: _strings(table[f"{role}_id"], order) for role in ROLES if view.ids},
        {role: table[name].to_numpy()[order] for role, name in _SCORE_OF.items() if view.scores},
    )


def _strings(column: Any, order: Codes) -> Any:
    """Return some values of a column as one Arrow array of strings."""
    return column.take(pa.array(order)).cast(pa.string()).combine_chunks()


def _encoded(chunks: list[Any]) -> tuple[Codes, Any]:
    """Return the index of each value among the distinct values, and the distinct values."""
    encoded = pa.chunked_array(chunks).dictionary_encode().combine_chunks()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary
