"""Writes the census (one row per anchor) and the tables of statistics."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.statistics import StatisticsPlan
from miner.embedding.store import Store
from miner.pipeline.units.layout import CENSUS_COLUMNS
from miner.pipeline.units.merge import Arrays
from miner.runs.shards import file_facts, write_census
from miner.runs.tables import (
    CONFUSION,
    HUBS,
    LABEL_NOISE,
    write_confusion,
    write_hubs,
    write_label_noise,
)
from miner.triplets.types import Rows

__all__ = ["CensusFiles"]


@dataclass(slots=True)
class CensusFiles:
    """Writes the census and the tables of statistics.

    Parameters
    ----------
    store : Store
    statistics : StatisticsPlan
    arrays : dict
        The arrays from `miner.pipeline.units.merge`.
    facts : dict
        `write` adds the facts of each table for the manifest.
    """

    store: Store
    statistics: StatisticsPlan
    arrays: Arrays
    facts: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path, counted: NDArray[np.void]) -> list[dict[str, Any]]:
        """Write the census and its tables; return the facts of the files for the manifest."""
        path = folder / "census.parquet"
        write_census(path, self.store.ids(0), {name: counted[name] for name in CENSUS_COLUMNS})
        files = [file_facts(path, folder, len(counted))]
        writers = {HUBS: self._hubs, CONFUSION: self._confusion, LABEL_NOISE: self._label_noise}
        for name, write in writers.items():
            rows = write(folder / name, counted)
            if rows is not None:
                files.append(file_facts(folder / name, folder, rows))
        return files

    def _array(self, kind: str) -> Rows | None:
        return next((a for name, a in self.arrays.items() if name.startswith(f"{kind}-")), None)

    def _values(self, codes: Rows) -> Any:
        """Return the label of each code."""
        return self.store.label_names().take(codes)

    def _hubs(self, path: Path, counted: NDArray[np.void]) -> int | None:
        table = self._array("hubs")
        if table is None:
            return None
        rows, counts, labels = table[0, 1:], table[1:, 1:], self.statistics.labels
        self.facts["hubs"] = {"rows": len(rows), "of": int(table[0, 0])}
        values = None if labels is None else self._values(labels.rows[rows])
        write_hubs(path, self.store.ids(self.store.row_side), values, rows, counts)
        return len(rows)

    def _confusion(self, path: Path, counted: NDArray[np.void]) -> int | None:
        table = self._array("confusions")
        if table is None:
            return None
        pairs = table[:, 1:]
        write_confusion(path, self.store.label_names(), pairs)
        hard, semi_hard = (sum(counts.tolist()) for counts in pairs[2:])
        self.facts["confusions"] = {
            "rows": pairs.shape[1],
            "of": int(table[0, 0]),
            "hard": hard,
            "semi_hard": semi_hard,
            "hard_of": sum(counted["hard"].tolist()),
            "semi_hard_of": sum(counted["semi_hard"].tolist()),
        }
        return int(pairs.shape[1])

    def _label_noise(self, path: Path, counted: NDArray[np.void]) -> int | None:
        labels = self.statistics.labels
        if not self.statistics.neighbours or labels is None:
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
