"""Export the ids of a run's anchors, for trainers that sample their own batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from miner.errors import UsageError
from miner.runs.run import CENSUS, Run
from miner.runs.tables import LABEL_NOISE, has_table, read_table

__all__ = ["id_batches"]

_ROWS = 1 << 16


def _suspected_ids(run: Run) -> Any:
    """Return the ids of anchors whose labels are likely wrong, as an Arrow array.

    Raises
    ------
    UsageError
        If the run has no table of such anchors.
    """
    if not has_table(run, LABEL_NOISE):
        raise UsageError(
            f"--clean needs {LABEL_NOISE}, which run {run.run_id} does not have: mine labelled "
            "items with one label each, and with mining.neighbours above 0"
        )
    return read_table(run, LABEL_NOISE)["anchor_id"].combine_chunks()


def id_batches(run: Run, left_out: Counter[str], *, clean: bool) -> Iterator[Any]:
    """Yield an empty batch, then batches with the ids of all anchors in order.

    Parameters
    ----------
    run : Run
    left_out : Counter
        Receives the number of anchors left out.
    clean : bool
        Whether to leave out anchors whose labels are likely wrong.
    """
    ids = read_table(run, CENSUS)["anchor_id"].combine_chunks()
    yield pa.record_batch({"id": ids.slice(0, 0)})
    wrong = _suspected_ids(run) if clean else None
    for start in range(0, len(ids), _ROWS):
        part = ids.slice(start, _ROWS)
        if wrong is not None:
            kept = part.filter(pc.invert(pc.is_in(part, wrong)))
            left_out["labels_likely_wrong"] += len(part) - len(kept)
            part = kept
        yield pa.record_batch({"id": part})
