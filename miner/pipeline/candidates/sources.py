"""The sources of candidates that a job names, opened before any work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from miner.datasets.fetch import fetch
from miner.datasets.formats.files import TextFormat
from miner.datasets.retrieval.run_files import RunFile, open_run_file
from miner.errors import UsageError
from miner.job import Job
from miner.pipeline.candidates.bm25 import BM25, bm25_version
from miner.progress import Progress
from miner.storage.files import sha256_file
from miner.storage.urls import expanded, url_name

__all__ = ["OWN", "Sources", "open_sources"]

OWN = "mine"
"""The name of the job's own model among the sources."""
_MOST = 63
"""Sources that fit in a bit mask with the job's own model."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources of a job, in its order.

    Attributes
    ----------
    runs : tuple of RunFile or None
        The run files; None is the built-in BM25.
    bm25 : str or None
        The version of the library of BM25, if it is a source.
    own : bool
        Whether the job's own nearest negatives are candidates.
    """

    runs: tuple[RunFile | None, ...]
    bm25: str | None
    own: bool

    @property
    def names(self) -> tuple[str, ...]:
        """What the column ``source`` calls them; the own model is the last."""
        named = tuple(BM25 if run is None else run.name for run in self.runs)
        return (*named, OWN) if self.own else named

    def facts(self) -> list[dict[str, Any]]:
        """Return what identifies each run: its name, and its files or the version of BM25."""
        return [
            {"name": BM25, "bm25s": self.bm25}
            if run is None
            else {"name": run.name, "files": _files(run)}
            for run in self.runs
        ]

    def identity(self) -> list[Any]:
        """Return what affects the bytes of the run."""
        return [
            [one["name"], one.get("bm25s") or [file["sha256"] for file in one["files"]]]
            for one in self.facts()
        ]


def open_sources(job: Job, text: TextFormat, progress: Progress, *, texts: bool) -> Sources | None:
    """Open the runs of a job and find their columns; None if it names none.

    Parameters
    ----------
    job : Job
    text : TextFormat
        How files of text are written.
    progress : callable
        Receives the progress of copies from object storage.
    texts : bool
        Whether the texts are in the embedding store.

    Raises
    ------
    DataError, UsageError
        If a run cannot be read, two have one name, or BM25 cannot be used.
    """
    named = job.candidates.runs
    if not named:
        return None
    if BM25 in named and not texts:
        raise UsageError(
            f"candidates.runs = [{BM25!r}] reads texts; it needs text and output.content = true"
        )
    near = next((path for path in named if path != path.lower() == BM25), None)
    if near is not None and not expanded(near).exists():
        raise UsageError(f"candidates.runs: no such file: {near}; did you mean {BM25!r}?")
    version = bm25_version() if BM25 in named else None
    runs = tuple(
        None
        if path == BM25
        else open_run_file(fetch(path, f"candidates.runs[{n}]", progress), text, path)
        for n, path in enumerate(named)
    )
    sources = Sources(runs, version, job.candidates.own > 0)
    _check_names(sources.names, named)
    return sources


def _check_names(names: Sequence[str], paths: Sequence[str]) -> None:
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        where = " and ".join(path for one, path in zip(names, paths, strict=False) if one == name)
        raise UsageError(
            f"candidates.runs: {count} sources have the name {name!r} ({where}"
            f"{' and the own model' if name == names[-1] == OWN else ''}), by which the column "
            "source names who proposed a negative; rename a file"
        )
    if len(names) > _MOST:
        raise UsageError(f"candidates.runs names more than {_MOST - 1} runs; join some files")


def _files(run: RunFile) -> list[dict[str, Any]]:
    return [
        {"path": url_name(str(file)), "bytes": file.stat().st_size, "sha256": sha256_file(file)}
        for file in run.table.files
    ]
