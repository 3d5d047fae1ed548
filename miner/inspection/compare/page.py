"""Write a comparison as one HTML page with the style of the report."""

from __future__ import annotations

from pathlib import Path

from miner.formatting import change_text
from miner.inspection.compare.facts import Comparison, run_seconds
from miner.inspection.report.page import data_name, render, run_time
from miner.storage.os_errors import NOT_WRITTEN, publication_state
from miner.storage.outputs import check_output, is_page, write_output

__all__ = ["write_comparison"]


def write_comparison(compared: Comparison, output: str | Path, *, force: bool = False) -> Path:
    """Write a comparison as an HTML page, and return its path.

    Parameters
    ----------
    compared : Comparison
        The result of `compare_runs`.
    output : str or Path
        The HTML file to write.
    force : bool
        Whether to replace a file that is not a page of `mine`.

    Returns
    -------
    Path

    Raises
    ------
    UsageError
        If the path is a folder or lies in a run, or if it is a file that is not a page of `mine`
        and `force` is False.
    StorageError
        If the file cannot be written.
    """
    path = check_output(output, "--output", is_page, force=force)
    text = render(
        "compare.html.j2",
        compared=compared,
        runs=[("A", compared.a), ("B", compared.b)],
        names=[data_name(run.manifest) for run in (compared.a, compared.b)],
        times=[run_time(run.run_id) for run in (compared.a, compared.b)],
        seconds=[run_seconds(run) for run in (compared.a, compared.b)],
        points=change_text,
        relative=_relative,
    )
    with publication_state(NOT_WRITTEN):
        write_output(path, text.encode("utf-8", "replace"))
    return path


def _relative(before: int, after: int) -> str:
    """Return the relative change of a count in percent, with its sign."""
    return f"{100 * (after - before) / before:+,.0f}\u00a0%" if before else "new"
