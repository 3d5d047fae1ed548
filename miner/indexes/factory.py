"""Approximate indexes of FAISS' index factory (Douze et al. 2024, The Faiss library).

Inverted files, graphs, quantisers and their compositions, by their FAISS factory strings.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from miner.errors import UsageError, did_you_mean
from miner.formatting import counted
from miner.indexes.files import read_index, reason, write_index
from miner.triplets.distance import Metric, normalize_rows
from miner.triplets.types import Float32

__all__ = ["FactoryIndex"]

_ANY_DIM = 3840
"""A dimension that every number in a factory string is likely to divide, to check its syntax."""
_PER_CENTROID, _LEAST, _MOST = 40, 65_536, 1_048_576
"""Rows to train on: `_PER_CENTROID` per centroid of the inverted file, between `_LEAST` and
`_MOST`."""
_LONGEST = 1e17
_EXAMPLES = "such as IVF1024,Flat, HNSW32 or IVF1024,PQ16x4fs,RFlat"
_WHOLE = re.compile(r".*,RFlat|((IVF|IMI)[^,]*,)?Flat|(HNSW|NSG)\d+(,Flat)?")
"""Factory strings of indexes that return the distances of the vectors, not of codes."""
_PARAMETERS = ("nprobe", "efSearch", "quantizer_efSearch", "k_factor_rf", "k_factor")


class FactoryIndex:
    """An approximate index, by L2 distance, or by inner product for cosine and dot."""

    exact = False

    def __init__(
        self, metric: Metric, dim: int, factory: str, *, opened: Any | None = None
    ) -> None:
        self._cosine = metric == "cosine"
        self._factory, self._shared = factory, opened is not None
        self._index = _made(factory, dim, metric) if opened is None else opened

    @staticmethod
    def check(factory: str) -> None:
        """Raise UsageError if FAISS cannot parse a factory string, or if it has no lists."""
        _made(factory, _ANY_DIM, "euclidean")
        if re.search(r"(IVF|IMI)0+\D", factory):
            raise UsageError(f"index.factory = {factory!r} has no lists; name one {_EXAMPLES}")

    @staticmethod
    def training_rows(factory: str) -> int:
        """Return the most rows that training needs."""
        lists = re.search(r"(?:IVF|IMI)(\d+)(k?)", factory)
        centroids = int(lists[1]) * (1024 if lists[2] else 1) if lists else 0
        return min(max(_PER_CENTROID * centroids, _LEAST), _MOST)

    @classmethod
    def open(cls, metric: Metric, factory: str, path: Path) -> FactoryIndex:
        """Open a saved index; the parts that FAISS can memory-map stay on disk."""
        lists = "IVF" in factory
        plain = getattr(faiss, "IO_FLAG_MMAP_IFC", 0)
        opened = read_index(path, faiss.IO_FLAG_MMAP if lists else plain)
        if lists:
            inverted: Any = faiss.extract_index_ivf(opened).invlists
            inverted = faiss.downcast_InvertedLists(inverted)
            if hasattr(inverted, "prefetch_nthread"):
                inverted.prefetch_nthread = 0  # the page cache prefetches; threads slow each search
        return cls(metric, opened.d, factory, opened=opened)

    def train(self, rows: Float32) -> None:
        """Train centroids and codes on some rows.

        Raises
        ------
        UsageError
            If the vectors are too long for FAISS, or too few.
        """
        if self._index.is_trained:
            return
        ready = self._ready(rows)
        longest = np.sqrt(np.square(ready, dtype=np.float64).sum(-1).max(initial=0.0))
        if longest > _LONGEST:  # FAISS' k-means fails on squares that overflow float32
            raise UsageError(
                f"index.factory = {self._factory!r} cannot be trained: a vector is {longest:.3g} "
                f"long, more than {_LONGEST:g}; scale or normalise them, or use Flat"
            )
        try:
            self._index.train(ready)
        except RuntimeError as error:
            raise UsageError(
                f"index.factory = {self._factory!r} cannot be trained on "
                f"{counted(len(rows), 'row')}: {reason(error)}; use a smaller one, or Flat"
            ) from error

    def add(self, rows: Float32) -> None:
        """Append stored rows; on one thread if the graph would depend on the number of threads."""
        threads = faiss.omp_get_max_threads()
        if "HNSW" in self._factory or "NSG" in self._factory:
            faiss.omp_set_num_threads(1)
        try:
            self._index.add(self._ready(rows))
        finally:
            faiss.omp_set_num_threads(threads)

    def search(self, queries: Float32, k: int) -> NDArray[np.int64]:
        """Return the row numbers of the k nearest rows that are found, nearest first.

        An opened index searches on one core: the worker processes share the others.
        """
        return self.scored(queries, k)[1]

    def scored(self, queries: Float32, k: int) -> tuple[Float32 | None, NDArray[np.int64]]:
        """Return distances and row numbers; no distances (None) if the index stores codes."""
        if self._shared:
            faiss.omp_set_num_threads(1)
        found, rows = self._index.search(self._ready(queries), k)
        rows = np.asarray(rows, dtype=np.int64)
        if not _WHOLE.fullmatch(self._factory):
            return None, rows
        inner = self._index.metric_type == faiss.METRIC_INNER_PRODUCT
        return (-found if inner else found), rows

    def search_parameters(self) -> dict[str, list[float]]:
        """Return the FAISS search parameters of this index and the values worth trying."""
        space = faiss.ParameterSpace()
        space.initialize(self._index)
        found = {}
        for number in range(space.parameter_ranges.size()):
            range_ = space.parameter_ranges.at(number)
            if range_.name in _PARAMETERS:
                found[str(range_.name)] = faiss.vector_to_array(range_.values).tolist()
        return found

    def set_parameters(self, settings: dict[str, float]) -> None:
        """Set search parameters."""
        space = faiss.ParameterSpace()
        for name, value in settings.items():
            space.set_index_parameter(self._index, name, value)

    def save(self, path: Path) -> None:
        """Write the index in a format that ``faiss.read_index`` can open."""
        write_index(self._index, path)

    def _ready(self, rows: Float32) -> Float32:
        return normalize_rows(rows) if self._cosine else np.ascontiguousarray(rows)


def _made(factory: str, dim: int, metric: Metric) -> Any:
    inner = metric in ("cosine", "dot")
    kind = faiss.METRIC_INNER_PRODUCT if inner else faiss.METRIC_L2
    try:
        made = faiss.index_factory(dim, factory, kind)
        if "IVF" in factory:  # do not warn of few rows per list: the recall is measured
            inverted: Any = faiss.extract_index_ivf(made)
            inverted.cp.min_points_per_centroid = 1
        return made
    except RuntimeError as error:
        where = "" if dim == _ANY_DIM else f" for vectors of {dim} values"
        raise UsageError(
            f"index {factory!r}: FAISS cannot build it{where}: {reason(error)}; a factory string "
            f"is {_EXAMPLES}; {did_you_mean(factory, ['Flat', 'auto'])}"
        ) from error
