"""The two passes over all units: the count pass, then the write pass.

Each finished unit has a record. A run that resumes after a crash processes only the units without
a record.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.census.statistics import StatisticsRequest
from miner.embedding.store import Store
from miner.job_sections import MiningJob, SelectJob
from miner.pipeline.count_cache import KeptCounts, join, parts, split
from miner.pipeline.engines.base import Engine
from miner.pipeline.seal import UnitFile
from miner.pipeline.units.layout import Quota
from miner.pipeline.units.merge import Arrays, UnitMerger
from miner.pipeline.units.spec import UnitSpec, count_unit, open_lists, open_unit_miner, write_unit
from miner.progress import Progress
from miner.runs.staging import Staging
from miner.selection.caps import allocate
from miner.selection.strategies.base import seed_sequence
from miner.storage.arrays import load_array, save_array
from miner.storage.files import storage_errors
from miner.triplets.hardness import OUTPUT_FOLDERS, OutputFolder
from miner.triplets.types import Rows

__all__ = ["Numbered", "Passes", "allocate_quotas"]

_log = logging.getLogger(__name__)
_RECOUNT = "recount"

Numbered = tuple[int, tuple[int, int]]
"""A unit as workers receive it: its number, and its range of anchors."""


def allocate_quotas(counted: NDArray[np.void], select: SelectJob) -> dict[OutputFolder, Quota]:
    """Return the quota of each folder: its cap, allocated to the anchors.

    Parameters
    ----------
    counted : ndarray of shape (anchors,), `miner.pipeline.units.layout.ANCHOR_COUNTS`
    select : SelectJob

    Returns
    -------
    dict
        The quota of each folder: the number of triplets of each anchor, and the factor by which
        the cap multiplies their weights. ``suspects`` is included only if the job keeps them.
    """
    quotas = {}
    for code, name in enumerate(OUTPUT_FOLDERS):
        if name == "suspects" and not select.suspects:
            continue
        slots = counted[f"slots_{name}"]
        total = sum(slots.tolist())
        quota = allocate(slots, select.max_triplets, seed_sequence(select.seed, code))
        kept = int(quota.sum())
        quotas[name] = Quota(quota, total / kept if kept else 1.0)
    return quotas


@dataclass(frozen=True, slots=True)
class Passes:
    """The count pass and the write pass of a staged run.

    `name` is the prefix of the names of the count pass's records.
    """

    staging: Staging
    engine: Engine
    spec: UnitSpec
    units: list[tuple[int, int]]
    progress: Progress
    name: str = "count"

    def counted(
        self, store: Store, mining: MiningJob, *, fresh: bool
    ) -> tuple[NDArray[np.void], Arrays, bool]:
        """Return the records of all anchors, the statistics, and whether they were cached.

        Parameters
        ----------
        store : Store
            The embedding store of the spec; it contains the cache of finished counts.
        mining : MiningJob
        fresh : bool
            Drop the cached counts and count again.
        """
        spec, statistics = self.spec, open_unit_miner(self.spec).statistics
        kept = KeptCounts.from_store(store, spec.metric, spec.margin, normalized=spec.normalized)
        named = parts(spec.select, mining, labelled=statistics.labels is not None)
        exact = spec.approximate is None  # the counts of an approximate run are never cached
        if fresh:
            kept.drop()
        found = kept.find(named) if exact else None
        if found is not None:
            self.progress("counting: kept from an earlier run", 0, 0)
            return join(found, named, open_unit_miner(spec)), found, True
        records = self.count()
        open_unit_miner(self.spec).counted()
        merger = UnitMerger(self.staging.work, records, statistics)
        counted = merger.counted(store.facts["rows"][0])
        arrays = split(counted, named) | merger.arrays(store.facts["rows"][-1], mining)
        if exact:
            kept.keep({name: arrays[name] for name in named})
        return counted, arrays, False

    def draw(
        self, counted: NDArray[np.void]
    ) -> tuple[dict[OutputFolder, list[UnitFile]], NDArray[np.void]]:
        """Write the triplets that the job selects; return unit files, and the records they follow.

        The records are `counted`, or those of another count if these passes exclude rows or draw
        among candidates.
        """
        chosen = self._recounted() if self.name == _RECOUNT else counted
        return self.write(allocate_quotas(chosen, self.spec.select), chosen), chosen

    def without(self, rows: Rows) -> Passes:
        """Return passes that exclude the given rows, which are ascending."""
        path = self.staging.work.resolve() / "left-out.npy"
        save_array(path, rows)
        return self._changed(replace(self.spec, left_out=str(path)))

    def among(self, listed: str) -> Passes:
        """Return passes whose negatives are the candidates in a folder; see `UnitSpec.listed`."""
        return self._changed(replace(self.spec, listed=listed))

    def _changed(self, spec: UnitSpec) -> Passes:
        spec = replace(spec, wanted=StatisticsRequest(), loss=False)
        return replace(self, spec=spec, name=_RECOUNT)

    def _recounted(self) -> NDArray[np.void]:
        """Return the records of all anchors of changed passes."""
        records, statistics = self.count(), open_unit_miner(self.spec).statistics
        return UnitMerger(self.staging.work, records, statistics).counted(self.anchors)

    def count(self) -> list[str]:
        """Count all units; return the names of their records, which are also their file names."""
        names = self._names()
        pending = [n for n, name in enumerate(names) if self.staging.recorded(name) is None]
        total = self.anchors
        done = total - sum(_anchors(self.units[n]) for n in pending)
        self.progress("counting", done, total)
        call = functools.partial(_count, self.spec, self._work, self.name)
        for unit in self.engine.each(call, [(n, self.units[n]) for n in pending]):
            number, files = unit.result
            facts = {f"work/{file}": checksum for file, checksum in files.items()}
            self.staging.record(names[number], {"files": facts})
            self._log_unit("counting", number, unit.seconds)
            done += _anchors(self.units[number])
            self.progress("counting", done, total)
        return names

    def write(
        self, quotas: Mapping[OutputFolder, Quota], counted: NDArray[np.void]
    ) -> dict[OutputFolder, list[UnitFile]]:
        """Write the triplets of all units; return the unit files of each folder, in order."""
        busy = [
            n
            for n, unit in enumerate(self.units)
            if any(quota.part(slice(*unit)).total for quota in quotas.values())
        ]
        facts = {n: self.staging.recorded(f"write-{n:05d}") for n in busy}
        pending = [(n, self.units[n]) for n in busy if facts[n] is None]
        total = sum(_anchors(self.units[n]) for n in busy)
        done = total - sum(_anchors(unit) for _, unit in pending)
        self.progress("writing", done, total)
        for unit in self.engine.each(self._writer(quotas, counted, pending), pending):
            number, rows, files = unit.result
            record = {"rows": rows, "files": files}
            self.staging.record(f"write-{number:05d}", record)
            self._log_unit("writing", number, unit.seconds, rows=sum(rows.values()))
            facts[number] = record
            done += _anchors(self.units[number])
            self.progress("writing", done, total)
        return {
            name: [_unit_file(self.staging, n, name, facts[n]) for n in busy] for name in quotas
        }

    def _writer(
        self,
        quotas: Mapping[OutputFolder, Quota],
        counted: NDArray[np.void],
        pending: list[Numbered],
    ) -> Callable[[Numbered], tuple[int, dict[str, int], dict[str, str]]]:
        """Save the records and quotas for the workers; return the function that writes a unit."""
        arrays: dict[str, NDArray[Any]] = {"counted": counted}
        arrays |= {f"share-{name}": quota.counts for name, quota in quotas.items()}
        for name, array in arrays.items() if pending else ():
            save_array(self.staging.work / f"{name}.npy", array)
        factors = {name: quota.factor for name, quota in quotas.items()}
        names = self._names() if pending else []
        # No unit has a record if the counts came from the cache.
        whole = all(self.staging.recorded(name) is not None for name in names)
        listed = (self.name, len(names) * whole)
        return functools.partial(_write, self.spec, self._work, listed, factors)

    def _log_unit(self, stage: str, number: int, seconds: float, **more: int) -> None:
        start, stop = self.units[number]
        facts = {"stage": stage, "unit": number, "anchors": stop - start, **more}
        _log.info("unit_done", extra={"facts": {**facts, "seconds": round(seconds, 3)}})

    def _names(self) -> list[str]:
        return [_name(self.name, number) for number in range(len(self.units))]

    @property
    def anchors(self) -> int:
        """The number of anchors of all units."""
        return sum(map(_anchors, self.units))

    @property
    def _work(self) -> str:
        """The absolute path of the units' files: workers may have another current folder."""
        return str(self.staging.work.resolve())


def _anchors(unit: tuple[int, int]) -> int:
    return unit[1] - unit[0]


def _name(name: str, number: int) -> str:
    return f"{name}-{number:05d}"


def _unit_file(staging: Staging, number: int, name: OutputFolder, facts: Any) -> UnitFile:
    return UnitFile(
        str(staging.work.resolve() / f"write-{number:05d}-{name}.bin"), facts["rows"][name]
    )


def _count(spec: UnitSpec, work: str, name: str, numbered: Numbered) -> tuple[int, dict[str, str]]:
    """Count one unit, in a worker."""
    number, unit = numbered
    return number, count_unit(spec, Path(work) / f"{_name(name, number)}.npy", unit)


def _write(
    spec: UnitSpec,
    work: str,
    listed: tuple[str, int],
    factors: Mapping[OutputFolder, float],
    numbered: Numbered,
) -> tuple[int, dict[str, int], dict[str, str]]:
    """Write one unit, in a worker.

    `listed` is the prefix of the names, and the number, of units that have candidate lists; the
    number is 0 if no unit has any.
    """
    number, unit = numbered
    quotas = {
        name: Quota(_part(work, f"share-{name}", unit), factor) for name, factor in factors.items()
    }
    names = {name: f"write-{number:05d}-{name}.bin" for name in quotas}
    paths = {name: Path(work) / names[name] for name in quotas}
    counted = tuple(_name(listed[0], other) for other in range(listed[1]))
    files = open_lists(spec, Path(work), counted)
    facts = write_unit(spec, unit, quotas, paths, _part(work, "counted", unit), files)
    rows = {str(name): int(facts[name]["rows"]) for name in quotas}
    return number, rows, {f"work/{names[name]}": facts[name]["sha256"] for name in quotas}


def _part(work: str, name: str, unit: tuple[int, int]) -> NDArray[Any]:
    """Return a unit's part of a saved array of all anchors."""
    path = Path(work) / f"{name}.npy"
    with storage_errors(path):
        whole = load_array(path)
    return np.array(whole[slice(*unit)])
