"""Look up the texts, labels and pictures of rows, and shorten them for the report.

Pictures are data URLs of bounded size and number.
"""

from __future__ import annotations

import base64
import io
import struct
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.datasets.content import Content, Values
from miner.datasets.formats.images import ImageFolder
from miner.datasets.image_files import Pictures
from miner.datasets.roles import TableRoles, plain_batch
from miner.datasets.source import Source
from miner.embedding.store import Store
from miner.errors import MineError
from miner.formatting import printable
from miner.triplets.relevance import Relevance
from miner.triplets.relevance.labels import RowLabels, row_labels
from miner.triplets.types import Rows

__all__ = ["Contents", "Item", "cut_text", "label_text"]

_MOST_TEXT, _MOST_NAME = 280, 64
"""Most characters shown of a text, and of an id or label."""
_MOST_MARKS = 4
_EDGE = 160
_MOST_BYTES = 256 << 20
"""Most bytes of a table that contains its images: it is read completely to find a few rows."""
_MOST_URL = 32 << 10


@dataclass(frozen=True, slots=True)
class Item:
    """A row as the report shows it; unknown parts are empty."""

    id: str
    label: str = ""
    text: str = ""
    picture: str = ""


def cut_text(value: Any, most: int = _MOST_NAME) -> str:
    """Return a value as one printable line of at most `most` characters."""
    line = " ".join(_low(printable(str(value)[: 4 * most])).split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def label_text(value: Any) -> str:
    """Return a label shortened by `cut_text`, or ``(blank)`` if nothing of it is visible."""
    return cut_text(value) or "(blank)"


def _low(text: str) -> str:
    """Limit the combining marks on each letter, because many would cover other lines."""
    if text.isascii():
        return text
    kept, pile = [], 0
    for letter in text:
        pile = pile + 1 if unicodedata.category(letter) in ("Mn", "Me") else 0
        if pile <= _MOST_MARKS:
            kept.append(letter)
    return "".join(kept)


@dataclass
class Contents:
    """Looks up what the report shows of rows.

    Parameters
    ----------
    store : Store or None
        The embedding store of the run, if it still exists; it has texts and labels.
    source : Source or None
        The data, if they still exist; only they have images.
    """

    store: Store | None
    source: Source | None
    _pictures: dict[tuple[int, str], str] = field(default_factory=dict)

    @cached_property
    def relevance(self) -> Relevance | None:
        """The positives and exclusions of each anchor, or None without a store."""
        return None if self.store is None else self.store.relevance()

    @cached_property
    def _labels(self) -> RowLabels | None:
        return None if self.relevance is None else row_labels(self.relevance)

    @property
    def row_side(self) -> int:
        """The side of positives and negatives."""
        if self.store is not None:
            return self.store.row_side
        return 0 if self.source is None else len(self.source.sides) - 1

    def ids(self, side: int, rows: Rows) -> list[Any]:
        """Return the ids of some rows."""
        assert self.store is not None
        return list(self.store.ids(side).take(rows).to_pylist())

    def items(self, side: int, ids: Sequence[Any]) -> list[Item]:
        """Return the items of rows; a row that the store does not know has only its id."""
        texts: dict[int, str] = {}
        labels: dict[int, str] = {}
        if self.store is not None and len(ids):
            rows = self.store.ids(side).rows_of(ids)
            known = np.flatnonzero(rows >= 0)
            texts = dict(zip(known.tolist(), self._texts(side, rows[known]), strict=False))
            labels = dict(zip(known.tolist(), self._names(side, rows[known]), strict=False))
        return [
            Item(
                cut_text(one),
                labels.get(place, ""),
                texts.get(place, ""),
                self._pictures.get((side, str(one)), ""),
            )
            for place, one in enumerate(ids)
        ]

    def _texts(self, side: int, rows: Rows) -> list[str]:
        spool = None if self.store is None else self.store.texts(side)
        if spool is None or not len(rows):
            return []
        return [cut_text(text, _MOST_TEXT) for text in spool.take(rows).to_pylist()]

    def _names(self, side: int, rows: Rows) -> list[str]:
        names = None if self.store is None else self.store.label_names()
        if names is None or self._labels is None or not len(rows):
            return []
        codes = self._labels.anchors if side == 0 else self._labels.rows
        return [label_text(name) for name in names.take(codes[rows]).to_pylist()]

    def load_pictures(self, wanted: Iterable[tuple[int, Any]]) -> None:
        """Read the pictures of the given (side, id) pairs, so that `items` returns them.

        If the data changed or cannot be read, there are no pictures.
        """
        if self.source is None or self.source.kind != "image":
            return
        by_side: dict[int, set[str]] = {}
        for side, one in wanted:
            number = min(side, len(self.source.sides) - 1)
            by_side.setdefault(number, set()).add(str(one))
        for number, ids in by_side.items():
            try:
                found = _thumbnails(self.source.sides[number], ids)
            except (MineError, OSError):
                continue
            for side in {number, self.row_side if number == len(self.source.sides) - 1 else 0}:
                self._pictures |= {(side, one): url for one, url in found.items()}


def _thumbnails(side: TableRoles, wanted: set[str]) -> dict[str, str]:
    """Return data URLs of the images of some rows, by id; images that fail are left out."""
    table = side.table
    if isinstance(table, ImageFolder):
        names = table.texts["id"]
        chosen = [n for n, name in enumerate(names) if name in wanted]
        files = tuple(table.files[n] for n in chosen)
        texts = {"id": [names[n] for n in chosen]}
        side = replace(side, table=replace(table, files=files, texts=texts))
    elif sum(file.stat().st_size for file in table.files) > _MOST_BYTES:
        return {}
    found: dict[str, str] = {}
    numbers: dict[str, NDArray[Any]] = {}
    for name, value in _content(side, wanted):
        if isinstance(value, np.ndarray):
            numbers[name] = value
            continue
        url = _of_picture(value)
        if url is not None:
            found[name] = url
    brightest = max((float(np.abs(row).max(initial=0)) for row in numbers.values()), default=0.0)
    for name, row in numbers.items():
        url = _of_numbers(row, brightest)
        if url is not None:
            found[name] = url
    return found


def _content(side: TableRoles, wanted: set[str]) -> Iterator[tuple[str, Any]]:
    """Yield the id and the content of each row whose id is wanted."""
    content = Content(side.kind, side.folder)
    columns = list(dict.fromkeys([side.content] + ([side.id] if side.id else [])))
    start, left = 0, len(wanted)
    for batch in side.table.batches(columns):
        batch = plain_batch(batch)
        names = (
            [str(value) for value in batch.column(side.id).to_pylist()]
            if side.id
            else [str(row) for row in range(start, start + len(batch))]
        )
        start += len(batch)
        places = [place for place, name in enumerate(names) if name in wanted]
        for place in places:
            values: Values = content.examine(batch.column(side.content).slice(place, 1))[0]
            if len(values):
                yield names[place], values if isinstance(values, Pictures) else values[0]
        left -= len(places)
        if left <= 0:
            return


def _of_picture(pictures: Pictures) -> str | None:
    try:
        image = pictures[0]
        image.thumbnail((_EDGE, _EDGE))
        with io.BytesIO() as buffer:
            image.save(buffer, "JPEG", quality=80)
            return _url("image/jpeg", buffer.getvalue())
    except Exception:  # Pillow's plugins raise any exception on broken files
        return None


def _of_numbers(row: NDArray[Any], brightest: float) -> str | None:
    """Return a data URL of a vector as a square image, grey or RGB; None if it is not one."""
    for channels in (1, 3):
        edge = isqrt(len(row) // channels)
        if edge and edge * edge * channels == len(row):
            scaled = np.clip(np.asarray(row, np.float64) * (255 / (brightest or 1.0)), 0, 255)
            pixels = scaled.round().astype(np.uint8).reshape(edge, edge, channels)
            every = -(-edge // _EDGE)
            return _url("image/png", _png(pixels[::every, ::every]))
    return None


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Return an array of shape (height, width, 1 or 3) as PNG, without Pillow, an extra."""
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    lines = np.pad(pixels.reshape(height, -1), ((0, 0), (1, 0)))  # filter type 0: none
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _url(mime: str, data: bytes) -> str | None:
    text = base64.b64encode(data).decode("ascii")
    return f"data:{mime};base64,{text}" if len(text) <= _MOST_URL else None
