"""Write the report of a run, before it is published or again later.

Also makes the output of `mine report`.
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
from miner.job_sections import DatasetJob
from miner.registry import built
from miner.runs.opening import as_run
from miner.runs.run import REPORT, Run
from miner.runs.shards import file_facts
from miner.storage.files import storage_errors
from miner.storage.os_errors import NOT_WRITTEN, publication_state
from miner.storage.outputs import check_output, is_page, write_output
from miner.storage.urls import is_url

__all__ = ["Made", "add_report", "describe_report", "drop_report", "make_report", "report_facts"]

_RESERVE = 1 << 20
"""Bytes that a report leaves free on the disk; manifest, metrics and pointers need a tenth."""

_WITHOUT = "the run is complete without it, mine report writes it"


@dataclass(frozen=True, slots=True)
class Made:
    """A report that was written: its path, size and contents."""

    path: Path
    bytes: int
    facts: Facts


def add_report(
    run: Run, work: Path, store: Store, source: Source | None, advice: list[Advice]
) -> tuple[list[dict[str, Any]], str]:
    """Write the report of a run that is about to be published; an error does not fail the run.

    The page is written to `work`, which is never published, and then moved into the run by one
    rename. So the run never contains a partial page, and the page of an interrupted start is
    replaced.

    Parameters
    ----------
    run : Run
        The staged run with all its other files.
    work : Path
        A folder on the same disk as the run.
    store : Store
    source : Source or None
    advice : list of Advice
        See `miner.inspection.report.facts.gather`.

    Returns
    -------
    tuple of list and str
        The facts of the file and '', or the result of `drop_report` and why the page could not be
        written.
    """
    draft = work / REPORT
    try:
        with publication_state(_WITHOUT):
            _make_page(run, store, source, draft, advice)
            facts = file_facts(draft, work, 0)
            _leave_room(work)
            draft.replace(run.path / REPORT)
    except Exception as error:  # no error of the page may lose the triplets
        why = short_message(f"{REPORT} was not written: {_words(error)}")
        with suppress(OSError):
            draft.unlink(missing_ok=True)  # the manifest may need the space
        files, stays = drop_report(run.path, work)
        return files, f"{why}; {stays}" if stays else why
    return [facts], ""


def drop_report(run: Path, work: Path) -> tuple[list[dict[str, Any]], str]:
    """Remove the report of an earlier start from a staged run.

    A report that can be neither moved nor removed is kept and listed in the manifest. It is
    complete and describes this run, except for the times. A file that is not in the manifest would
    make the run invalid.

    Parameters
    ----------
    run : Path
        The folder of the staged run.
    work : Path
        A folder on the same disk.

    Returns
    -------
    tuple of list and str
        The facts of a report that is kept, and a message about it; otherwise both are empty.

    Raises
    ------
    StorageError
        If the report is kept and cannot be read.
    """
    path = run / REPORT
    for take in (path.unlink, partial(path.replace, work / f"old-{REPORT}")):
        with suppress(OSError):  # if both fail, the file is kept
            if path.exists():
                take()
    with storage_errors(path):
        if not path.exists():
            return [], ""
        return [file_facts(path, run, 0)], f"the {REPORT} of an earlier start could not be removed"


def _words(error: Exception) -> str:
    """Return the message of an error, with its type unless it is a `MineError`."""
    text = str(error)
    if not isinstance(error, MineError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if _WITHOUT in text else f"{text}; {_WITHOUT}"


def _leave_room(folder: Path) -> None:
    """Raise `StorageError` if the disk is nearly full: the manifest must still be written."""
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
    """Write the report of a run, published or staged, to `path`."""
    facts = gather(run, store, source, advice)
    content = report_page(facts).encode("utf-8", "replace")
    write_output(path, content)
    return Made(path, len(content), facts)


def make_report(
    run: Run | str | Path, output: str | Path | None = None, *, force: bool = False
) -> Made:
    """Write the report of a finished run.

    Parameters
    ----------
    run : Run, or path of a run
    output : str or Path, optional
        The HTML file. Default: ``reports/RUN_ID.html`` next to ``runs``; the folder of a finished
        run must not change.
    force : bool
        Whether to replace a file that is not a page of `mine`.

    Returns
    -------
    Made
        The `path` of the page, its size in `bytes`, and its `facts`.

    Raises
    ------
    UsageError
        If the path is a folder or lies in a run, or if it is a file that is not a page of `mine`
        and `force` is False.
    StorageError
        If the run cannot be read or the page cannot be written.
    """
    run = as_run(run)
    default = run.root / "reports" / f"{run.run_id}.html"
    path = check_output(output or default, "--output", is_page, force=force)
    try:
        with publication_state(NOT_WRITTEN):
            return _make_page(run, run_store(run), _source(run), path)
    except (LookupError, TypeError, ValueError, AttributeError) as error:  # the run is damaged
        raise StorageError(
            f"{run.where} cannot be described ({type(error).__name__}: {error}); see mine verify"
        ) from error


def _source(run: Run) -> Source | None:
    """Open the data of a run for its pictures; None if there are none or the data changed."""
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
    """Return the facts that `mine report --json` prints.

    Parameters
    ----------
    made : Made
        The result of `make_report`.
    run : Run
        The finished run.
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
    """Return the text that `mine report` prints: the path of the page, and the advice."""
    lines = [f"wrote {facts['path']}, {bytes_text(facts['bytes'])}"]
    for one in facts["advice"]:
        lines.append(f"  {one['level']}: {one['title']}")
        lines += textwrap.wrap(one["remedy"], 74, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)
