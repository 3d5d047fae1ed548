"""What `mine report` says on the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from miner.formatting import bytes_text
from miner.inspection.report.build import Made
from miner.runs.run import Run

__all__ = ["describe_report", "report_facts"]


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
        "advice": [
            {key: getattr(one, key) for key in ("key", "level", "title", "text", "remedy")}
            for one in facts.advice
        ],
    }


def describe_report(facts: Mapping[str, Any]) -> str:
    """Say where the page is, and what in it deserves a look.

    Parameters
    ----------
    facts : mapping
        As `report_facts` gives them.

    Returns
    -------
    str
        Lines of text for a terminal, without a newline at the end.
    """
    lines = [f"wrote {facts['path']}, {bytes_text(facts['bytes'])}"]
    for one in facts["advice"]:
        lines.append(f"  {one['level']}: {one['title']}")
        lines += textwrap.wrap(one["remedy"], 74, initial_indent="    ", subsequent_indent="    ")
    return "\n".join(lines)
