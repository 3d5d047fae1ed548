"""How a start of a job is closed: its metrics, and which run ``latest`` names now."""

from __future__ import annotations

import time

from miner.errors import MineError, StorageError, UsageError
from miner.pipeline.attempt import Attempt, Ending, Settled, peak_rss
from miner.runs.metrics import METRICS, Metered, write_metrics
from miner.runs.run import latest_id, open_run
from miner.storage.urls import is_url, local_root

__all__ = ["settle"]


def settle(attempt: Attempt, ending: Ending) -> Settled:
    """Find out which run ``latest`` names after a start of a job, and write its metrics.

    They go to ``metrics.prom`` in the output root, or in the folder of this machine where the work
    for a remote one lies, if the start does not say where. An output root that is not there is
    made for it, but not for wrong usage; where it cannot be made, the error has said so.

    Parameters
    ----------
    attempt : Attempt
        What became known of the start.
    ending : Ending
        How it ended: event, exit code, message.

    Returns
    -------
    Settled
        What ``latest`` names now, and why metrics were not written where they were not.
    """
    latest, words = _latest(attempt)
    metered = Metered(
        out=attempt.out,
        ended=time.time(),
        code=ending.code,
        seconds=attempt.seconds,
        stages=attempt.clock.seconds,
        peak=peak_rss(),
        gates=attempt.gates,
        latest=_manifest(attempt.out, latest),
    )
    return Settled(latest, words, _written(attempt, ending, metered))


def _latest(attempt: Attempt) -> tuple[str | None, str]:
    """Return the run that ``latest`` names, and the same in a sentence."""
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
    """Return the exit codes of starts that leave an output root unmade that is not there."""
    codes = {UsageError.exit_code}
    return codes if is_url(out) else codes | {StorageError.exit_code}


def _written(attempt: Attempt, ending: Ending, metered: Metered) -> str:
    """Write the metrics where they belong; say why that failed, if it did."""
    path = attempt.metrics
    if path is None:
        if attempt.out is None:
            return ""
        path = local_root(attempt.out) / METRICS
        if ending.code in _no_folder(attempt.out) and not path.parent.is_dir():
            return ""
    try:
        write_metrics(path, metered)
    except StorageError as error:
        why = error.__cause__
        reason = why.strerror if isinstance(why, OSError) else error
        return f"{path} cannot be written: {reason}; the run itself is not affected"
    return ""
