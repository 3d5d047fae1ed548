"""From facts to one HTML page: no script, no request, every value escaped."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import PurePath
from typing import Any

from miner.hardness import CLASSES, MINED
from miner.printable import printable
from miner.report.command import reproducing_command, shell_line
from miner.report.facts import Facts
from miner.report.figures import confusion_map, distances, plane, shares_by_margin
from miner.urls import without_secrets

__all__ = ["Figure", "bytes_text", "render", "report_page"]



@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing of the page, its title (also for who cannot see it) and how to read it."""

    name: str
    svg: str
    title: str
    caption: str


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
        figures=_figures(facts),
        name=data_name(manifest),
        when=run_time(manifest["run_id"]),
        command=printable(without_secrets(shell_line(words))),
        job=printable(json.dumps(manifest["job"], indent=2, ensure_ascii=False)),
        scaled=_scaled(manifest),
    )


def render(template: str, **values: Any) -> str:
    """Fill a template; everything that is not marked as safe is escaped."""
    return str(_environment().get_template(template).render(**values))


@cache
def _environment() -> Any:
    import jinja2  # only who draws a page pays for it

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("miner.report"),
        autoescape=True,
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
        "label": lambda name: str(name).replace("_", "-"),
        "width": lambda share: f"{100 * share:.4f}%",
    }
    return environment


def count_text(value: float) -> str:
    """Write a count with separators."""
    return f"{round(value):,}"


def share_text(value: float) -> str:
    """Write a share in percent, and never 0 or 100 for what is not."""
    if value and value < 0.00005:
        return "< 0.01 %"
    if 0.99995 < value < 1:
        return "> 99.99 %"
    return f"{value:.2%}".replace("%", " %")


def distance_text(value: float) -> str:
    """Write a distance."""
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.4g}"


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
            "share": census[name] / census["valid"] if census["valid"] else 0.0,
            "words": words[name],
            "written": written.get(name) if name in MINED else None,
            "recall": recall.get(name),
        }
        for name in reversed(CLASSES)
    ]


def _figures(facts: Facts) -> dict[str, Figure]:
    margin = facts.manifest["job"]["mining"]["margin"]
    sample, found = facts.sample, {}
    if sample is not None and math.isfinite(float(sample.d_ap.sum() + sample.d_an.sum())):
        of = f"{len(sample):,} triplets, each as likely as any other"
        found["distances"] = Figure(
            "distances",
            distances(sample, margin),
            "Distances of positives and of negatives",
            f"Grey: anchor to positive; red: anchor to negative ({of}). The blue band is one margin "
            "wide, from the median positive. The farther red lies to the right of grey, the better "
            "the model tells the labels apart; where they overlap, triplets are hard.",
        )
        found["plane"] = Figure(
            "plane",
            plane(sample, margin),
            "Every triplet has a place in this plane",
            f"Each dot is one of {min(4000, len(sample)):,} sampled triplets. On or below the lower "
            "line the negative is as near as the positive or nearer (hard, red); between the lines "
            f"it is farther by less than the margin {margin:g} (semi-hard, blue); above both, easy "
            "(grey).",
        )
    if facts.shares is not None:
        found["margins"] = Figure(
            "margins",
            shares_by_margin(facts.shares, margin),
            "Shares of the classes as the margin grows",
            "From below: hard (red), semi-hard (blue), easy (grey). The dashed line is this run's "
            "margin. Hard does not depend on it; choose a margin that leaves as many semi-hard "
            f"triplets as training can use. {_basis(facts)}",
        )
    if facts.confusions is not None:
        shown, of = len(facts.confusions.labels), facts.confusions.of
        found["confusion"] = Figure(
            "confusion",
            confusion_map(facts.confusions.labels, facts.confusions.counts),
            "Which labels are taken for each other",
            ("All labels. " if shown >= of else f"The {shown} labels of {of:,} with most hard triplets. ")
            + "A row is the anchor's label, a column the negative's; the fuller a cell, the more "
            "hard triplets (by their square root). An empty map is what one wants.",
        )
    return found


def _basis(facts: Facts) -> str:
    """Say what the curve of shares is counted over."""
    shares, sample = facts.shares, facts.sample
    if shares is not None and shares.exact:
        return "Counted over all valid triplets."
    if shares is not None and shares.anchors:
        return f"Counted over all triplets of {shares.anchors:,} anchors, a random sample of {shares.of:,}."
    size = len(sample) if sample is not None else 0
    error = sample.error if sample is not None else 1.0
    return f"From {size:,} sampled triplets: within {error:.1%} (95 %)."
