"""The figures of a report, drawn by matplotlib as SVG that takes its colours from the page.

They are drawn in stand-in colours, which are replaced by CSS variables, so that one drawing serves
a light and a dark page; text stays text. The same data give the same bytes: no dates, no random
names.
"""

from __future__ import annotations

import io
import logging
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from miner.inspection.report.margin_shares import MarginShares
from miner.inspection.report.sample import TripletSample
from miner.triplets.types import Float64

__all__ = ["confusion_map", "distances", "plane", "shares_by_margin"]

EASY, SEMI_HARD, HARD = "#8492a2", "#0b6fb8", "#c8451b"
INK, SOFT, GRID = "#1c2530", "#52606f", "#d5dce4"
_VARIABLES = {
    EASY: "easy",
    SEMI_HARD: "semi-hard",
    HARD: "hard",
    INK: "ink",
    SOFT: "soft",
    GRID: "line",
}
_COLOURS = {"easy": EASY, "semi_hard": SEMI_HARD, "hard": HARD}
_WIDTH, _HEIGHT = 5.6, 3.9
_BINS = 60
_LAYERS = 12
_LABEL, _NARROW = 14, 13.0
"""Letters of a label beside a figure, and the size that text has there on a narrow screen."""

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mine",
    "font.size": 11,
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelcolor": SOFT,
    "axes.labelpad": 8.0,
    "axes.edgecolor": GRID,
    "axes.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
}


def distances(sample: TripletSample, margin: float) -> str:
    """Draw how d(a,p) and d(a,n) are distributed, with the margin beside the median positive."""

    def draw(axes: Any) -> None:
        low, high = _span(sample)
        edges = np.linspace(low, high, _BINS + 1)
        for values, colour in ((sample.d_ap, EASY), (sample.d_an, HARD)):
            heights = np.histogram(values, edges)[0] / len(sample)
            axes.stairs(heights, edges, fill=True, color=colour, alpha=0.3, linewidth=0)
            axes.stairs(heights, edges, color=colour, linewidth=1.8)
        median = float(np.median(sample.d_ap))
        axes.axvspan(median, median + margin, color=SEMI_HARD, alpha=0.13, linewidth=0)
        axes.axvline(median, color=SEMI_HARD, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.set_xlim(low, high)
        axes.set_ylim(0)
        axes.locator_params("x", nbins=6)
        axes.set_xlabel("distance")
        axes.set_ylabel("share of sampled triplets", labelpad=12)
        axes.yaxis.set_major_formatter(lambda value, _: _percent(value))
        axes.grid(axis="y")

    return _drawn("distances", draw)


def plane(sample: TripletSample, margin: float) -> str:
    """Draw the sampled triplets by d(a,p) and d(a,n), and the borders of the three classes."""

    def draw(axes: Any) -> None:
        low, high = _span(sample)
        classes = sample.classes(margin)
        points = np.stack([sample.d_ap, sample.d_an], axis=1)
        points = np.where((points >= low) & (points <= high), points, np.nan)
        for name, colour in _COLOURS.items():
            for dots in _layers(points[classes == name]):
                axes.add_artist(_dotted(dots, colour))  # a patch would be measured, dot by dot
        for offset in (0.0, margin):
            axes.plot([low, high], [low + offset, high + offset], color=INK, linewidth=1.2)
        for name, x, y, side in _regions(margin / (high - low)):
            text = axes.text(x, y, name, transform=axes.transAxes, ha=side, va="center")
            text.set(color=INK, fontweight="bold")
            if name == "semi-hard":
                text.set(rotation=45, rotation_mode="anchor", transform_rotates_text=True)
        axes.set_xlim(low, high)
        axes.set_ylim(low, high)
        axes.locator_params(nbins=6)
        axes.set_xlabel("d(anchor, positive)")
        axes.set_ylabel("d(anchor, negative)", labelpad=12)

    return _drawn("plane", draw, height=4.6)


def _percent(value: float) -> str:
    """Write a share beside an axis."""
    digits = 0 if value >= 0.01 or not value else 1
    return f"{100 * value:.{digits}f} %"


def _layers(points: Float64) -> list[Float64]:
    """Deal points to layers: where they lie on each other, colours add up layer by layer."""
    points = points[np.isfinite(points).all(axis=1)]
    return [points[start::_LAYERS] for start in range(min(_LAYERS, len(points)))]


def _dotted(points: Float64, colour: str) -> Any:
    """Draw points as one line without length at each, whose round ends are a dot.

    Markers would be an element each: four times the bytes, and most of the time.
    """
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    codes = np.tile(np.array([Path.MOVETO, Path.LINETO], Path.code_type), len(points))
    path = Path(np.repeat(points, 2, axis=0), codes)
    path.should_simplify = False  # it would leave out what has no length
    return PathPatch(
        path, fill=False, edgecolor=colour, alpha=0.45, linewidth=2.2, capstyle="round"
    )


def _regions(wide: float) -> Iterator[tuple[str, float, float, str]]:
    """Say where in the plane the names of the classes stand; the band's width is a share of it."""
    yield "hard", 0.97, 0.05, "right"
    half = min(wide / 2, 0.3)
    yield "semi-hard", 0.84 - 1.5 * half, 0.84 - 0.5 * half, "center"
    if wide < 0.8:  # a wider band has no corner above it
        yield "easy", 0.04, 0.95, "left"


def shares_by_margin(shares: MarginShares, margin: float) -> str:
    """Draw the share of each class as the margin grows."""

    def draw(axes: Any) -> None:
        axes.stackplot(
            shares.margins,
            shares.hard,
            shares.semi_hard,
            shares.easy,
            colors=[HARD, SEMI_HARD, EASY],
            alpha=0.8,
            linewidth=0,
        )
        axes.axvline(margin, color=INK, linewidth=1.6, linestyle=(0, (4, 3)))
        axes.set_xlim(0, shares.reach(margin))
        axes.set_ylim(0, 1)
        axes.locator_params("x", nbins=5)
        axes.set_xlabel("margin")
        axes.set_ylabel("share of all valid triplets", labelpad=12)
        axes.yaxis.set_major_formatter(lambda value, _: _percent(value))

    return _drawn("margins", draw)


def confusion_map(labels: Sequence[str], counts: Float64) -> str:
    """Draw a square of labels: the more hard triplets, the fuller the colour.

    Parameters
    ----------
    labels : sequence of str
    counts : ndarray of shape (labels, labels)
        Hard triplets by the anchor's label (down) and the negative's (across).
    """
    names = [_short(name) for name in labels]
    size = 11.0 if len(names) <= 10 else 9.5
    widest = max(map(_columns, names), default=0)
    longest = _NARROW * 0.58 * widest
    turned = longest + 4 > (70 * _WIDTH - longest) / max(len(names), 1)

    def draw(axes: Any) -> None:
        from matplotlib.collections import PolyCollection
        from matplotlib.colors import to_rgba

        full = np.sqrt(counts / counts.max()) if counts.max() else counts
        rows, columns = np.nonzero(full)
        corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
        cells = np.stack([columns, rows], axis=1)[:, None] + corners
        colours = [to_rgba(HARD, alpha) for alpha in full[rows, columns].tolist()]
        axes.add_collection(PolyCollection(list(cells), facecolors=colours, linewidths=0))
        places, end = np.arange(len(names)), len(names) - 0.5
        # Lines, and not a grid at minor ticks, each of which is some objects that take their time.
        lines = {"color": GRID, "linewidth": 0.8, "zorder": 0.5}
        axes.hlines(places[:-1] + 0.5, -0.5, end, **lines)
        axes.vlines(places[:-1] + 0.5, -0.5, end, **lines)
        side = {"ha": "right", "rotation_mode": "anchor"} if turned else {}
        axes.set_xticks(places, names, rotation=55 if turned else 0, fontsize=size, **side)
        axes.set_yticks(places, names, fontsize=size)
        axes.tick_params(length=0)
        axes.set_xlim(-0.5, end)
        axes.set_ylim(end, -0.5)
        axes.set_xlabel("label of the negative", gid="across")
        axes.set_ylabel("label of the anchor", gid="down")

    below = longest * np.sin(np.radians(55)) if turned else _NARROW
    return _drawn("confusion", draw, height=5.0, left=longest + 34, below=float(below) + 36)


def _short(name: str) -> str:
    """Cut a label to what fits beside a figure."""
    if _columns(name) <= _LABEL:
        return name
    kept = ""
    for letter in name:
        if _columns(kept + letter) >= _LABEL:
            break
        kept += letter
    return f"{kept}…"


def _columns(name: str) -> int:
    """Return how many letters wide a text is; those of East Asia take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in name)


def _span(sample: TripletSample) -> tuple[float, float]:
    """Return an interval that holds nearly all sampled distances, and is never empty."""
    both = np.concatenate([sample.d_ap, sample.d_an])
    low, high = (float(value) for value in np.quantile(both, [0.001, 0.999]))
    room = 0.03 * (high - low) or max(abs(high), 1e-12) * 0.5
    return low - room, high + room


def _drawn(
    name: str,
    draw: Callable[[Any], None],
    height: float = _HEIGHT,
    left: float = 64.0,
    below: float = 46.0,
) -> str:
    """Draw one pair of axes; return the SVG element, to be put into a page.

    The room for labels to the left and below, in points, is given: a layout that looks for it takes
    longer than the drawing.
    """
    with _quiet():
        return _for_page(_svg(draw, height, left, below), name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what matplotlib says of fonts: the page shows text in those of the reader."""
    log = logging.getLogger("matplotlib")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)


def _svg(draw: Callable[[Any], None], height: float, left: float, below: float) -> str:
    """Draw one pair of axes; return the file's text."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, height))
        FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        place = (left / (72 * _WIDTH), below / (72 * height))
        figure.subplots_adjust(left=place[0], bottom=place[1], right=0.98, top=0.98)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        draw(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def _for_page(text: str, name: str) -> str:
    """Make a file's SVG part of a page: names of its own, colours and typeface of the page.

    Only tags are changed, never the text between them, which may be of the data.
    """
    svg = text[text.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|\n *", "", svg, flags=re.DOTALL)
    head, tail = svg.split(">", 1)
    head = re.sub(r' (?:width|height|version)="[^"]*"', "", head)
    tail = re.sub(r"<\w[^>]*>", lambda tag: _own(tag[0], name), tail)
    return f'{head} role="img" aria-labelledby="{name}-title" class="plot {name}">{tail}'


def _own(tag: str, name: str) -> str:
    """Make a tag of a drawing one of the page."""
    tag = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', tag)
    tag = re.sub(r'(xlink:href="#|url\(#)', rf"\1{name}-", tag)
    tag = re.sub(r"font: ([^;\"']*?)([0-9.]+px)[^;\"]*;?", r"font-size: \2;", tag)
    tag = re.sub(r"font-family: [^;\"]*;?", "", tag)
    tag = re.sub(r"(\.\d\d)\d+", r"\1", tag)  # of a point: what nobody sees
    for colour, variable in _VARIABLES.items():
        tag = tag.replace(colour, f"var(--{variable}, {colour})")
    return tag
