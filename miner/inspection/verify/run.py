"""`mine verify`: whether a run is whole, and its classes true.

Checked are the manifest's own checksum and form, every file's presence, size, SHA-256, schema and
rows, the census against the manifest, and, where the embedding store is still there, a sample of
triplets and of anchors (or all), classified again from the stored vectors by the float64
definition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
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
        Look at every triplet, anchor, hub and suspect of label noise, not at a sample.
    seed : int
        Of the sample.

    Returns
    -------
    Verification
        Its `checks`, each with its state, and all `problems`: none where the run is whole.
    """
    with run.held(), run.afresh() as fresh:
        result = Verification(fresh)
        for name, check in _CHECKS.items():
            if not result.problems:  # what a damaged manifest says is no guide
                result.checks.append(_guarded(name, check, fresh))
        if not result.problems:
            result.checks += _from_vectors(fresh, full, np.random.default_rng(seed))
    return result


def _store_problems(run: Run, store: Store) -> list[str]:
    """Hold a store against its checksums, and against what the run says it was mined from."""
    check_store(store)
    stated = run.manifest.get("store_checksum", store.checksum)  # a run of before knows none
    if stated == store.checksum:
        return []
    why = "is not what the run was mined from: it was made again, with other vectors or texts"
    return [f"the embedding store {store.folder} {why}; {_AGAIN}"]


def _guarded(name: str, check: Callable[..., Check], *arguments: Any) -> Check:
    """Make a check, or a problem of the error that stops it."""
    try:
        return check(*arguments)
    except MineError as error:
        return Check(name, [str(error)])


def _from_vectors(run: Run, full: bool, rng: np.random.Generator) -> Iterator[Check]:
    """Recompute classes and counts from the stored vectors, where they are still there."""
    folder = run.root / ".store" / str(run.manifest["store"])
    try:
        store = open_store(folder)
        if store is None:
            detail = f"the embedding store {folder} is gone; {_AGAIN}"
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
