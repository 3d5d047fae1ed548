"""What the units left in files, added up: the census of all anchors, and arrays beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.besides import Besides
from miner.columns import add_up_confusions, add_up_hubs
from miner.job import MiningJob
from miner.tables import label_ranks
from miner.units import COUNTED

__all__ = ["Arrays", "Merging", "array_names"]

Rows = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]


def array_names(mining: MiningJob, *, labelled: bool) -> dict[str, str]:
    """Return what arrays a job has beside the census, by what decides them: name -> kind."""
    names = {}
    if mining.hubs:
        names[f"hubs-{mining.hubs}"] = "hubs"
    if mining.confusions and labelled:
        names[f"confusions-{mining.confusions}"] = "confusions"
    if mining.gaps:
        names[f"gaps-{mining.gaps}"] = "gaps"
    return names


@dataclass(frozen=True, slots=True)
class Merging:
    """Adds up what units left.

    Attributes
    ----------
    work : Path
        Where their files are.
    units : list of str
        The units, in order.
    besides : Besides
    label_names : pyarrow.Array or None
        The value of each label.
    """

    work: Path
    units: list[str]
    besides: Besides
    label_names: Any

    def counted(self, anchors: int) -> NDArray[np.void]:
        """Return the census of all anchors in their order, an array of `COUNTED`."""
        result = np.empty(anchors, dtype=COUNTED)
        result[self.besides.anchors((0, anchors))] = np.concatenate(self._read(""))
        return result

    def arrays(self, rows: int, mining: MiningJob) -> Arrays:
        """Return the arrays of `array_names`.

        Hubs are the rows with most hard triplets, confusions the pairs of labels: shape (4, n + 1),
        as `HUBS` and `CONFUSED` of `miner.columns` have them; first stands how many there are.
        """
        make = {"hubs": self._hubs, "confusions": self._confusions, "gaps": self._gaps}
        names = array_names(mining, labelled=self.besides.labels is not None)
        return {name: make[kind](rows, mining) for name, kind in names.items()}

    def _read(self, kind: str) -> list[NDArray[Any]]:
        paths = (self.work / f"{name}{kind}.npy" for name in self.units)
        return [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]

    def _hubs(self, rows: int, mining: MiningJob) -> Rows:
        totals = add_up_hubs(self._read(".hubs"), rows)
        found = np.flatnonzero(totals[:2].any(axis=0))
        order = np.lexsort((found, -totals[1, found], -totals[0, found]))
        kept = found[order[: mining.hubs]]
        return _headed(len(found), np.vstack([kept, totals[:, kept]]))

    def _confusions(self, rows: int, mining: MiningJob) -> Rows:
        labels = self.besides.labels
        assert labels is not None
        top = _Top(mining.confusions, label_ranks(self.label_names))
        for pairs in add_up_confusions(lambda: self._read(".confusion"), labels.count):
            top.add(pairs)
        return _headed(top.of, top.pairs)

    def _gaps(self, rows: int, mining: MiningJob) -> Rows:
        return np.asarray(np.sum(self._read(".gaps"), axis=0), dtype=np.int64)


def _headed(of: int, table: Rows) -> Rows:
    head = np.zeros((len(table), 1), dtype=np.int64)
    head[0] = of
    return np.concatenate([head, table], axis=1)


class _Top:
    """Keeps the pairs of labels with the most hard triplets; then the order of labels decides."""

    def __init__(self, most: int, ranks: Rows) -> None:
        self.most, self.ranks = most, ranks
        self.pairs = np.empty((4, 0), dtype=np.int64)
        self.of = 0

    def add(self, pairs: Rows) -> None:
        """Take more pairs, shape (4, n): of each pair of labels all at once."""
        self.of += pairs.shape[1]
        if pairs.shape[1] > self.most:
            least = -np.partition(-pairs[2], self.most - 1)[self.most - 1]
            pairs = pairs[:, pairs[2] >= least]
        both = np.concatenate([self.pairs, pairs], axis=1)
        order = np.lexsort((self.ranks[both[1]], self.ranks[both[0]], -both[2]))
        self.pairs = both[:, order[: self.most]]
