"""Making a report: of a run that is about to be published, or anew of one that is finished."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miner.datasets.source import Source, open_source
from miner.embedding import Store
from miner.errors import MineError, StorageError
from miner.fields import built
from miner.finished import REPORT, Run
from miner.job import DatasetJob
from miner.report.facts import Facts, gather, run_store
from miner.report.page import report_page
from miner.shards import file_facts
from miner.storage import atomic_open
from miner.urls import is_url

__all__ = ["Made", "add_report", "make_report"]


@dataclass(frozen=True, slots=True)
class Made:
    """A page that was written, and what it says."""

    path: Path
    bytes: int
    facts: Facts


def add_report(run: Run, store: Store, source: Source | None) -> tuple[list[dict[str, Any]], str]:
    """Write the report of a run that is about to be published; never lose the run for it.

    Returns
    -------
    tuple of list and str
        The facts of the file; or none, and why it could not be written.
    """
    path = run.path / REPORT
    try:
        _make_page(run, store, source, path)
    except Exception as error:  # whatever it is, the triplets are worth more than a page on them
        path.unlink(missing_ok=True)
        return [], (
            f"{REPORT} was not written: {type(error).__name__}: {error}; the run is whole without "
            "it, mine report makes it"
        )
    return [file_facts(path, run.path, 0)], ""


def _make_page(run: Run, store: Store | None, source: Source | None, path: Path) -> Made:
    """Write the report of a run.

    Parameters
    ----------
    run : Run
        Published, or staged with all its files but this one.
    store : Store or None
    source : Source or None
        See `miner.report.facts.gather`.
    path : Path
    """
    facts = gather(run, store, source)
    content = report_page(facts).encode("utf-8", "replace")
    with atomic_open(path) as file:
        file.write(content)
    return Made(path, len(content), facts)


def make_report(run: Run, output: str | Path | None = None) -> Made:
    """Write the report of a finished run anew, whatever made the run.

    Parameters
    ----------
    run : Run
    output : str or Path, optional
        The file; default: ``reports/RUN_ID.html`` beside ``runs``. A run's own folder is as it was
        published, and takes no further file.

    Returns
    -------
    Made
        The `path` of the page, its `bytes`, and the `facts` in it.

    Raises
    ------
    StorageError
        When the run cannot be read or the page cannot be written.
    """
    path = Path(output) if output is not None else run.root / "reports" / f"{run.run_id}.html"
    if path.is_dir():
        raise StorageError(f"{path} is a folder; name a file with --output")
    if run.remote is None and run.path in path.resolve().parents:
        raise StorageError(f"{path} lies in the run, which is sealed; name a file elsewhere")
    try:
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
