"""Closes a start of a job: writes its metrics, and finds out which run ``latest`` names."""

from __future__ import annotations

import time

from miner.errors import MineError, StorageError, UsageError
from miner.pipeline.attempt import Attempt, Ending, RunClosure, peak_rss
from miner.runs.metrics import METRICS, RunMetrics, write_metrics
from miner.runs.opening import latest_id, open_run
from miner.storage.urls import is_url, local_root

__all__ = ["settle"]


def settle(attempt: Attempt, ending: Ending) -> RunClosure:
    """Find out which run ``latest`` names after a start of a job, and write its metrics.

    Unless the start names another path, the metrics are written to ``metrics.prom`` in the output
    root; for an output root in object storage, in its local work folder. A missing output root is
    created, except after a usage error, or after a storage error of a local output root: that error
    has already been reported.

    Parameters
    ----------
    attempt : Attempt
        The facts of the start.
    ending : Ending
        How it ended: event, exit code, message.

    Returns
    -------
    RunClosure
        The run that ``latest`` names now, and why the metrics were not written, if they were not.
    """
    latest, words = _latest(attempt)
    metrics = RunMetrics(
        out=attempt.out,
        ended=time.time(),
        code=ending.code,
        seconds=attempt.seconds,
        stages=attempt.clock.seconds,
        peak=peak_rss(),
        gates=attempt.gates,
        latest=_manifest(attempt.out, latest),
    )
    return RunClosure(latest, words, _written(attempt, ending, metrics))


def _latest(attempt: Attempt) -> tuple[str | None, str]:
    """Return the run that ``latest`` names, and a sentence that says so."""
    if attempt.out is None:
        return None, ""
    pointer = f"{attempt.out}/latest"
    try:
        latest = latest_id(attempt.out)
    except MineError:
        return None, f"Which run {pointer} names cannot be read."
    if latest is None:
        return None, f"There is no run in {attempt.out} yet."
    new = attempt.mined and latest == attempt.run_id
    return latest, f"{pointer} is {'the new' if new else 'still'} run {latest}."


def _manifest(out: str | None, latest: str | None) -> dict[str, object] | None:
    if latest is None:
        return None
    try:
        return open_run(f"{out}/runs/{latest}").manifest
    except MineError:
        return None


def _no_folder(out: str) -> set[int]:
    """Return the exit codes after which a missing output root is not created."""
    codes = {UsageError.exit_code}
    return codes if is_url(out) else codes | {StorageError.exit_code}


def _written(attempt: Attempt, ending: Ending, metrics: RunMetrics) -> str:
    """Write the metrics; return why that failed, or ''."""
    path = attempt.metrics
    if path is None:
        if attempt.out is None:
            return ""
        path = local_root(attempt.out) / METRICS
        if ending.code in _no_folder(attempt.out) and not path.parent.is_dir():
            return ""
    try:
        write_metrics(path, metrics)
    except StorageError as error:
        why = error.__cause__
        reason = why.strerror if isinstance(why, OSError) else error
        return f"{path} cannot be written: {reason}; the run itself is not affected"
    return ""
