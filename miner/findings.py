"""What the units counted, put together: the census of all anchors, and the tables beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.besides import Besides
from miner.columns import add_up_confusions, add_up_hubs
from miner.embedding import Store
from miner.gaps import gap_facts
from miner.job import MiningJob
from miner.shards import file_facts, write_census
from miner.tables import (
    CONFUSION,
    HUBS,
    LABEL_NOISE,
    label_ranks,
    write_confusion,
    write_hubs,
    write_label_noise,
)
from miner.units import COUNTED

__all__ = ["Findings"]

Rows = NDArray[np.int64]


@dataclass(slots=True)
class Findings:
    """Adds up what units left in files, and writes the tables.

    Parameters
    ----------
    store : Store
    besides : Besides
    mining : MiningJob
    work : Path
        Where the units' files are.
    names : list of str
        The units, in order.
    """

    store: Store
    besides: Besides
    mining: MiningJob
    work: Path
    names: list[str]
    facts: dict[str, Any] = field(default_factory=dict)

    def counted(self) -> NDArray[np.void]:
        """Return the census of all anchors in their order, an array of `COUNTED`."""
        result = np.empty(self.store.facts["rows"][0], dtype=COUNTED)
        result[self.besides.order] = np.concatenate(self._units(""))
        return result

    def _units(self, kind: str) -> list[NDArray[Any]]:
        paths = (self.work / f"{name}{kind}.npy" for name in self.names)
        return [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]

    def write(self, folder: Path, counted: NDArray[np.void]) -> list[dict[str, Any]]:
        """Write the census and its tables; return the facts of the files, keep those for it."""
        path = folder / "census.parquet"
        names = ("positives", "negatives", "easy", "semi_hard", "hard")
        write_census(path, self.store.ids(0), {name: counted[name] for name in names})
        files = [file_facts(path, folder, len(counted))]
        writers = {HUBS: self._hubs, CONFUSION: self._confusion, LABEL_NOISE: self._label_noise}
        for name, write in writers.items():
            rows = write(folder / name, counted)
            if rows is not None:
                files.append(file_facts(folder / name, folder, rows))
        if self.besides.gaps is not None:
            total = np.sum(self._units(".gaps"), axis=0)
            self.facts["gaps"] = gap_facts(self.besides.gaps, total)
        return files

    def _values(self, codes: Rows) -> Any:
        """Return the values of label codes."""
        return self.store.label_names().take(codes)

    def _hubs(self, path: Path, counted: NDArray[np.void]) -> int | None:
        if not self.mining.hubs:
            return None
        totals = add_up_hubs(self._units(".hubs"), self.store.facts["rows"][-1])
        rows = np.flatnonzero(totals[:2].any(axis=0))
        self.facts["hubs"] = {"of": len(rows)}
        order = np.lexsort((rows, -totals[1, rows], -totals[0, rows]))
        rows = rows[order[: self.mining.hubs]]
        self.facts["hubs"] = {"rows": len(rows), **self.facts["hubs"]}
        labels = self.besides.labels
        values = None if labels is None else self._values(labels.rows[rows])
        write_hubs(path, self.store.ids(self.store.row_side), values, rows, totals[:, rows])
        return len(rows)

    def _confusion(self, path: Path, counted: NDArray[np.void]) -> int | None:
        labels = self.besides.labels
        if not self.mining.confusions or labels is None:
            return None
        names = self.store.label_names()
        top = _Top(self.mining.confusions, label_ranks(names))
        units = self._units(".confusion")
        for pairs in add_up_confusions(units, labels.count):
            top.add(pairs)
        write_confusion(path, names, top.pairs)
        hard, semi_hard = (sum(counts.tolist()) for counts in top.pairs[2:])
        self.facts["confusions"] = {
            "rows": top.pairs.shape[1],
            "of": top.of,
            "hard": hard,
            "semi_hard": semi_hard,
            "hard_of": sum(counted["hard"].tolist()),
            "semi_hard_of": sum(counted["semi_hard"].tolist()),
        }
        return int(top.pairs.shape[1])

    def _label_noise(self, path: Path, counted: NDArray[np.void]) -> int | None:
        labels = self.besides.labels
        if not self.besides.neighbours or labels is None:
            return None
        anchors = np.flatnonzero(counted["neighbour"] >= 0)
        mine = counted[anchors]
        share = mine["votes"] / mine["looked"]
        hard_share = mine["hard"] / (mine["positives"] * mine["negatives"])
        order = np.lexsort((anchors, -hard_share, -share))
        anchors, mine = anchors[order], mine[order]
        values = self._values(labels.anchors[anchors]), self._values(mine["neighbour"])
        shares = {"share": share[order], "hard_share": hard_share[order]}
        write_label_noise(path, self.store.ids(0), anchors, values, shares)
        judged = int((counted["looked"] > 0).sum())
        self.facts["label_noise"] = {"rows": len(anchors), "of": judged}
        return len(anchors)


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
