"""Making a report: of a run that is about to be published, or anew of one that is finished.

Includes what `mine report` says on the terminal.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from miner.datasets.source import Source, open_source
from miner.embedding.store import Store
from miner.errors import MineError, StorageError
from miner.formatting import bytes_text, short_message
from miner.inspection.advice import Advice
from miner.inspection.report.facts import Facts, gather, run_store
from miner.inspection.report.page import report_page
from miner.job_sections import DatasetJob, built
from miner.runs.run import REPORT, Run
from miner.runs.shards import file_facts
from miner.storage.files import storage_errors
from miner.storage.os_errors import UNWRITTEN, outcome
from miner.storage.outputs import check_output, is_page, write_output
from miner.storage.urls import is_url

__all__ = ["Made", "add_report", "describe_report", "drop_report", "make_report", "report_facts"]

_RESERVE = 1 << 20
"""Bytes of a disk that a report leaves free: manifest, metrics and pointers take a tenth of it."""

_WITHOUT = "the run is whole without it, mine report makes it"


@dataclass(frozen=True, slots=True)
class Made:
    """A page that was written, and what it says."""

    path: Path
    bytes: int
    facts: Facts


def add_report(
    run: Run, work: Path, store: Store, source: Source | None, advice: list[Advice]
) -> tuple[list[dict[str, Any]], str]:
    """Write the report of a run that is about to be published; never lose the run for it.

    It is drawn in `work`, which is never published, and takes its place in the run by one rename:
    nothing half-written can lie there, and the page of a start that died is replaced.

    Parameters
    ----------
    run : Run
        Staged with all its files but this one.
    work : Path
        A folder on the disk of the run.
    store : Store
    source : Source or None
    advice : list of Advice
        See `miner.inspection.report.facts.gather`.

    Returns
    -------
    tuple of list and str
        The facts of the file; or none, and why it could not be written.
    """
    draft = work / REPORT
    try:
        with outcome(_WITHOUT):
            _make_page(run, store, source, draft, advice)
            facts = file_facts(draft, work, 0)
            _leave_room(work)
            draft.replace(run.path / REPORT)
    except Exception as error:  # whatever it is, the triplets are worth more than a page on them
        why = short_message(f"{REPORT} was not written: {_words(error)}")
        with suppress(OSError):
            draft.unlink(missing_ok=True)  # the manifest may need the room
        files, stays = drop_report(run.path, work)
        return files, f"{why}; {stays}" if stays else why
    return [facts], ""


def drop_report(run: Path, work: Path) -> tuple[list[dict[str, Any]], str]:
    """Take the report that an earlier start has left out of a staged run.

    One that can be neither moved nor removed stays and is named by the manifest: it is whole, and
    of this run but for its times. A file that no manifest names would spoil the run.

    Parameters
    ----------
    run : Path
        The folder of the staged run.
    work : Path
        A folder on the same disk.

    Returns
    -------
    tuple of list and str
        The facts of a page that stays, and what is to be said of it; both are empty otherwise.

    Raises
    ------
    StorageError
        When the page stays and cannot even be read.
    """
    path = run / REPORT
    for take in (path.unlink, partial(path.replace, work / f"old-{REPORT}")):
        with suppress(OSError):  # of both at once: then it stays
            if path.exists():
                take()
    with storage_errors(path):
        if not path.exists():
            return [], ""
        return [file_facts(path, run, 0)], f"the {REPORT} of an earlier start could not be removed"


def _words(error: Exception) -> str:
    """Say what an error is; errors of ours say it themselves."""
    told = str(error)
    if not isinstance(error, MineError):
        told = f"{type(error).__name__}: {told}" if told else type(error).__name__
    return told if _WITHOUT in told else f"{told}; {_WITHOUT}"


def _leave_room(folder: Path) -> None:
    """Refuse to take what a disk has left: the manifest, which makes the run, is still to come."""
    free = shutil.disk_usage(folder).free
    if free < _RESERVE:
        raise StorageError(f"the disk has {bytes_text(free)} left, which the run needs")


def _make_page(
    run: Run,
    store: Store | None,
    source: Source | None,
    path: Path,
    advice: list[Advice] | None = None,
) -> Made:
    """Write the report of a run that is published, or staged with all its files but this one."""
    facts = gather(run, store, source, advice)
    content = report_page(facts).encode("utf-8", "replace")
    write_output(path, content)
    return Made(path, len(content), facts)


def make_report(run: Run, output: str | Path | None = None, *, force: bool = False) -> Made:
    """Write the report of a finished run anew, whatever made the run.

    Parameters
    ----------
    run : Run
    output : str or Path, optional
        The file; default: ``reports/RUN_ID.html`` beside ``runs``. A run's own folder is as it was
        published, and takes no further file.
    force : bool
        Replace a file that is not a page of `mine`.

    Returns
    -------
    Made
        The `path` of the page, its `bytes`, and the `facts` in it.

    Raises
    ------
    UsageError
        When the file is a folder, lies in a run, or is no page of `mine` and `force` is not set.
    StorageError
        When the run cannot be read or the page cannot be written.
    """
    default = run.root / "reports" / f"{run.run_id}.html"
    path = check_output(output or default, "--output", is_page, force=force)
    try:
        with outcome(UNWRITTEN):
            return _make_page(run, run_store(run), _source(run), path)
    except (LookupError, TypeError, ValueError, AttributeError) as error:  # of a damaged run
        raise StorageError(
            f"{run.where} cannot be described ({type(error).__name__}: {error}); see mine verify"
        ) from error


def _source(run: Run) -> Source | None:
    """Open the data of a run for their pictures, if these are there as they were."""
    columns = run.manifest["dataset"].get("columns") or [{}]
    if columns[0].get("kind") != "image":
        return None
    dataset: dict[str, Any] = run.manifest["job"]["dataset"]
    if any(is_url(dataset.get(key)) for key in ("path", "queries", "corpus", "links")):
        return None
    try:
        given = {key: value for key, value in dataset.items() if value is not None}
        job = built(DatasetJob, "dataset", given, "manifest.json")
        source = open_source(job, run.manifest["job"]["model"]["name"])
        sizes = sorted(file.stat().st_size for file in source.files)
    except (MineError, OSError, ValueError):
        return None
    recorded = sorted(file["bytes"] for file in run.manifest["dataset"]["files"])
    return source if sizes == recorded else None


def report_facts(made: Made, run: Run) -> dict[str, Any]:
    """Return what `mine report` says as JSON.

    Parameters
    ----------
    made : Made
        As `make_report` gives it.
    run : Run
        A finished run, as `open_run` gives it.
    """
    facts = made.facts
    return {
        "run_id": run.run_id,
        "path": str(made.path),
        "bytes": made.bytes,
        "sample": len(facts.sample) if facts.sample is not None else 0,
        "advice": [asdict(one) for one in facts.advice],
    }


def describe_report(facts: Mapping[str, Any]) -> str:
    """Say where the page is, and what in it deserves a look."""
    lines = [f"wrote {facts['path']}, {bytes_text(facts['bytes'])}"]
    for one in facts["advice"]:
        lines.append(f"  {one['level']}: {one['title']}")
        lines += textwrap.wrap(one["remedy"], 74, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)
