"""A comparison as one HTML page, in the dress of the report."""

from __future__ import annotations

from pathlib import Path

from miner.errors import StorageError
from miner.formatting import change_text
from miner.inspection.compare.facts import Comparison, run_seconds
from miner.inspection.report.page import data_name, render, run_time
from miner.storage.files import atomic_open

__all__ = ["write_comparison"]


def write_comparison(compared: Comparison, output: str | Path) -> Path:
    """Write a comparison as a page; return where.

    Parameters
    ----------
    compared : Comparison
        As `compare_runs` gives it.
    output : str or Path
        The HTML file to write.

    Returns
    -------
    Path

    Raises
    ------
    StorageError
        When it cannot be written there.
    """
    path = Path(output)
    if path.is_dir():
        raise StorageError(f"{path} is a folder; name a file with --output")
    text = render(
        "compare.html.j2",
        compared=compared,
        runs=[("A", compared.a), ("B", compared.b)],
        names=[data_name(run.manifest) for run in (compared.a, compared.b)],
        times=[run_time(run.run_id) for run in (compared.a, compared.b)],
        seconds=[run_seconds(run) for run in (compared.a, compared.b)],
        points=change_text,
    )
    with atomic_open(path) as file:
        file.write(text.encode("utf-8", "replace"))
    return path
