"""From facts to one HTML page: no script, no request, every value escaped.

The figures come with what is said of them: how to read each.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path, PurePath
from typing import Any

from miner.formatting import (
    bytes_text,
    count_text,
    counted,
    distance_text,
    printable,
    seconds_text,
    share_text,
    without_secrets,
)
from miner.inspection.report.contents import label_text
from miner.inspection.report.facts import Facts
from miner.inspection.report.figures import (
    WIDTH,
    Drawing,
    confusion_map,
    distances,
    plane,
    shares_by_margin,
)
from miner.inspection.report.rerun_command import reproducing_command
from miner.runs.describe import scaling_text
from miner.triplets.hardness import CLASSES, MINED

__all__ = ["Figure", "figures_of", "render", "report_page"]

_MOST = 8000
"""Characters of a command or a job that are shown."""
_NAMES = ("distances", "plane", "margins", "confusion")


def report_page(facts: Facts) -> str:
    """Return the report as one HTML document."""
    manifest = facts.manifest
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
        figure_width=WIDTH,
        name=data_name(manifest),
        when=run_time(manifest["run_id"]),
        command=_cut(without_secrets(shlex.join(reproducing_command(manifest["job"])))),
        job=_cut(json.dumps(manifest["job"], indent=2, ensure_ascii=False)),
        scaled=scaling_text(manifest["job"]["mining"]),
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
        "counted": counted,
        "pct": share_text,
        "size": bytes_text,
        "d": distance_text,
        "seconds": seconds_text,
        "spaced": lambda text: re.sub(r"(?<=\d)%", "\u00a0%", text),
        "label": lambda name: str(name).replace("_", "-"),
        "named": label_text,
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


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing of the page, its title (also for who cannot see it) and how to read it."""

    name: str
    drawing: Drawing
    title: str
    caption: str


def figures_of(facts: Facts) -> dict[str, Figure | None]:
    """Draw all figures for which there are facts; the others are None."""
    found = {one.name: one for part in (_of_sample, _of_shares, _of_labels) for one in part(facts)}
    return dict.fromkeys(_NAMES) | found


def _of_sample(facts: Facts) -> Iterator[Figure]:
    sample, margin = facts.sample, facts.manifest["job"]["mining"]["margin"]
    if sample is None or not math.isfinite(float(sample.d_ap.sum() + sample.d_an.sum())):
        return
    yield Figure(
        "distances",
        distances(sample, margin),
        "Distances of positives and of negatives",
        "Grey: anchor to positive; red: anchor to negative "
        f"({counted(len(sample), 'triplet')}, each as likely as any other). The blue band is one "
        "margin wide, from the median positive. The farther red lies to the right of grey, the "
        "better the model tells the labels apart; where they overlap, triplets are hard.",
    )
    yield Figure(
        "plane",
        plane(sample, margin),
        "Every triplet has a place in this plane",
        f"Each dot is one of {counted(len(sample), 'sampled triplet')}. On or below the lower "
        "line the negative is as near as the positive or nearer (hard, red); between the lines it "
        f"is farther by less than the margin {margin:g} (semi-hard, blue); above both, easy "
        "(grey).",
    )


def _of_shares(facts: Facts) -> Iterator[Figure]:
    shares = facts.shares
    if shares is None:
        return
    whole = "gaps" in facts.manifest["census"]
    exact = ", and at this run's margin by all triplets" if whole else ""
    yield Figure(
        "margins",
        shares_by_margin(shares, facts.manifest["job"]["mining"]["margin"]),
        "Shares of the classes as the margin grows",
        "From below: hard (red), semi-hard (blue), easy (grey). The dashed line is this run's "
        "margin. Hard does not depend on it; choose a margin that leaves as many semi-hard "
        f"triplets as training can use. By {counted(shares.triplets, 'triplet')} drawn at random: "
        f"within {100 * shares.error:.1f} percentage points (95 %){exact}.",
    )


def _of_labels(facts: Facts) -> Iterator[Figure]:
    confusions = facts.confusions
    if confusions is None:
        return
    shown, of = len(confusions.labels), confusions.of
    which = "All labels" if shown >= of else f"The {shown} of {of:,} labels with most hard triplets"
    yield Figure(
        "confusion",
        confusion_map(confusions.labels, confusions.counts),
        "Which labels are taken for each other",
        f"{which}. A row is the anchor's label, a column the negative's; the fuller a cell, the "
        "more hard triplets (by their square root). An empty map is what one wants.",
    )
