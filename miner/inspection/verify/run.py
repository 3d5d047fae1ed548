"""`mine verify`: check that a run is complete and its classes are right.

The checks cover the manifest's checksum and format; the presence, size, SHA-256, schema and rows of
every file; and the consistency of census and manifest. If the embedding store still exists, a
sample of triplets and of anchors (or all) is classified again from the stored vectors by the
float64 definition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from miner.embedding.store import Store, check_store, open_store
from miner.errors import MineError
from miner.inspection.verify.checks import (
    Check,
    check_census,
    check_files,
    check_manifest,
    check_shards,
    check_tables,
)
from miner.inspection.verify.vectors import Truth
from miner.runs.opening import as_run
from miner.runs.run import Run

__all__ = ["Check", "Verification", "verify_run"]

_CHECKS: dict[str, Callable[[Run], Check]] = {
    "manifest": check_manifest,
    "files": check_files,
    "shards": check_shards,
    "census": check_census,
    "tables": check_tables,
}


_AGAIN = "mine run --force makes it again"


@dataclass(slots=True)
class Verification:
    """The results of all checks of a run."""

    run: Run
    checks: list[Check] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """The problems of all checks."""
        return [problem for check in self.checks for problem in check.problems]


def verify_run(run: Run | str | Path, *, full: bool = False, seed: int = 0) -> Verification:
    """Verify a finished run.

    Parameters
    ----------
    run : Run, or path of a run
    full : bool
        Whether to check all triplets, anchors, hubs and suspects of label noise instead of samples.
    seed : int
        The seed of the samples.

    Returns
    -------
    Verification
        `checks`, the result of each check, and `problems`, which is empty if all checks passed.
    """
    run = as_run(run)
    with run.held(), run.afresh() as fresh:
        result = Verification(fresh)
        for name, check in _CHECKS.items():
            if not result.problems:  # other checks rely on the manifest
                result.checks.append(_guarded(name, check, fresh))
        if not result.problems:
            result.checks += _from_vectors(fresh, full, np.random.default_rng(seed))
    return result


def _store_problems(run: Run, store: Store) -> list[str]:
    """Check a store's checksums, and that it is the store from which the run was mined."""
    check_store(store)
    stated = run.manifest.get("store_checksum", store.checksum)  # older runs have none
    if stated == store.checksum:
        return []
    why = "was made again with other vectors or texts after the run was mined"
    return [f"the embedding store {store.folder} {why}; {_AGAIN}"]


def _guarded(name: str, check: Callable[..., Check], *arguments: Any) -> Check:
    """Run a check; an error that stops it becomes its problem."""
    try:
        return check(*arguments)
    except MineError as error:
        return Check(name, [str(error)])


def _from_vectors(run: Run, full: bool, rng: np.random.Generator) -> Iterator[Check]:
    """Classify and count again from the stored vectors, if they still exist."""
    folder = run.root / ".store" / str(run.manifest["store"])
    try:
        store = open_store(folder)
        if store is None:
            detail = f"the embedding store {folder} no longer exists; {_AGAIN}"
            yield Check("vectors", [], detail, skipped=True)
            return
        problems = _store_problems(run, store)
        truth = Truth(run, store)
    except MineError as error:
        yield Check("vectors", [f"{error}; {_AGAIN}"])
        return
    yield Check("vectors", problems, f"{len(store.facts.get('files', ()))} files, SHA-256")
    if problems:
        return
    yield _guarded("triplets", truth.triplets, full, rng)
    yield _guarded("anchors", truth.anchors, full, rng)
    yield _guarded("hubs", truth.tables, full, rng)
