"""Mines vectors in memory, without a run folder."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from miner.census.device.devices import device_name, open_device
from miner.census.kernels import pick_kernel
from miner.census.measure import Vectors
from miner.census.walk.candidate_lists import CandidateLists
from miner.census.walk.census import Census
from miner.errors import DataError, UsageError
from miner.job import Job, parse_bytes, parse_job
from miner.job_sections import SelectJob
from miner.pipeline.passes import allocate_quotas
from miner.pipeline.units.miner import UnitMiner
from miner.pipeline.units.records import RecordBuffer, Triplets
from miner.runs.shards import triplet_table
from miner.selection.selection import check_selection, load_selection
from miner.triplets.distance import Metric, normalize_rows
from miner.triplets.hardness import OutputFolder
from miner.triplets.relevance import NONE, LabelRelevance, tally
from miner.triplets.types import Float32, Rows

if TYPE_CHECKING:
    import pyarrow

__all__ = ["select"]

_NEED_A_RUN = ("per_negative", "denoise")


def select(
    vectors: ArrayLike,
    labels: Sequence[Any] | NDArray[Any],
    *,
    margin: float = 0.2,
    metric: Metric = "euclidean",
    normalize: bool | None = None,
    strategy: str = "semi-hard",
    device: str = "auto",
    **options: Any,
) -> pyarrow.Table:
    """Return the triplets that a run of these vectors would write, as a table in memory.

    Everything is held in memory and nothing is written to disk. A training loop can call this
    after each epoch with the embeddings of that epoch.

    Parameters
    ----------
    vectors : array_like of shape (n, d), float
        The embeddings; they are used as float32.
    labels : sequence of length n
        The label of each row, whole numbers or texts. Rows with None take no part.
    margin : float
        Above 0, in units of the metric.
    metric : str
        ``euclidean``, ``sqeuclidean``, ``cosine`` or ``dot``.
    normalize : bool, optional
        Whether vectors are scaled to length 1; by default they are, unless the metric is ``dot``.
    strategy : str
        As ``select.strategy`` in a job.
    device : str
        What counts, as ``engine.device`` in a job; the triplets are the same.
    **options
        Other keys of ``[select]``: ``max_triplets``, ``seed``, ``relative_margin`` and so on.
        ``per_negative`` and ``denoise`` need a run.

    Returns
    -------
    pyarrow.Table
        The columns ``anchor_id``, ``positive_id`` and ``negative_id`` (row numbers, int64),
        ``d_ap``, ``d_an`` and ``weight`` (float32), and ``difficulty`` (``hard``, ``semi_hard`` or
        ``suspect``). The order is the same as in shards: by class, anchor, positive, rank. It is
        empty if there is no valid triplet, for example with one label.

    Raises
    ------
    UsageError
        When a key or a value is wrong, or the device is not there.
    DataError
        When vectors and labels do not fit each other, or a vector is not finite.

    Examples
    --------
    >>> import miner
    >>> table = miner.select([[1, 0], [0, 1], [1, 1], [1, 2]], ["a", "a", "b", "b"], margin=0.5)
    >>> table.num_rows
    2
    """
    job = _job(margin, metric, normalize, {"strategy": strategy, **options})
    rows, numbers, codes = _labelled(vectors, labels, scale=job.mining.normalized)
    found = _mined(job, rows, codes, device)
    sizes = {str(name): len(records) for name, records in found.items()}
    return triplet_table(np.concatenate(list(found.values())), sizes, numbers)


def _job(margin: float, metric: Metric, normalize: bool | None, keys: dict[str, Any]) -> Job:
    """Return a job with these keys; they are checked like the keys of a job file."""
    known = [field.name for field in dataclasses.fields(SelectJob)]
    for key in keys:
        if key not in known:
            raise UsageError(
                f"unknown option {key!r}; a strategy's own are given as options={{{key!r}: ...}}. "
                f"Known: {', '.join(sorted(known))}"
            )
    for key in _NEED_A_RUN:
        if keys.get(key):
            raise UsageError(f"{key} needs a run: use miner.mine, or leave {key} out")
    mining = {"margin": float(margin), "metric": metric, "normalize": normalize}
    mining = {key: value for key, value in mining.items() if value is not None}
    job = parse_job({"dataset": {"path": "in memory"}, "mining": mining, "select": keys})
    check_selection(job)
    return job


def _labelled(
    vectors: ArrayLike, labels: Sequence[Any] | NDArray[Any], *, scale: bool
) -> tuple[Float32, Rows, Rows]:
    """Return the vectors of the rows with a label, their row numbers, and their label codes."""
    if hasattr(vectors, "detach"):  # a tensor of PyTorch
        vectors = vectors.detach().cpu()
    whole = np.asarray(vectors, dtype=np.float32)
    if whole.ndim != 2:
        raise DataError(f"vectors must have the shape (n, d), not {whole.shape}")
    if np.ndim(labels) > 1:
        raise DataError(f"labels must have the shape (n,), not {np.shape(labels)}")
    names = labels.tolist() if hasattr(labels, "tolist") else list(labels)
    if len(names) != len(whole):
        raise DataError(
            f"there are {len(whole)} vectors and {len(names)} labels; give one for each"
        )
    labelled = [row for row, name in enumerate(names) if name is not None]
    codes: dict[Any, int] = {}
    own = [codes.setdefault(names[row], len(codes)) for row in labelled]
    taken = np.array(labelled, dtype=np.int64)
    rows = whole[taken]
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise DataError(
            f"the vector of row {taken[bad[0]]} is not finite; correct it or leave it out"
        )
    rows = normalize_rows(rows) if scale else np.ascontiguousarray(rows)
    return rows, taken, np.array(own, dtype=np.int64)


def _mined(job: Job, rows: Float32, codes: Rows, device: str) -> dict[OutputFolder, Triplets]:
    """Return the triplets of each folder."""
    nothing = np.full(len(rows), NONE, dtype=np.int64)
    relevance = LabelRelevance(codes, nothing, nothing)
    kernel = pick_kernel(len(rows) ** 2, repeated=True)
    memory, vectors = parse_bytes(job.mining.memory), Vectors(rows, rows, kernel)
    name = device_name(device, vectors.work)
    on_cpu = name == "cpu"
    census = Census(
        vectors,
        relevance,
        job.mining.metric,
        job.mining.margin,
        kernel=kernel,
        keep_bytes=memory // 2 if on_cpu else 0,
        device=None if on_cpu else functools.partial(open_device, name, memory // 2),
    )
    selection, seed, normalized = load_selection(job.select), job.select.seed, job.mining.normalized
    miner = UnitMiner(
        census, tally(relevance), selection, seed, memory // 2, normalized, loss=False, writes=True
    )
    lists: list[CandidateLists] = []
    unit = (0, len(rows))
    counted = miner.count(unit, lists=lists)
    quotas = allocate_quotas(counted, job.select)
    found = {name: RecordBuffer() for name in quotas}
    miner.write_to(found, unit, quotas, counted, lists[0].take)
    return {name: records.in_order() for name, records in found.items()}
