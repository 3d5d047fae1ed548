"""Small pictures of rows whose content is an image, as data URLs: bounded in size and number."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.datasets.content import Content, Values
from miner.datasets.formats.images import ImageFolder
from miner.datasets.image_files import Pictures
from miner.datasets.roles import Side, plain_batch

__all__ = ["thumbnails"]

_EDGE = 96
_MOST_BYTES = 256 << 20
"""Of a table whose rows hold their images: it is read from end to end to find a few."""
_MOST_URL = 24 << 10


def thumbnails(side: Side, ids: Iterable[str]) -> dict[str, str]:
    """Return data URLs of the images of some rows, by id; without those that cannot be shown.

    Parameters
    ----------
    side : Side
        Of images.
    ids : iterable of str
        As text, whatever their type.
    """
    wanted = set(ids)
    table = side.table
    if isinstance(table, ImageFolder):
        chosen = [n for n, name in enumerate(table.names) if name in wanted]
        files = tuple(table.files[n] for n in chosen)
        names = tuple(table.names[n] for n in chosen)
        side = replace(side, table=replace(table, files=files, names=names, labels=(), splits=()))
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


def _content(side: Side, wanted: set[str]) -> Iterator[tuple[str, Any]]:
    """Find the rows of some ids, and yield id and content of each."""
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
            values: Values = content.examine(batch.column(side.content).slice(place, 1)).values
            if len(values):
                yield names[place], values if isinstance(values, Pictures) else values[0]
        left -= len(places)
        if left <= 0:
            return


def _of_picture(pictures: Pictures) -> str | None:
    try:
        image = pictures[0]
        image.thumbnail((_EDGE, _EDGE))
    except Exception:  # Pillow's plugins raise what they like on broken files
        return None
    return _url(image, "JPEG", "image/jpeg", quality=80)


def _of_numbers(row: NDArray[Any], brightest: float) -> str | None:
    """Draw a row of numbers that are the pixels of a square image, grey or in colours."""
    for channels in (1, 3):
        edge = isqrt(len(row) // channels)
        if edge and edge * edge * channels == len(row):
            scaled = np.clip(np.asarray(row, np.float64) * (255 / (brightest or 1.0)), 0, 255)
            shape = (edge, edge) if channels == 1 else (edge, edge, 3)
            image = _pillow().fromarray(scaled.round().astype(np.uint8).reshape(shape))
            if edge > _EDGE:
                image.thumbnail((_EDGE, _EDGE))
            return _url(image, "PNG", "image/png")
    return None


def _url(image: Any, form: str, mime: str, **options: Any) -> str | None:
    with io.BytesIO() as buffer:
        image.save(buffer, form, **options)
        text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:{mime};base64,{text}" if len(text) <= _MOST_URL else None


def _pillow() -> Any:
    from PIL import Image  # half a tenth of a second that only runs of images need

    return Image
