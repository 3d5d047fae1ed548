"""The quality gates of a job: conditions that a run must meet before it becomes the latest one.

The gates are checked after the count pass, before any triplet is written; ``gates.min_rows`` is
checked after the write pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from miner.errors import GateError
from miner.job import Job
from miner.runs.totals import found_counts, why_nothing

__all__ = ["check_finished", "check_gates", "check_rows"]

_KEPT = "; finished work is kept"


@dataclass(frozen=True, slots=True)
class _Gate:
    """A gate: the measured value, the job's bound, whether it holds, and the message if not."""

    name: str
    value: float
    bound: float
    holds: bool
    words: str


def check_gates(
    job: Job,
    census: Mapping[str, Any],
    index: Mapping[str, Any],
    seen: dict[str, tuple[float, float]] | None = None,
) -> None:
    """Check the counts of a run against the gates of a job.

    Parameters
    ----------
    job : Job
    census, index : mapping
        As in the manifest.
    seen : dict, optional
        Filled with the measured value and the bound of each gate.

    Raises
    ------
    GateError
        For the first gate that does not hold.
    """
    _hold(list(_gates(job, census, index)), seen)


def check_rows(
    job: Job,
    manifest: Mapping[str, Any],
    seen: dict[str, tuple[float, float]] | None = None,
) -> None:
    """Check the number of rows written against `gates.min_rows`, unless the job only counts.

    Parameters
    ----------
    job : Job
    manifest : mapping
        The manifest, or its `job`, `dataset`, `census` and `written`.
    seen : dict, optional
        As for `check_gates`.

    Raises
    ------
    GateError
        If fewer rows were written.
    """
    if job.gates.min_rows and job.select.max_triplets:
        _hold([_rows(job, manifest)], seen)


def check_finished(
    job: Job, manifest: Mapping[str, Any], seen: dict[str, tuple[float, float]] | None = None
) -> None:
    """Check a finished run, by its manifest, against all gates of the same job."""
    check_gates(job, manifest["census"], manifest["index"], seen)
    check_rows(job, manifest, seen)


def _hold(gates: list[_Gate], seen: dict[str, tuple[float, float]] | None) -> None:
    """Store the measured values in `seen`, and raise for the first gate that does not hold."""
    if seen is not None:
        seen.update({gate.name: (gate.value, gate.bound) for gate in gates})
    for gate in gates:
        if not gate.holds:
            raise GateError(gate.words + _KEPT)


def _gates(job: Job, census: Mapping[str, Any], index: Mapping[str, Any]) -> Iterator[_Gate]:
    """Yield the gates that the job sets, with their measured values."""
    if "recall" in index:
        yield _recall(job, index)
    if job.gates.min_triplets:
        yield _triplets(job, census)
    if job.gates.max_hard_share < 1:
        yield _hard_share(job, census)


def _recall(job: Job, index: Mapping[str, Any]) -> _Gate:
    """Return the gate on recall; it uses the written class with the lowest recall."""
    own = job.gates.min_recall is not None
    floor = job.gates.min_recall if job.gates.min_recall is not None else job.index.min_recall
    key = "gates.min_recall" if own else "index.min_recall"
    name = min(job.select.classes, key=lambda name: float(index["recall"][name]["recall"]))
    recall = index["recall"][name]
    low, high = recall["interval"]
    words = (
        f"index {index['factory']}: {recall['recall']:.1%} of the {name.replace('_', '-')} "
        f"triplets were found (95 % interval {low:.1%} to {high:.1%}, {recall['anchors']:,} "
        f"anchors audited), less than {key} = {floor}; raise index.candidates, name an index "
        f"that finds more, write one class (select.classes), or lower {key}"
    )
    return _Gate("min_recall", recall["recall"], floor, recall["recall"] >= floor, words)


def _triplets(job: Job, census: Mapping[str, Any]) -> _Gate:
    """Return the gate on the number of triplets found in the classes that the job writes."""
    bound, found = job.gates.min_triplets, found_counts(census)
    classes = sorted(set(job.select.classes))
    value = sum(found[name] for name in classes)
    words = (
        f"{value:,} {' and '.join(name.replace('_', '-') for name in classes)} triplets were "
        f"found, fewer than gates.min_triplets = {bound:,}; check the data and the model, or "
        "lower gates.min_triplets"
    )
    return _Gate("min_triplets", value, bound, value >= bound, words)


def _rows(job: Job, manifest: Mapping[str, Any]) -> _Gate:
    """Return the gate on the number of rows written."""
    bound = job.gates.min_rows
    value = sum(manifest["written"][name]["rows"] for name in set(job.select.classes))
    few = f"{value:,} rows were written, fewer than gates.min_rows = {bound:,}"
    words = (
        f"{few}; check the data, the model and [select], or lower gates.min_rows"
        if value
        else f"{few}: {why_nothing(manifest)}; change that, or set "
        "gates.min_rows = 0 to have an empty run"
    )
    return _Gate("min_rows", value, bound, value >= bound, words)


def _hard_share(job: Job, census: Mapping[str, Any]) -> _Gate:
    """Return the gate on the share of valid triplets that are hard."""
    bound = job.gates.max_hard_share
    value = census["hard"] / census["valid"] if census["valid"] else 0.0
    words = (
        f"{value:.2%} of the valid triplets are hard, more than gates.max_hard_share = {bound}; "
        "check the labels and the model (is it the right one, and trained?), or raise "
        "gates.max_hard_share"
    )
    return _Gate("max_hard_share", value, bound, value <= bound, words)
