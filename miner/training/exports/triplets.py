"""A finished run's triplets, streamed forward by whole anchors.

The shards of a class are ordered by anchor, as the census is. Both classes are read side by side
and each row's anchor is numbered by the census, which is streamed too; so memory holds some ten
thousand rows, or one anchor's where those are more, however large the run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from miner.errors import StorageError
from miner.runs.run import Run
from miner.storage.files import storage_errors

__all__ = ["Block", "blocks", "empty_block", "shows_text"]

_ROWS = 1 << 14
_ROLES = ("anchor", "positive", "negative")

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Block:
    """All rows of some anchors, in the order of the anchors; of one anchor, hard rows come first.

    What a row shows is its texts, or its ids where the shards hold no texts.

    Attributes
    ----------
    anchors : ndarray of shape (rows,), int64
        The anchor's number, from 0 within the block.
    shown, positives, negatives : ndarray of shape (rows,), int64
        Which of `anchor_values`, and twice which of `passages`, the row shows.
    d_ap, d_an : ndarray of shape (rows,), float32
    anchor_values, passages : pyarrow.Array
        Each value once.
    """

    anchors: Codes
    shown: Codes
    positives: Codes
    negatives: Codes
    d_ap: NDArray[np.float32]
    d_an: NDArray[np.float32]
    anchor_values: Any
    passages: Any

    def anchors_shown(self, rows: Codes) -> Any:
        """Return what some rows show as their anchors, an Arrow array."""
        return pa.DictionaryArray.from_arrays(self.shown[rows], self.anchor_values)

    def passages_shown(self, codes: Codes) -> Any:
        """Return the passages of some numbers, an Arrow array."""
        return pa.DictionaryArray.from_arrays(codes, self.passages)


def shows_text(run: Run) -> bool:
    """Whether the shards of a run hold texts."""
    return "anchor" in _schema(run).names


def _schema(run: Run) -> Any:
    paths = run.part_paths("hard")
    if not paths:  # an empty class has a part without rows
        raise StorageError(f"{run.where}/manifest.json names no hard shards; see mine verify")
    path = Path(paths[0])
    with _arrow_errors(path):
        return pq.read_schema(path)


@contextmanager
def _arrow_errors(path: Path) -> Iterator[None]:
    """Turn what Arrow says of a broken file into a `StorageError` that names it."""
    try:
        with storage_errors(path):
            yield
    except (pa.ArrowException, KeyError) as error:
        raise StorageError(
            f"{path} is not whole: {str(error).splitlines()[0]}; `mine verify` says more"
        ) from error


def read_batches(
    paths: Sequence[str | Path], columns: Sequence[str], rows: int = _ROWS
) -> Iterator[Any]:
    """Stream record batches of Parquet files, one after the other.

    Raises
    ------
    StorageError
        When a file is missing or damaged.
    """
    for path in map(Path, paths):
        with _arrow_errors(path), pq.ParquetFile(path) as file:
            for batch in file.iter_batches(rows, columns=list(columns), use_threads=False):
                yield batch.select(list(columns))


def _columns(run: Run) -> dict[str, str]:
    """Name the columns to read, by what they are for."""
    suffix = "" if shows_text(run) else "_id"
    shown = {role: f"{role}{suffix}" for role in _ROLES}
    return {"id": "anchor_id", **shown, "d_ap": "d_ap", "d_an": "d_an"}


class _Order:
    """Numbers anchors as the census lists them; it is read once, forward."""

    def __init__(self, run: Run) -> None:
        self._path = run.file("census.parquet")
        self._batches = read_batches([self._path], ["anchor_id"], 1 << 16)
        self._start = 0
        self._ids: Any = None

    def numbers(self, ids: Any) -> Codes:
        """Number the anchors of some rows, which follow those of the call before."""
        fresh = np.ones(len(ids), dtype=np.bool_)
        if len(ids) > 1:
            changes = pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1))
            fresh[1:] = changes.to_numpy(zero_copy_only=False)
        distinct = ids.filter(pa.array(fresh))
        found = np.empty(len(distinct), dtype=np.int64)
        done = 0
        while done < len(distinct):
            places = self._places(distinct.slice(done))
            found[done : done + len(places)] = places
            done += len(places)
            if done < len(distinct):
                self._advance(distinct[done])
        every: Codes = found[np.cumsum(fresh) - 1]
        return every

    def _places(self, ids: Any) -> Codes:
        """Number the first of some anchors, as far as the batch at hand goes."""
        if self._ids is None:
            return np.empty(0, dtype=np.int64)
        places = pc.index_in(ids, value_set=self._ids).fill_null(-1)
        known = np.asarray(places.to_numpy(zero_copy_only=False)).astype(np.int64)
        beyond = np.flatnonzero((known < 0) | (np.maximum.accumulate(known) != known))
        numbers: Codes = self._start + known[: beyond[0] if len(beyond) else len(known)]
        return numbers

    def _advance(self, wanted: Any) -> None:
        self._start += 0 if self._ids is None else len(self._ids)
        batch = next(self._batches, None)
        if batch is None:
            raise StorageError(
                f"{self._path} does not list anchor {wanted.as_py()!r} where the shards have it; "
                "`mine verify` says more"
            )
        self._ids = batch.column(0)


class _Stream:
    """The rows of one class that were read and not taken yet."""

    def __init__(self, run: Run, difficulty: str, columns: Sequence[str]) -> None:
        self._batches = read_batches(run.part_paths(difficulty), columns)
        self._order = _Order(run)
        self._held: deque[tuple[Codes, Any]] = deque()
        self._rows = 0
        self.last = -1
        self.ended = False

    def fill(self, end: int | None) -> None:
        """Read on when there are few rows, or when `end` shows that an anchor is not whole."""
        if not self.ended and (self._rows < _ROWS or self.last == end):
            batch = next(self._batches, None)
            if batch is None:
                self.ended = True
            elif len(batch):
                numbers = self._order.numbers(batch.column("anchor_id"))
                self._held.append((numbers, batch))
                self._rows += len(batch)
                self.last = int(numbers[-1])

    def take(self, end: int | None) -> list[tuple[Codes, Any]]:
        """Take the rows of the anchors before `end`; all of them when it is None."""
        taken = []
        while self._held:
            numbers, batch = self._held.popleft()
            cut = len(numbers) if end is None else int(np.searchsorted(numbers, end))
            if cut:
                taken.append((numbers[:cut], batch.slice(0, cut)))
                self._rows -= cut
            if cut < len(numbers):
                self._held.appendleft((numbers[cut:], batch.slice(cut)))
                break
        return taken


def blocks(run: Run, difficulties: Sequence[str]) -> Iterator[Block]:
    """Stream the triplets of some classes by whole anchors.

    Parameters
    ----------
    run : Run
    difficulties : sequence of str
        ``hard``, ``semi_hard``, or both in this order.

    Raises
    ------
    StorageError
        When a shard is damaged, or is not in the order of the census.
    """
    names = _columns(run)
    wanted = list(dict.fromkeys(names.values()))
    streams = [_Stream(run, name, wanted) for name in difficulties]
    end: int | None = None
    while True:
        for stream in streams:
            stream.fill(end)
        going = [stream.last for stream in streams if not stream.ended]
        end = min(going) if going else None
        parts = [part for stream in streams for part in stream.take(end)]
        if parts:
            yield _block(parts, names)
        elif end is None:
            return


def empty_block(run: Run) -> Block:
    """Return a block without rows: it has the types of the run's columns."""
    names = _columns(run)
    schema = _schema(run)
    batch = pa.record_batch(
        [pa.array([], schema.field(name).type) for name in dict.fromkeys(names.values())],
        names=list(dict.fromkeys(names.values())),
    )
    return _block([(np.empty(0, dtype=np.int64), batch)], names)


def _block(parts: list[tuple[Codes, Any]], names: dict[str, str]) -> Block:
    table = pa.Table.from_batches([batch for _, batch in parts])
    numbers = np.concatenate([numbers for numbers, _ in parts])
    order = np.argsort(numbers, kind="stable")  # hard rows stand first, and stay so
    shown, anchor_values = _encoded(table[names["anchor"]].chunks)
    both, passages = _encoded(table[names["positive"]].chunks + table[names["negative"]].chunks)
    positives, negatives = both[: len(order)], both[len(order) :]
    ordered = numbers[order]
    return Block(
        np.cumsum(np.diff(ordered, prepend=ordered[:1]) > 0).astype(np.int64),
        shown[order],
        positives[order],
        negatives[order],
        table["d_ap"].to_numpy()[order],
        table["d_an"].to_numpy()[order],
        anchor_values,
        passages,
    )


def _encoded(chunks: list[Any]) -> tuple[Codes, Any]:
    """Number equal values; return the numbers and the values."""
    if not sum(map(len, chunks)):
        return np.empty(0, dtype=np.int64), chunks[0].slice(0, 0)
    encoded = pa.chunked_array(chunks).dictionary_encode().unify_dictionaries()
    codes = [np.asarray(chunk.indices.to_numpy()) for chunk in encoded.chunks]
    return np.concatenate(codes).astype(np.int64), encoded.chunk(0).dictionary
