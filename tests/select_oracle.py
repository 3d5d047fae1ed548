"""What each selection takes, written the stupid way, from the enumerated triplets."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from miner.census.measure import Vectors
from miner.census.walk.census import Census
from miner.job_sections import SelectJob
from miner.pipeline.passes import allocate_quotas
from miner.pipeline.units.miner import UnitMiner
from miner.pipeline.units.records import TRIPLET
from miner.selection.selection import load_selection
from miner.triplets.distance import normalize_rows
from miner.triplets.hardness import MINED_CLASSES
from miner.triplets.relevance import Relevance, tally
from tests.hard_data import labelled, linked, vectors
from tests.hard_relevance import constrained
from tests.oracle import Truth, enumerate_triplets, negatives

MARGIN = 0.3

Triplet = tuple[int, int, int]


@dataclass
class Data:
    """A small data set with its truth."""

    metric: str
    normalized: bool
    anchors: np.ndarray
    rows: np.ndarray
    relevance: Relevance
    truth: Truth
    order: dict[int, list[int]] = field(default_factory=dict)
    left: dict[str, dict[Triplet, str]] = field(default_factory=dict)

    def score(self, d: float) -> float:
        if self.metric == "cosine":
            return 1.0 - d
        if self.metric == "dot" or not self.normalized:
            return -d
        return 1.0 - (d * d if self.metric == "euclidean" else d) / 2.0

    def ranked(self, anchor: int) -> list[int]:
        """The anchor's negatives by true distance, ties by row."""
        if anchor not in self.order:
            d = self.truth.d
            self.order[anchor] = sorted(
                negatives(self.relevance, anchor), key=lambda n: (d[anchor, n], n)
            )
        return self.order[anchor]


def data(metric: str, kind: str, classes: str, *, normalized: bool, size: int = 30) -> Data:
    """Labelled items (`classes` of tests.hard_data), or pairs where `classes` is "pairs".

    Where `classes` begins with "constrained", the items or pairs have constraints of each kind.
    """
    bound, classes = classes.startswith("constrained"), classes.removeprefix("constrained ")
    rows = vectors(kind, size, 5, seed=31)
    relevance: Relevance
    if classes == "pairs":
        anchors = vectors(kind, 12, 5, seed=32)
        anchors[:4] = rows[:4]
        relevance = linked(12, size, 33, hide=True)
    else:
        anchors, relevance = rows, labelled(classes, size, 34, hide=True)
    if bound:
        relevance = constrained(relevance, 35, "across", "within", "apart", "before")
    if normalized:
        anchors, rows = normalize_rows(anchors), normalize_rows(rows)
    if classes != "pairs":
        anchors = rows
    truth = enumerate_triplets(metric, MARGIN, anchors, rows, relevance)
    return Data(metric, normalized, anchors, rows, relevance, truth)


@dataclass
class Selected:
    """What the miner selected: records per folder, and the facts of the counting pass."""

    records: dict[str, np.ndarray]
    counted: np.ndarray

    def triplets(self, folder: str) -> list[Triplet]:
        names = ("anchor", "positive", "negative")
        columns = (self.records[folder][name].tolist() for name in names)
        return list(zip(*columns, strict=True))


def select(found: Data, unit: int = 7, **keys: Any) -> Selected:
    """Count, share out and write in units of so many anchors, without a store."""
    job = SelectJob(**{"max_triplets": 10**9, **keys})
    census = Census(Vectors(found.anchors, found.rows), found.relevance, found.metric, MARGIN)
    miner = UnitMiner(
        census, tally(found.relevance), load_selection(job), job.seed, 20_000, found.normalized
    )
    total = found.relevance.anchors
    units = [(start, min(start + unit, total)) for start in range(0, total, unit)]
    counted = np.concatenate([miner.count(one) for one in units])
    shares = allocate_quotas(counted, job)
    records: dict[str, list[np.ndarray]] = {name: [] for name in shares}
    with tempfile.TemporaryDirectory() as folder:
        for one in units:
            paths = {name: Path(folder) / f"{name}.bin" for name in shares}
            parts = {name: share.part(slice(*one)) for name, share in shares.items()}
            miner.write(one, parts, paths)
            for name, path in paths.items():
                records[name].append(np.fromfile(path, TRIPLET))
    return Selected({name: np.concatenate(parts) for name, parts in records.items()}, counted)


def suspect(found: Data, keys: Mapping[str, Any], triplet: Triplet) -> bool:
    """Whether a guard against false negatives drops a triplet."""
    a, p, n = triplet
    s_p, s_n = found.score(found.truth.d[a, p]), found.score(found.truth.d[a, n])
    x, y, most = (keys.get(k) for k in ("absolute_margin", "relative_margin", "max_score"))
    return (
        (x is not None and not s_n < s_p - x)
        or (y is not None and not s_n < s_p - y * abs(s_p))
        or (most is not None and not s_n <= most)
    )


def admitted(found: Data, keys: Mapping[str, Any]) -> dict[Triplet, str]:
    """The triplets that pass the filters, with their class, by anchor, positive and rank."""
    filters = {k: v for k, v in keys.items() if k not in ("strategy", "options", "suspects")}
    if repr(filters) not in found.left:
        found.left[repr(filters)] = _admitted(found, filters)
    return found.left[repr(filters)]


def _admitted(found: Data, keys: Mapping[str, Any]) -> dict[Triplet, str]:
    result = {}
    low, high = keys.get("ranks", (0, 10**9))
    least = keys.get("min_score", -np.inf)
    for a in range(found.relevance.anchors):
        for p in found.relevance.positives(a).tolist():
            for rank, n in enumerate(found.ranked(a)):
                names = [name for name in MINED_CLASSES if (a, p, n) in found.truth.sets[name]]
                passed = (
                    names
                    and names[0] in keys.get("classes", MINED_CLASSES)
                    and low <= rank < high
                    and rank >= keys.get("skip_nearest", 0)
                    and found.score(found.truth.d[a, n]) >= least
                    and not suspect(found, keys, (a, p, n))
                )
                if passed:
                    result[a, p, n] = names[0]
    return result


def chosen(found: Data, keys: Mapping[str, Any]) -> dict[str, list[Triplet]]:
    """What a strategy that draws nothing takes of each class."""
    left = admitted(found, keys)
    options = keys.get("options", {})
    name = keys.get("strategy", "all")
    rules = {
        "all": _all,
        "hardest": _hardest,
        "semi-hard": _semi_hard,
        "batch-hard": _batch_hard,
        "easy-positive": _easy_positive,
    }
    taken = rules[name](found, left, options)
    return {folder: [t for t in taken if left[t] == folder] for folder in MINED_CLASSES}


def _all(found: Data, left: dict[Triplet, str], options: Mapping[str, Any]) -> list[Triplet]:
    return list(left)


def _hardest(found: Data, left: dict[Triplet, str], options: Mapping[str, Any]) -> list[Triplet]:
    seen: dict[tuple[int, int, str], int] = {}
    taken = []
    for (a, p, n), name in left.items():
        seen[a, p, name] = seen.get((a, p, name), 0) + 1
        if seen[a, p, name] <= options.get("k", 1):
            taken.append((a, p, n))
    return taken


def _semi_hard(found: Data, left: dict[Triplet, str], options: Mapping[str, Any]) -> list[Triplet]:
    by_pair: dict[tuple[int, int], list[Triplet]] = {}
    for triplet, name in left.items():
        if name == "semi_hard":
            by_pair.setdefault(triplet[:2], []).append(triplet)
    nth = options.get("nth", 1)
    return [mine[min(nth, len(mine)) - 1] for mine in by_pair.values()]


def _batch_hard(found: Data, left: dict[Triplet, str], options: Mapping[str, Any]) -> list[Triplet]:
    taken = []
    for a in sorted({a for a, _, _ in left}):
        mine = [t for t in left if t[0] == a]
        p = min({p for _, p, _ in mine}, key=lambda p: (-found.truth.d[a, p], p))
        taken.append(next(t for t in mine if t[1] == p))
    return taken


def _easy_positive(
    found: Data, left: dict[Triplet, str], options: Mapping[str, Any]
) -> list[Triplet]:
    taken = []
    beyond = options.get("variant") == "epshn"
    for a in range(found.relevance.anchors):
        positives = found.relevance.positives(a).tolist()
        if not positives:
            continue
        p = min(positives, key=lambda p: (found.truth.d[a, p], p))
        mine = [
            t for t, name in left.items() if t[:2] == (a, p) and not (beyond and name == "hard")
        ]
        taken += mine[:1]
    return taken


def dropped(found: Data, keys: Mapping[str, Any]) -> set[Triplet]:
    """The suspects."""
    everything = found.truth.sets["hard"] | found.truth.sets["semi_hard"]
    return {t for t in everything if suspect(found, keys, t)}
