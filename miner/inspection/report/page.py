"""From facts to one HTML page: no script, no request, every value escaped."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path, PurePath
from typing import Any

from miner.formatting import (
    bytes_text,
    count_text,
    distance_text,
    printable,
    seconds_text,
    share_text,
    without_secrets,
)
from miner.inspection.report.captions import figures_of
from miner.inspection.report.facts import Facts
from miner.inspection.report.rerun_command import reproducing_command, shell_line
from miner.triplets.hardness import CLASSES, MINED

__all__ = ["render", "report_page"]

_MOST = 8000
"""Characters of a command or a job that are shown."""


def report_page(facts: Facts) -> str:
    """Return the report as one HTML document."""
    manifest = facts.manifest
    words = reproducing_command(manifest["job"])
    return render(
        "report.html.j2",
        facts=facts,
        manifest=manifest,
        mining=manifest["job"]["mining"],
        census=manifest["census"],
        written=manifest["written"],
        dataset=manifest["dataset"],
        classes=_classes(manifest),
        figures=figures_of(facts),
        name=data_name(manifest),
        when=run_time(manifest["run_id"]),
        command=_cut(without_secrets(shell_line(words))),
        job=_cut(json.dumps(manifest["job"], indent=2, ensure_ascii=False)),
        scaled=_scaled(manifest),
    )


def render(template: str, **values: Any) -> str:
    """Fill a template; everything that is not marked as safe is escaped.

    Raises
    ------
    LookupError
        When a manifest lacks what the template shows.
    """
    import jinja2  # only who draws a page pays for it

    try:
        return str(_environment().get_template(template).render(**values))
    except jinja2.UndefinedError as error:
        raise LookupError(str(error)) from error


@cache
def _environment() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "n": count_text,
        "pct": share_text,
        "size": bytes_text,
        "d": distance_text,
        "seconds": seconds_text,
        "spaced": lambda text: re.sub(r"(?<=\d)%", "\u00a0%", text),
        "label": lambda name: str(name).replace("_", "-"),
        "width": lambda share: f"{100 * share:.4f}%",
    }
    return environment


def _shown(value: Any) -> Any:
    """Make a text fit to show; what is markup already was made of such."""
    return printable(value) if type(value) is str else value


def run_time(run_id: str) -> str:
    """Return when a run began, by its name; empty when that does not tell."""
    try:
        when = datetime.strptime(run_id.split("-")[0], "%Y%m%dT%H%M%SZ")
    except ValueError:
        return ""
    return when.strftime("%d %B %Y, %H:%M UTC").lstrip("0")


def data_name(manifest: Mapping[str, Any]) -> str:
    """Return what a run's data are called: the last part of the path."""
    job = manifest["job"]["dataset"]
    named = str(job.get("path") or job.get("queries") or "data")
    return printable(without_secrets(PurePath(named).name or named))[:80]


def _cut(text: str) -> str:
    """Bound a text that comes from the job file, where it may be of any length."""
    return text if len(text) <= _MOST else f"{text[:_MOST]} [...]"


def _scaled(manifest: Mapping[str, Any]) -> str:
    mining = manifest["job"]["mining"]
    unit = mining["normalize"] is not False and mining["metric"] != "dot"
    return "unit vectors" if unit else "vectors as they are"


def _classes(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the first screen says of each class."""
    census, written = manifest["census"], manifest["written"]
    recall = manifest["index"].get("recall", {})
    words = {
        "hard": "the negative is nearer than the positive",
        "semi_hard": "the negative is farther, by less than the margin",
        "easy": "the negative is farther by the margin or more",
    }
    return [
        {
            "name": name,
            "count": census[name],
            "share": census[name] / census["valid"] if census["valid"] else None,
            "words": words[name],
            "written": written.get(name) if name in MINED else None,
            "recall": recall.get(name),
        }
        for name in reversed(CLASSES)
    ]
