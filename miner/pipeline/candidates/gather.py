"""Gathers the candidates of all anchors: who proposes which rows, and which are negatives.

Run files are read, and BM25 ranks the texts, before anything is counted, so that a wrong file is
found early. The job's own nearest negatives come from the exact pass. Each part has a record in the
staging folder, so a killed run continues.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.embedding.store import Store
from miner.job import Job
from miner.pipeline.candidates.bm25 import BM25, open_bm25
from miner.pipeline.candidates.listed import Listed
from miner.pipeline.candidates.sources import Sources
from miner.pipeline.kept_folder import KeptFolder
from miner.pipeline.passes import Numbered, Passes
from miner.pipeline.units.spec import UnitSpec, open_unit_miner
from miner.storage.arrays import load_array, save_array
from miner.storage.files import sha256_file, storage_errors
from miner.triplets.relevance import Relevance, anchor_rows, ranges
from miner.triplets.types import Rows
from miner.version import __version__

__all__ = ["Gathering"]

_CHUNK = 1 << 20
"""Candidates that are checked at once."""


@dataclass(frozen=True, slots=True)
class Gathering:
    """Gathers the candidates of a staged run, and restricts its passes to what may be drawn.

    Attributes
    ----------
    job : Job
    sources : Sources or None
        None: all negatives are candidates.
    store : Store
    passes : Passes
    fresh : bool
        Whether candidates that an earlier run kept are found again.
    """

    job: Job
    sources: Sources | None
    store: Store
    passes: Passes
    fresh: bool

    def propose(self) -> None:
        """Find the rows that each run proposes, unless they are recorded or kept in the store."""
        staging, progress = self.passes.staging, self.passes.progress
        depth = self.job.candidates.depth
        runs = () if self.sources is None or self._taken() else self.sources.runs
        for number, run in enumerate(runs):
            name = _name(number)
            if staging.recorded(name) is not None:
                continue
            if run is None:
                open_bm25(str(self.store.folder.resolve()))  # one index for all threads
                call = functools.partial(_propose_bm25, self.passes.spec, depth)
                keys = self._spread(BM25, name, call)
                open_bm25.cache_clear()
                facts = {"pairs": len(keys)}
            else:
                progress(f"reading {run.path}", 0, 0)
                ids = [self.store.ids(side).all() for side in (0, self.store.row_side)]
                ranked = run.ranked(depth, *ids)
                keys, facts = np.unique(self._keys(ranked.anchors, ranked.rows)), ranked.facts
                facts = {**facts, "pairs": len(keys)}
            self._record(name, keys, facts)

    def restricted(self, counted: NDArray[np.void]) -> tuple[Passes, dict[str, Any]]:
        """Restrict the passes to the candidates, and exclude the rows that the job denoises.

        Parameters
        ----------
        counted : ndarray of shape (anchors,), `miner.pipeline.units.layout.ANCHOR_COUNTS`

        Returns
        -------
        passes : Passes
        facts : dict
            The section ``candidates`` of the manifest; empty without candidates.
        """
        passes, facts = self.passes, {}
        if self.job.select.denoise:
            noisy = counted["neighbour"] >= 0
            passes = passes.without(anchor_rows(self.store.relevance())[noisy])
        if self.sources is not None:
            facts = {"candidates": self._listed(passes, self.sources)}
            passes = passes.among(str(passes.staging.work.resolve()))
        return passes, facts

    def _listed(self, passes: Passes, sources: Sources) -> dict[str, Any]:
        """Write the union of all candidates that are negatives; return its facts."""
        staging = passes.staging
        record = staging.recorded("candidates")
        if record is None:
            names = [_name(number) for number in range(len(sources.names))]
            if sources.own:
                call = functools.partial(_propose_own, passes.spec, self.job.candidates.own)
                keys = replace(self, passes=passes)._spread("the model", names[-1], call)
                self._record(names[-1], keys, {"pairs": len(keys)})
            proposed = [np.asarray(load_array(staging.work / f"{name}.npy")) for name in names]
            union = Listed.union(self._rows, proposed)
            miner = open_unit_miner(passes.spec)
            listed = union.kept(_negatives(union, miner.census.relevance))
            able = (miner.tally.positives > 0) & (miner.tally.negatives > 0)
            found = np.zeros(len(able), dtype=np.bool_)
            found[listed.keys // self._rows] = True
            facts: dict[str, Any] = {
                "proposed": len(union.keys),
                "negatives": len(listed.keys),
                "anchors_without": int((able & ~found).sum()),
            }
            facts["parts"] = [self._facts(number) for number in range(len(names))]
            record = self._recorded(listed.save(staging.work), facts)
            listed.save(self._kept.emptied())
            self._kept.seal(facts)
        parts = record["facts"].pop("parts")
        runs = [{**run, **facts} for run, facts in zip(sources.facts(), parts, strict=False)]
        own = {"own": parts[-1]} if sources.own else {}
        return {**record["facts"], "runs": runs, **own}

    @property
    def _kept(self) -> KeptFolder:
        """The candidates of this job in the store."""
        assert self.sources is not None
        mining = self.job.mining
        identity = {
            "mine": __version__,
            "sources": self.sources.identity(),
            "candidates": self.job.candidates.identity(),
            "mining": [mining.metric, mining.normalized, mining.margin],
            "denoise": [self.job.select.denoise, mining.neighbours],
        }
        return KeptFolder(self.store.folder, "candidates", identity)

    def _taken(self) -> bool:
        """Whether the candidates are recorded already, or were kept by an earlier run."""
        staging = self.passes.staging
        if staging.recorded("candidates") is not None:
            return True
        facts = None if self.fresh else self._kept.find("the candidates are found again")
        if facts is None:
            return False
        files = Listed.open(self._kept.path, self._rows).save(staging.work)
        self.passes.progress("candidates: kept from an earlier run", 0, 0)
        self._recorded(files, facts)
        return True

    def _recorded(self, files: Mapping[str, str], facts: dict[str, Any]) -> dict[str, Any]:
        """Record that the candidates are listed; return the record."""
        record = {"facts": facts, "files": {f"work/{name}": sha for name, sha in files.items()}}
        self.passes.staging.record("candidates", record)
        return record

    @property
    def _rows(self) -> int:
        return int(self.store.facts["rows"][-1])

    def _keys(self, anchors: Rows, rows: Rows) -> Rows:
        return anchors * self._rows + rows

    def _record(self, name: str, keys: Rows, facts: dict[str, int]) -> None:
        path = self.passes.staging.work / f"{name}.npy"
        save_array(path, keys)
        files = {f"work/{path.name}": sha256_file(path)}
        self.passes.staging.record(name, {"facts": facts, "files": files})

    def _facts(self, number: int) -> dict[str, Any]:
        record = self.passes.staging.recorded(_name(number))
        return dict(record["facts"]) if record else {}

    def _spread(
        self, stage: str, name: str, call: Callable[[str, str, Numbered], tuple[int, str]]
    ) -> Rows:
        """Call a function on all units; return the keys that they wrote, ascending."""
        passes = self.passes
        work, total = passes.staging.work, passes.anchors
        names = [f"{name}-{number:05d}" for number in range(len(passes.units))]
        pending = [n for n, one in enumerate(names) if passes.staging.recorded(one) is None]
        done = total - sum(_size(passes.units[n]) for n in pending)
        said = f"searching with {stage}"
        passes.progress(said, done, total)
        whole = functools.partial(call, str(work.resolve()), name)
        for unit in passes.engine.each(whole, [(n, passes.units[n]) for n in pending]):
            number, checksum = unit.result
            files = {f"work/{names[number]}.npy": checksum}
            passes.staging.record(names[number], {"files": files})
            done += _size(passes.units[number])
            passes.progress(said, done, total)
        parts = []
        for one in names:
            with storage_errors(work):
                parts.append(np.asarray(load_array(work / f"{one}.npy")))
        return np.sort(np.concatenate([np.empty(0, np.int64), *parts]))


def _name(number: int) -> str:
    return f"proposed-{number:02d}"


def _size(unit: tuple[int, int]) -> int:
    return unit[1] - unit[0]


def _negatives(listed: Listed, relevance: Relevance) -> NDArray[np.bool_]:
    """Return whether each candidate is a negative of its anchor."""
    keep = np.zeros(len(listed.keys), dtype=np.bool_)
    for start in range(0, len(keep), _CHUNK):
        part = slice(start, start + _CHUNK)
        keep[part] = relevance.are_negatives(*np.divmod(listed.keys[part], listed.rows))
    return keep


def _save(work: str, name: str, number: int, keys: Rows) -> tuple[int, str]:
    path = Path(work) / f"{name}-{number:05d}.npy"
    save_array(path, keys)
    return number, sha256_file(path)


def _propose_bm25(
    spec: UnitSpec, depth: int, work: str, name: str, numbered: Numbered
) -> tuple[int, str]:
    """Rank the texts for the anchors of one unit, in a worker."""
    number, unit = numbered
    index = open_bm25(spec.store)
    anchors, rows = index.ranked(np.arange(*unit), depth)
    return _save(work, name, number, anchors * index.rows + rows)


def _propose_own(
    spec: UnitSpec, most: int, work: str, name: str, numbered: Numbered
) -> tuple[int, str]:
    """Find the nearest negatives of the anchors of one unit, in a worker.

    Negatives that are easy for all pairs of their anchor are left out: they are never written.
    """
    number, unit = numbered
    miner = open_unit_miner(spec)
    anchors = np.arange(*unit)
    able = (miner.tally.positives[anchors] > 0) & (miner.tally.negatives[anchors] > 0)
    anchors = anchors[able]
    parts = [np.empty(0, dtype=np.int64)]
    for block in miner.census.blocks(anchors[miner.census.in_order(anchors)], miner.memory):
        deep = np.maximum.reduceat(block.non_easy, block.starts[:-1])
        sizes = np.minimum(deep, most)
        lines = np.repeat(np.arange(len(sizes)), sizes)
        found = block.rows_at(lines, ranges(sizes * 0, sizes))
        parts.append(block.anchors[lines] * miner.census.relevance.rows + found)
    return _save(work, name, number, np.concatenate(parts))
