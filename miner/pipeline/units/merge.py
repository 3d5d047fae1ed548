"""Merges the files of all units: the records of all anchors, and the statistics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.column_sums import add_up_hubs
from miner.census.confusions import MostConfused, add_up_confusions
from miner.census.statistics import StatisticsPlan
from miner.job_sections import MiningJob
from miner.pipeline.units.layout import ANCHOR_COUNTS
from miner.storage.arrays import load_array
from miner.triplets.types import Rows

__all__ = ["Arrays", "UnitMerger", "array_names"]

Arrays = dict[str, NDArray[Any]]


def array_names(mining: MiningJob, *, labelled: bool) -> dict[str, str]:
    """Return the names of the arrays of statistics that a job computes, mapped to their kind.

    A name contains the kind and the job key that the array depends on.
    """
    names = {}
    if mining.hubs:
        names[f"hubs-{mining.hubs}"] = "hubs"
    if mining.confusions and labelled:
        names[f"confusions-{mining.confusions}"] = "confusions"
    return names


@dataclass(frozen=True, slots=True)
class UnitMerger:
    """Merges the files of units.

    Attributes
    ----------
    work : Path
        The folder of the files.
    units : list of str
        The names of the units, in order.
    statistics : StatisticsPlan
    """

    work: Path
    units: list[str]
    statistics: StatisticsPlan

    def counted(self, anchors: int) -> NDArray[np.void]:
        """Return the records of all anchors, ordered by anchor, an array of `ANCHOR_COUNTS`."""
        result = np.empty(anchors, dtype=ANCHOR_COUNTS)
        result[self.statistics.anchors((0, anchors))] = np.concatenate(self._read(""))
        return result

    def arrays(self, rows: int, mining: MiningJob) -> Arrays:
        """Return the arrays of `array_names`.

        ``hubs``: the rows with the most hard triplets, as row, hard, semi-hard, anchors.
        ``confusions``: the label pairs with the most hard triplets, as anchor label, negative
        label, hard, semi-hard. Both have shape (4, n + 1): the first column starts with the number
        of rows or pairs before the limit of the job; the n others are the entries.
        """
        make = {"hubs": self._hubs, "confusions": self._confusions}
        names = array_names(mining, labelled=self.statistics.labels is not None)
        return {name: make[kind](rows, mining) for name, kind in names.items()}

    def _read(self, kind: str) -> list[NDArray[Any]]:
        paths = (self.work / f"{name}{kind}.npy" for name in self.units)
        return [load_array(path) for path in paths]

    def _hubs(self, rows: int, mining: MiningJob) -> Rows:
        totals = add_up_hubs(self._read(".hubs"), rows)
        found = np.flatnonzero(totals[:2].any(axis=0))
        order = np.lexsort((found, -totals[1, found], -totals[0, found]))
        kept = found[order[: mining.hubs]]
        return _headed(len(found), np.vstack([kept, totals[:, kept]]))

    def _confusions(self, rows: int, mining: MiningJob) -> Rows:
        statistics = self.statistics
        assert statistics.labels is not None
        kept = MostConfused(mining.confusions, statistics.ranks)
        units = zip(self._read(".confusion"), self._read(".ends"), strict=True)
        add_up_confusions(units, kept, statistics.labels.count)
        return _headed(kept.total, kept.pairs())


def _headed(of: int, table: Rows) -> Rows:
    head = np.zeros((len(table), 1), dtype=np.int64)
    head[0] = of
    return np.concatenate([head, table], axis=1)
