"""The built-in retriever: BM25 by the library bm25s, over the texts of an embedding store.

Words are runs of letters, digits and underscores in lower case. No language is assumed: there is no
stemming, and no word is left out. The score is that of Lucene, with k1 = 1.5 and b = 0.75 (Lù 2024,
BM25S). Equal scores are ordered by row, and a document without a word of the query is not found.
"""

from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any

import numpy as np

from miner.embedding.store import Store, open_store
from miner.errors import DataError, StorageError, UsageError, install_hint
from miner.triplets.types import Rows
from miner.version import installed_version

__all__ = ["BM25", "Bm25", "bm25_version", "open_bm25"]

BM25 = "bm25"
"""The name of this retriever in ``candidates.runs``."""
_WORD = r"(?u)\b\w+\b"


def bm25_version() -> str:
    """Return the version of the library, which decides the ranks.

    Raises
    ------
    UsageError
        If it is not installed.
    """
    found = installed_version("bm25s")
    if found is None:
        raise UsageError(
            f"candidates.runs = [{BM25!r}] needs bm25s: {install_hint('bm25')} (a file of that "
            f"name is './{BM25}')"
        )
    return found


@functools.cache
def _library() -> Any:
    """Import bm25s, which is an extra and loads SciPy; its log of each step is left out."""
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)
    return bm25s


class Bm25:
    """The index of a store's texts.

    Parameters
    ----------
    store : Store
        It must contain texts.

    Attributes
    ----------
    rows : int
        The number of texts in the index.

    Raises
    ------
    DataError
        If no text has a word.
    """

    def __init__(self, store: Store) -> None:
        self._store, self.rows = store, int(store.facts["rows"][-1])
        words = _words(_texts(store, store.row_side, np.arange(self.rows)), ids=True)
        if not words.vocab:
            raise DataError(f"candidates.runs = [{BM25!r}]: no text has a word; drop it")
        self._index = _library().BM25(dtype="float64")
        self._index.index(words, show_progress=False)

    def ranked(self, anchors: Rows, depth: int) -> tuple[Rows, Rows]:
        """Return the first `depth` rows of each anchor that is given, as pairs."""
        parts = [np.empty((2, 0), dtype=np.int64)]
        queries = _words(_texts(self._store, 0, anchors), ids=False)
        for anchor, words in zip(anchors, queries, strict=True):
            known = self._index.get_tokens_ids(words)
            if known:
                rows = _best(self._index.get_scores_from_ids(known), depth)
                parts.append(np.stack([np.full(len(rows), anchor), rows]))
        pairs = np.concatenate(parts, axis=1)
        return pairs[0], pairs[1]


@functools.lru_cache(maxsize=1)
def open_bm25(folder: str) -> Bm25:
    """Index the texts of the store in a folder; cached once per process."""
    store = open_store(Path(folder))
    if store is None:
        raise StorageError(f"{folder} is gone; run the same command again")
    return Bm25(store)


def _best(scores: Any, depth: int) -> Rows:
    """Return the rows with the highest scores above 0; of equal scores the first rows."""
    rows = np.flatnonzero(scores > 0)
    if len(rows) > depth:
        least = np.partition(scores[rows], len(rows) - depth)[len(rows) - depth]
        rows = rows[scores[rows] >= least]  # more than `depth` only where scores are equal
    return rows[np.argsort(-scores[rows], kind="stable")[:depth]]


def _texts(store: Store, side: int, rows: Rows) -> list[str]:
    column = store.texts(side)
    if column is None:
        raise StorageError(f"{store.folder} has lost its texts; run with --force")
    texts: list[str] = column.take(rows).to_pylist()
    return texts


def _words(texts: list[str], *, ids: bool) -> Any:
    """Return the words of each text; with `ids`, as numbers and their vocabulary."""
    return _library().tokenize(
        texts, token_pattern=_WORD, stopwords=None, return_ids=ids, show_progress=False
    )
