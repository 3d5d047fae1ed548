"""Embed content in batches: check each batch, and halve it if memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from miner.datasets.content import Values, content_digests
from miner.datasets.image_files import Pictures
from miner.embedding.cache import Digests, VectorCache
from miner.embedding.model_identity import Probe
from miner.embedding.models.base import Batch, LoadedModel, Role
from miner.embedding.probed_vectors import ProbedVectors
from miner.errors import DataError, EngineError
from miner.triplets.types import Rows

__all__ = ["Contents", "Embedder", "embed_missing"]

_WINDOW_BATCHES = 64
_WINDOW_BYTES = 64 << 20


class Contents(Protocol):
    """The contents of rows, which are embedded: a side of a data set, or pairs of texts."""

    @property
    def kind(self) -> str:
        """The kind of content: text, image or vectors."""

    def values(self, rows: Rows) -> Iterator[Values]:
        """Yield the contents of rows (ascending) in pieces."""


@dataclass(slots=True)
class Embedder:
    """A model together with one side of a data set, which it embeds.

    Parameters
    ----------
    model : LoadedModel
    where : str
        The table, as error messages name it.
    role, prompt : str
    batch_size : int
        Rows in a batch; halved whenever the model runs out of memory.
    dim : int or None
        Required dimensions of the vectors; None until the first batch.
    """

    model: LoadedModel
    where: str
    role: Role
    prompt: str
    batch_size: int
    dim: int | None = None

    def embed(self, values: Values, rows: Rows) -> NDArray[np.floating]:
        """Embed a batch and check the vectors.

        Parameters
        ----------
        values : list of str, ndarray or Pictures
        rows : ndarray of int64
            Their row numbers, for messages.

        Returns
        -------
        ndarray of shape (rows, dim), with the dtype that the model returned

        Raises
        ------
        DataError
            If the vectors have another dimension, or are not finite in float32; the message names
            the row.
        EngineError
            If there is not enough memory for a single row.
        """
        parts = []
        start = 0
        while start < len(values):
            end = start + self.batch_size * self.model.model.parallel
            try:
                vectors = self.model.embed(
                    self._decoded(values[start:end], rows[start:end]),
                    self.role,
                    self.prompt,
                    self.batch_size,
                )
            except MemoryError as error:
                size = min(self.batch_size, len(values) - start)
                if size == 1:
                    raise EngineError(
                        f"{self.where}, row {rows[start]}: model {self.model.name!r} has no memory "
                        "even for this row alone; shorten it, or use a smaller model or a larger "
                        "machine"
                    ) from error
                self.batch_size = size // 2
                continue
            self.check(vectors, rows[start:end])
            parts.append(vectors)
            start = end
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _decoded(self, values: Values, rows: Rows) -> Batch:
        if not isinstance(values, Pictures):
            return values
        images = []
        for row, position in zip(rows, range(len(values)), strict=True):
            try:
                images.append(values[position])
            except Exception as error:  # Pillow's plugins raise errors of any type on broken files
                words = " ".join(str(error).split())
                raise DataError(
                    f"{self.where}, row {row} is not a readable image ({words}); replace the file, "
                    'or leave such rows out: dataset.on_error = "skip"'
                ) from error
        return images

    def check_content(self, values: Values, rows: Rows, digests: Digests) -> None:
        """Compare a batch with the digests of the scan, which are the keys in the cache.

        Raises
        ------
        DataError
            If the file has changed since the scan. Its vectors would be cached for other content.
        """
        changed = np.flatnonzero(content_digests(values) != digests)
        if len(changed):
            raise DataError(
                f"{self.where}, row {rows[changed].min()}: the file changed as it was read; run "
                "the same command again when it is whole"
            )

    def check(self, vectors: NDArray[np.floating], rows: Rows) -> None:
        """Raise the `DataError` of `embed` if the vectors cannot be stored."""
        if self.dim is None:
            self.dim = vectors.shape[1]
        if vectors.shape[1] != self.dim or self.dim == 0:
            raise DataError(
                f"model {self.model.name!r} returned {vectors.shape[1]} dimensions for "
                f"{self.where}, row {rows.min()}, and {self.dim} before; all rows need the same"
            )
        with np.errstate(over="ignore"):
            bad = np.flatnonzero(~np.isfinite(vectors.astype("<f4", copy=False)).all(axis=1))
        if len(bad):
            raise DataError(
                f"{self.where}, row {rows[bad].min()}: the vector holds NaN, an infinite number, "
                f"or one too large for float32 (model {self.model.name!r}); correct the model, or "
                "remove the row"
            )


def embed_missing(
    embedder: Embedder,
    side: Contents,
    generation: VectorCache,
    todo: Rows,
    digests: Digests,
    done: Callable[[int], None],
    *,
    probe: Probe | None = None,
    again: bool = False,
    by_length: bool = True,
) -> int:
    """Embed rows and cache their vectors; return the number of rows that the model embedded.

    The batches do not depend on what is cached already, because a model may round differently in
    another batch: a run that was killed and repeated gives the same bytes as one that was not. A
    batch whose vectors are all cached is skipped.

    Parameters
    ----------
    embedder : Embedder
    side : Contents
    generation : VectorCache
    todo : ndarray of int64
        Row numbers, ascending.
    digests : ndarray of V16
        Digests of the rows' contents.
    done : callable
        Called after every batch with the number of rows done.
    probe : Probe, optional
        The probe of a model that may change while it embeds, see `ProbedVectors`.
    again : bool
        Whether to embed cached rows too, because their vectors are damaged.
    by_length : bool
        Whether batches have texts of similar length.

    Raises
    ------
    DataError
        If a row cannot be embedded, or the model has changed.
    """
    kept = ProbedVectors(generation, embedder.model, probe)
    computed = finished = 0
    size = embedder.batch_size  # `embedder.batch_size` shrinks when memory runs out
    step = size * embedder.model.model.parallel
    try:
        for start, values in _windows(side, todo, size):
            order = _by_length(values) if by_length else np.arange(len(values))
            for cut in range(0, len(order), step):
                chosen = order[cut : cut + step]
                places = start + chosen
                if again or (generation.find(digests[places])[:, 0] < 0).any():
                    batch = _take(values, chosen)
                    embedder.check_content(batch, todo[places], digests[places])
                    kept.append(digests[places], embedder.embed(batch, todo[places]))
                    computed += len(chosen)
                finished += len(chosen)
                done(finished)
    except DataError:  # keep the vectors of the batches before it
        kept.confirm()
        raise
    kept.confirm()
    return computed


def _windows(side: Contents, todo: Rows, batch_size: int) -> Iterator[tuple[int, Values]]:
    """Yield the content of rows in pieces of whole batches, each with its position in `todo`."""
    most = batch_size * (_WINDOW_BATCHES if side.kind == "text" else 1)
    held: list[Values] = []
    start = rows = weight = 0
    for values in side.values(todo):
        held.append(values)
        rows += len(values)
        weight += _weight(values)
        if rows < batch_size or (rows < most and weight < _WINDOW_BYTES):
            continue
        joined, whole = _join(held), rows - rows % batch_size
        yield start, joined[:whole]
        held = [joined[whole:]] if whole < rows else []
        start, rows, weight = start + whole, rows - whole, sum(map(_weight, held))
    if rows:
        yield start, _join(held)


def _weight(values: Values) -> int:
    """Return about how many bytes some content takes."""
    if isinstance(values, np.ndarray):
        return int(values.nbytes)
    return sum(map(len, values.encoded if isinstance(values, Pictures) else values))


def _join(parts: list[Values]) -> Values:
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    if isinstance(parts[0], Pictures):
        pictures = (part for part in parts if isinstance(part, Pictures))
        return Pictures(tuple(image for part in pictures for image in part.encoded))
    return [text for part in parts for text in part]


def _by_length(values: Values) -> Rows:
    """Return an order by length of text, so that batches need less padding."""
    if isinstance(values, np.ndarray | Pictures):
        return np.arange(len(values))
    return np.argsort(np.fromiter(map(len, values), np.int64, len(values)), kind="stable")


def _take(values: Values, chosen: Rows) -> Values:
    if isinstance(values, np.ndarray):
        return values[chosen]
    if isinstance(values, Pictures):
        return Pictures(tuple(values.encoded[row] for row in chosen.tolist()))
    return [values[row] for row in chosen.tolist()]
