"""From facts to one HTML page: no script, no request, every value escaped."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import PurePath
from typing import Any

from miner.formatting import printable
from miner.inspection.report.captions import figures_of
from miner.inspection.report.facts import Facts
from miner.inspection.report.rerun_command import reproducing_command, shell_line
from miner.storage.urls import without_secrets
from miner.triplets.hardness import CLASSES, MINED

__all__ = ["bytes_text", "render", "report_page"]

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
        loader=jinja2.PackageLoader("miner.inspection.report"),
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


def count_text(value: float) -> str:
    """Write a count with separators."""
    return f"{round(value):,}"


def share_text(value: float | None) -> str:
    """Write a share in percent, and never 0 or 100 for what is not; a dash for one of nothing."""
    if value is None:
        return "\N{EN DASH}"
    if value and value < 0.00005:
        return "< 0.01\u00a0%"
    if 0.99995 < value < 1:
        return "> 99.99\u00a0%"
    return f"{100 * value:.2f}\u00a0%"


def distance_text(value: float) -> str:
    """Write a distance, and never 0 for what is not."""
    if value and not 0.00005 <= abs(value) < 1000:
        return f"{value:.4g}"
    return f"{value + 0.0:.4f}"


def seconds_text(value: float) -> str:
    """Write a duration."""
    if value < 90:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes:,} min {seconds} s"


def bytes_text(value: float) -> str:
    """Write a size."""
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:,.0f} {unit}"
        value /= 1024
    return f"{value:,.1f} GiB"


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
