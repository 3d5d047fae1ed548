"""`mine verify`: whether a run is whole, and its classes true.

Checked are the manifest's own checksum, every file's presence, size, SHA-256, schema and rows, the
census against the manifest, and, where the embedding store is still there, a sample of triplets and
of anchors, classified again from the stored vectors by the float64 definition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census import Vectors
from miner.distance import Metric, score
from miner.embedding import Store, open_store
from miner.errors import MineError
from miner.finished import Run, manifest_checksum, read_census
from miner.hardness import CLASSES, MINED, classify, difficulty
from miner.relevance import Relevance
from miner.shards import read_shard, shard_facts
from miner.storage import sha256_file
from miner.strategies.filters import Filters
from miner.totals import found_counts
from miner.verifying import check_tables, recount_hubs, rejudge_labels

__all__ = ["Check", "Verification", "verify_run"]

_TRIPLETS = 2000
_ANCHORS = 32


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
    problems : list of str
        Empty when all is well.
    detail : str
        What was looked at, or why it could not be.
    """

    name: str
    problems: list[str]
    detail: str = ""
    skipped: bool = False

    @property
    def state(self) -> str:
        """``ok``, ``FAILS`` or ``skipped``."""
        return "FAILS" if self.problems else "skipped" if self.skipped else "ok"


@dataclass(slots=True)
class Verification:
    """All checks of a run."""

    run: Run
    checks: list[Check] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """Everything that is wrong."""
        return [problem for check in self.checks for problem in check.problems]


def verify_run(run: Run, *, full: bool = False, seed: int = 0) -> Verification:
    """Verify a finished run.

    Parameters
    ----------
    run : Run
    full : bool
        Look at every triplet and every anchor, not at a sample.
    seed : int
        Of the sample.
    """
    with run.afresh() as fresh:
        return _verified(fresh, full=full, seed=seed)


def _verified(run: Run, *, full: bool, seed: int) -> Verification:
    result = Verification(run)
    checks = {"manifest": _manifest, "files": _files, "shards": _schema}
    checks |= {"census": _census, "tables": _tables}
    for name, check in checks.items():
        if not result.problems:  # what a damaged manifest says is no guide
            result.checks.append(_guarded(name, check, run))
    if not result.problems:
        result.checks += _from_vectors(run, full, np.random.default_rng(seed))
    return result


def _guarded(name: str, check: Callable[..., Check], *arguments: Any) -> Check:
    """Make a check, or a problem of the error that stops it."""
    try:
        return check(*arguments)
    except MineError as error:
        return Check(name, [str(error)])


def _manifest(run: Run) -> Check:
    stated = run.manifest.get("checksum")
    if stated != manifest_checksum(run.manifest):
        return Check("manifest", ["manifest.json was changed: its checksum does not fit"])
    return Check("manifest", [], "its checksum fits")


def _files(run: Run) -> Check:
    problems = []
    found = run.sizes()
    named = [*run.manifest.get("shards", []), *run.manifest.get("files", [])]
    for file in named:
        size = found.get(file["path"])
        if size is None:
            problems.append(f"{file['path']} is missing")
        elif size != file["bytes"]:
            problems.append(f"{file['path']} has {size} bytes, the manifest says {file['bytes']}")
        elif sha256_file(run.file(file["path"])) != file["sha256"]:
            problems.append(f"{file['path']} was changed: its checksum does not fit")
    known = {file["path"] for file in named} | {"manifest.json"}
    problems += [f"{name} is not named by the manifest" for name in sorted(found.keys() - known)]
    return Check("files", problems, f"{len(named)} files, SHA-256")


def _schema(run: Run) -> Check:
    problems = []
    rows = dict.fromkeys(run.manifest["written"], 0)
    for shard in run.manifest["shards"]:
        facts = shard_facts(run.file(shard["path"]))
        name = shard["path"].split("/")[0]
        rows[name] += facts["rows"]
        if facts["rows"] != shard["rows"]:
            problems.append(f"{shard['path']} has {facts['rows']} rows, not {shard['rows']}")
        problems += [f"{shard['path']}: {why}" for why in facts["wrong"]]
        wanted = {
            "difficulty": difficulty(name),
            "fingerprint": run.manifest["fingerprint"],
            "metric": run.manifest["job"]["mining"]["metric"],
            "margin": repr(run.manifest["job"]["mining"]["margin"]),
            "model": run.manifest["model"]["id"],
            "format_version": str(run.manifest["format_version"]),
        }
        for key, value in wanted.items():
            if facts["metadata"].get(key) != value:
                problems.append(
                    f"{shard['path']}: {key} is {facts['metadata'].get(key)!r}, not {value!r}"
                )
    for name in rows:
        if rows[name] != run.manifest["written"][name]["rows"]:
            problems.append(
                f"{name}: {rows[name]} rows in the shards, "
                f"{run.manifest['written'][name]['rows']} in the manifest"
            )
    return Check("shards", problems, f"{sum(rows.values()):,} rows, schema and metadata")


def _census(run: Run) -> Check:
    counts = read_census(run)
    problems = []
    stated = found_counts(run.manifest["census"])
    for name in CLASSES:
        total = sum(counts[name].tolist())
        if total != stated[name]:
            problems.append(f"census.parquet: {total:,} {name}, the manifest says {stated[name]:,}")
    valid = counts["positives"] * counts["negatives"]
    wrong = np.flatnonzero(sum(counts[name] for name in CLASSES) != valid)
    if len(wrong):
        problems.append(
            f"census.parquet, row {wrong[0]}: the classes do not add up to positives x negatives"
        )
    return Check("census", problems, f"{len(valid):,} anchors add up")


def _tables(run: Run) -> Check:
    problems, looked = check_tables(run)
    return Check("tables", problems, f"{looked} add up" if looked else "none", skipped=not looked)


def _from_vectors(run: Run, full: bool, rng: np.random.Generator) -> Iterator[Check]:
    """Recompute classes and counts from the stored vectors, where they are still there."""
    folder = run.root / ".store" / str(run.manifest["store"])
    try:
        store = open_store(folder)
        truth = _Truth(run, store) if store is not None else None
    except MineError as error:
        yield Check("vectors", [str(error)])
        return
    if truth is None:
        detail = f"the embedding store {folder} is gone; mine run --force makes it again"
        yield Check("vectors", [], detail, skipped=True)
        return
    yield _guarded("triplets", truth.triplets, full, rng)
    yield _guarded("anchors", truth.anchors, full, rng)
    yield _guarded("hubs", truth.tables, rng)


class _Truth:
    """The stored vectors and relevance of a run."""

    def __init__(self, run: Run, store: Store) -> None:
        self.run = run
        self.store = store
        mining = run.manifest["job"]["mining"]
        self.metric: Metric = mining["metric"]
        self.margin: float = mining["margin"]
        said = mining["normalize"]
        self.normalized: bool = self.metric != "dot" if said is None else said
        self.found = "found" in run.manifest["census"]  # by an approximate index
        self.filters = Filters.recorded(run.manifest["job"]["select"])
        # NumPy measures, not what mined.
        self.vectors = Vectors(store.vectors(0), store.vectors(store.row_side), "numpy")
        self.relevance: Relevance = store.relevance()

    def triplets(self, full: bool, rng: np.random.Generator) -> Check:
        """Classify triplets again."""
        problems: list[str] = []
        looked = 0
        find_anchor, find_row = self._finder(0), self._finder(self.store.row_side)
        for shard in self.run.manifest["shards"]:
            table = read_shard(self.run.file(shard["path"]))
            picked = np.arange(shard["rows"])
            if not full and len(picked) > _TRIPLETS:
                picked = np.sort(rng.choice(picked, _TRIPLETS, replace=False))
            looked += len(picked)
            anchors = find_anchor(table["anchor_id"][picked])
            positives = find_row(table["positive_id"][picked])
            negatives = find_row(table["negative_id"][picked])
            wrong = self._wrong(
                shard["path"].split("/")[0],
                anchors,
                positives,
                negatives,
                table["d_ap"][picked],
                table["d_an"][picked],
            )
            problems += [f"{shard['path']}, row {picked[row]}: {why}" for row, why in wrong]
        return Check("triplets", problems, f"{looked:,} classified again from the vectors")

    def _finder(self, side: int) -> Callable[[Any], NDArray[np.int64]]:
        rows = self.store.facts["rows"][side]
        ids = self.store.ids(side).take(np.arange(rows)).to_numpy(zero_copy_only=False)
        order = np.argsort(ids, kind="stable")
        ordered = ids[order]

        def find(wanted: Any) -> NDArray[np.int64]:
            place = np.minimum(np.searchsorted(ordered, wanted), rows - 1)
            found = np.where(ordered[place] == wanted, order[place], -1)
            return np.asarray(found, dtype=np.int64)

        return find

    def _wrong(
        self,
        name: str,
        anchors: NDArray[np.int64],
        positives: NDArray[np.int64],
        negatives: NDArray[np.int64],
        stated_ap: NDArray[np.float32],
        stated_an: NDArray[np.float32],
    ) -> Iterator[tuple[int, str]]:
        lost = np.flatnonzero((anchors < 0) | (positives < 0) | (negatives < 0))
        if len(lost):
            yield int(lost[0]), "an id is not in the embedding store"
            return
        d_ap = self.vectors.measure(self.metric, anchors, positives)
        d_an = self.vectors.measure(self.metric, anchors, negatives)
        classes = classify(d_ap, d_an, self.margin)
        wrong = classes == "easy" if name == "suspects" else classes != name
        for row in np.flatnonzero(wrong)[:3]:
            yield int(row), f"it is {classes[row]}, not {difficulty(name)}"
        for row in np.flatnonzero(self._misplaced(name, d_ap, d_an))[:3]:
            yield int(row), "the filters on scores put it elsewhere"
        with np.errstate(over="ignore"):
            moved = (d_ap.astype(np.float32) != stated_ap) | (d_an.astype(np.float32) != stated_an)
        for row in np.flatnonzero(moved)[:3]:
            yield int(row), "its distances are not those of the vectors"
        yield from self._irrelevant(anchors, positives, negatives)

    def _misplaced(
        self, name: str, d_ap: NDArray[np.float64], d_an: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """Whether the job's filters on scores would have kept a triplet out of its folder."""
        scores = (score(self.metric, self.normalized, d) for d in (d_ap, d_an))
        if name == "suspects":
            return ~self.filters.suspect(*scores)
        return self.filters.rejects(*scores)

    def _irrelevant(
        self,
        anchors: NDArray[np.int64],
        positives: NDArray[np.int64],
        negatives: NDArray[np.int64],
    ) -> Iterator[tuple[int, str]]:
        for row, anchor in enumerate(anchors):
            known = self.relevance.positives(int(anchor))
            if not np.isin(positives[row], known):
                yield row, "the positive is none of the anchor's"
                return
            if np.isin(negatives[row], np.append(known, self.relevance.hidden(int(anchor)))):
                yield row, "the negative is a positive, or excluded"
                return

    def anchors(self, full: bool, rng: np.random.Generator) -> Check:
        """Count all triplets of some anchors again, one by one."""
        counts = read_census(self.run)
        able = np.flatnonzero(counts["positives"] > 0)
        if not full and len(able) > _ANCHORS:
            able = np.sort(rng.choice(able, _ANCHORS, replace=False))
        problems = []
        for anchor in able.tolist():
            mine = self._classes(anchor)
            stated = {name: int(counts[name][anchor]) for name in CLASSES}
            if mine != stated and not (self.found and self._among(stated, mine)):
                problems.append(f"census.parquet, row {anchor}: {stated}, by definition {mine}")
        return Check("anchors", problems, f"{len(able):,} counted again by the definition")

    @staticmethod
    def _among(found: dict[str, int], there: dict[str, int]) -> bool:
        """Whether what an approximate index found can be part of what there is."""
        return sum(found.values()) == sum(there.values()) and all(
            found[name] <= there[name] for name in MINED
        )

    def tables(self, rng: np.random.Generator) -> Check:
        """Count some hubs again, and judge some suspects of label noise."""
        truth = (self.run, self.vectors, self.relevance, self.metric)
        problems, hubs = recount_hubs(*truth, self._finder(self.store.row_side), rng)
        wrong, suspects = rejudge_labels(*truth, self._finder(0), rng)
        detail = f"{hubs} counted again, {suspects} suspects of label noise judged again"
        return Check("hubs", problems + wrong, detail)

    def _classes(self, anchor: int) -> dict[str, int]:
        negative = np.ones(len(self.vectors.rows), dtype=np.bool_)
        positives = self.relevance.positives(anchor)
        negative[positives] = False
        negative[self.relevance.hidden(anchor)] = False
        distances = self.vectors.measure(self.metric, np.array([anchor]), np.arange(len(negative)))
        counts = dict.fromkeys(CLASSES, 0)
        for positive in positives:
            classes = classify(distances[positive], distances[negative], self.margin)
            for name in CLASSES:
                counts[name] += int((classes == name).sum())
        return counts
