"""Render the report as one HTML page, without scripts or requests, with every value escaped.

Each figure has a caption that says how to read it.
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
    Drawing,
    distances,
    plane,
    shares_by_margin,
)
from miner.inspection.report.label_map import label_map
from miner.inspection.report.rerun_command import reproducing_command
from miner.inspection.report.set_map import draw_set_map
from miner.runs.describe import scaling_text
from miner.triplets.hardness import CLASSES, MINED_CLASSES

__all__ = ["Figure", "figures_of", "render", "report_page"]

_MOST = 8000
"""Most characters of a command or a job that the page shows."""
_NAMES = ("distances", "plane", "margins", "confusion", "fewer", "map")
_LISTS = {
    "some_hard": ("hardest", "the hardest triplets"),
    "many_hard": ("hardest", "the hardest triplets"),
    "few_nearest": ("hardest", "the hardest triplets"),
    "plain": ("hardest", "the hardest triplets"),
    "no_easy": ("distances", "the shares at other margins"),
    "few_triplets": ("distances", "the shares at other margins"),
    "sampled": ("triplets", "some of the written triplets"),
    "label_noise": ("suspects", "the list of these labels"),
    "label_doubts": ("suspects", "the list of these labels"),
    "hubs": ("hubs", "the list of these rows"),
    "confused": ("labels", "the most confused pairs"),
}
"""The id of the part of the page that shows what a finding is about, and the words of the link."""


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
        lists=_LISTS,
        name=data_name(manifest),
        when=run_time(manifest["run_id"]),
        command=_cut(without_secrets(shlex.join(reproducing_command(manifest["job"])))),
        job=_cut(json.dumps(manifest["job"], indent=2, ensure_ascii=False)),
        scaled=scaling_text(manifest["job"]["mining"]),
    )


def render(template: str, **values: Any) -> str:
    """Render a template; every value that is not marked as safe is escaped.

    Raises
    ------
    LookupError
        If a value that the template uses is missing, for example in a manifest.
    """
    import jinja2  # here, because only pages need it

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
        "shown": _shown,
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
    """Make a plain text printable; markup was made from printable text already."""
    return printable(value) if type(value) is str else value


def run_time(run_id: str) -> str:
    """Return the start time of a run from its id, or '' if the id does not contain it."""
    try:
        when = datetime.strptime(run_id.split("-")[0], "%Y%m%dT%H%M%SZ")
    except ValueError:
        return ""
    return when.strftime("%d %B %Y, %H:%M UTC").lstrip("0")


def data_name(manifest: Mapping[str, Any]) -> str:
    """Return the name of a run's data: the last part of the path."""
    job = manifest["job"]["dataset"]
    named = str(job.get("path") or job.get("queries") or "data")
    return printable(without_secrets(PurePath(named).name or named))[:80]


def _cut(text: str) -> str:
    """Cut a text from the job file, which may have any length, to `_MOST` characters."""
    return text if len(text) <= _MOST else f"{text[:_MOST]} [...]"


def _classes(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the top of the page shows for each class."""
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
            "written": written.get(name) if name in MINED_CLASSES else None,
            "recall": recall.get(name),
        }
        for name in reversed(CLASSES)
    ]


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing with its title, which screen readers use too, and its caption."""

    name: str
    drawing: Drawing
    title: str
    caption: str


def figures_of(facts: Facts) -> dict[str, Figure | None]:
    """Draw all figures whose data are known; the other figures are None."""
    found = {one.name: one for part in _PARTS for one in part(facts)}
    return dict.fromkeys(_NAMES) | found


def _of_sample(facts: Facts) -> Iterator[Figure]:
    sample, margin = facts.sample, facts.manifest["job"]["mining"]["margin"]
    if sample is None or not math.isfinite(float(sample.d_ap.sum() + sample.d_an.sum())):
        return
    yield Figure(
        "distances",
        distances(sample, margin),
        "Distances to positives and to negatives",
        f"{counted(len(sample), 'triplet')}, drawn uniformly. The blue band starts at the median "
        "distance to a positive and is one margin wide: a negative in it is semi-hard for that "
        "positive. The farther the negatives lie to the right of the positives, the better the "
        "model separates the labels; where they overlap, triplets are hard.",
    )
    yield Figure(
        "plane",
        plane(sample, margin),
        "The two distances of each triplet",
        f"Each dot is one of {counted(len(sample), 'sampled triplet')}. On or below the lower "
        "line, the negative is as near as the positive or nearer (hard, red). Between the lines it "
        f"is farther by less than the margin {margin:g} (semi-hard, blue). On or above the upper "
        "line, the triplet is easy (grey).",
    )


def _of_shares(facts: Facts) -> Iterator[Figure]:
    shares = facts.shares
    if shares is None:
        return
    whole = "gaps" in facts.manifest["census"]
    exact = "; exact at this run's margin" if whole else ""
    yield Figure(
        "margins",
        shares_by_margin(shares, facts.manifest["job"]["mining"]["margin"]),
        "Shares of the classes as the margin grows",
        "From bottom to top: hard (red), semi-hard (blue), easy (grey). The dashed line is this "
        "run's margin. The share of hard triplets does not depend on the margin; choose a margin "
        "that gives as many semi-hard triplets as training can use. Estimated from "
        f"{counted(shares.triplets, 'random triplet')}, to within {100 * shares.error:.1f} "
        f"percentage points (95 % confidence{exact}).",
    )


def _of_labels(facts: Facts) -> Iterator[Figure]:
    if facts.confusions is None:
        return
    whole, fewer = facts.confusions, facts.confusions.first()
    for name, shown in (("confusion", whole), ("fewer", fewer)):
        number, of = len(shown.labels), shown.of
        which = (
            "All labels"
            if number >= of
            else f"The {number} of {of:,} labels with the most hard triplets"
        )
        yield Figure(
            name,
            label_map(shown.labels, shown.counts),
            "Which labels are confused",
            f"{which}, similar ones side by side. Rows are the labels of anchors, columns "
            "those of negatives. The strongest colour marks the 3 % of pairs with the most hard "
            "triplets; an empty cell has none.",
        )


def _of_map(facts: Facts) -> Iterator[Figure]:
    shown = facts.set_map
    if shown is None:
        return
    named = "row" if facts.manifest["dataset"]["kind"] == "labelled" else "document"
    both = f" and {counted(len(shown.others), named)}" if len(shown.others) else ""
    yield Figure(
        "map",
        draw_set_map(shown),
        "Map of the set",
        f"{counted(len(shown.anchors), 'anchor')}{both} at the two principal components of their "
        f"vectors, which hold {100 * shown.variance:.0f} % of the variance: rows that are near "
        "each other here may be far apart in other dimensions. An anchor has the colour of the "
        "class of which it has most, compared with the whole set. The lines join the anchors "
        "(rings) of the hardest triplets with their positives and negatives.",
    )


_PARTS = (_of_sample, _of_shares, _of_labels, _of_map)
