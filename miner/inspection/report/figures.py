"""The figures of a report as axes, paths and texts, which `templates/figures.j2` renders as SVG.

Positions are in units of a drawing that is `WIDTH` wide; the page scales it. Colours and text sizes
come from the style sheet, so that a drawing works on a light and on a dark page.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from miner.census.triplet_sample import TripletSample
from miner.formatting import scale_text
from miner.inspection.report.margin_shares import MarginShares
from miner.triplets.hardness import CLASSES
from miner.triplets.types import Float64

__all__ = ["WIDTH", "Axis", "Drawing", "Path", "Step", "Text", "Tick"]
__all__ += ["distances", "dots", "plane", "shares_by_margin"]

WIDTH = 400
_HEIGHT, _TALL = 276, 330
_TOP, _RIGHT, _BELOW, _TITLE = 6, 8, 44, 26
"""Space above, to the right of and below the axes, and for the title to the left of the ticks."""
_DIGIT = 8.4
"""Width of a digit on a narrow screen, where it is largest."""
_BINS = 60
_LAYERS, _STEPS, _STRIP = 4, 5, 20
"""Paths of dots for each class, steps of a unit for rounding, and steps in a strip; see `dots`."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A label at an axis, and the whole text from which it was cut."""

    place: float
    text: str
    whole: str


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis that maps values from `low` to `high` to positions from `start` to `end`."""

    title: str
    low: float
    high: float
    start: float
    end: float
    ticks: list[Tick] = field(default_factory=list)

    def at(self, values: ArrayLike) -> Float64:
        """Return the positions of values, rounded to a tenth of a unit."""
        shares = (np.asarray(values, np.float64) - self.low) / (self.high - self.low)
        return np.asarray((self.start + shares * (self.end - self.start)).round(1))


@dataclass(frozen=True, slots=True)
class Path:
    """A line or an area; `kind` is its class in the style sheet, `d` its SVG path data."""

    kind: str
    d: str
    opacity: float = 1.0


@dataclass(frozen=True, slots=True)
class Text:
    """A text in the drawing: its anchor side, position and rotation in degrees."""

    text: str
    side: str
    x: float
    y: float
    turn: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a scale of counts: the lowest and the highest count, and the opacity."""

    low: int
    high: int
    opacity: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure: axes, and the paths and texts in order; `turn` rotates the labels below."""

    height: int
    x: Axis
    y: Axis
    turn: int = 0
    paths: list[Path] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    scale: list[Step] = field(default_factory=list)
    width: int = WIDTH

    def line(self, x: ArrayLike, y: ArrayLike) -> str:
        """Return the SVG path data of a line through points."""
        points = zip(self.x.at(x).tolist(), self.y.at(y).tolist(), strict=True)
        return "M" + "L".join(f"{across:g} {down:g}" for across, down in points)


def distances(sample: TripletSample, margin: float) -> Drawing:
    """Draw histograms of d(a,p) and d(a,n), with a band of one margin from the median d(a,p)."""
    low, high = _span(sample)
    edges = np.linspace(low, high, _BINS + 1)
    heights = [np.histogram(one, edges)[0] / len(sample) for one in (sample.d_ap, sample.d_an)]
    top = 1.05 * max(float(one.max()) for one in heights)
    drawn = _drawing(_HEIGHT, ("distance", low, high), ("share of sampled triplets", 0, top), "%")
    grid = "".join(f"M{drawn.x.start} {tick.place}H{drawn.x.end}" for tick in drawn.y.ticks)
    drawn.paths.append(Path("grid", grid))
    for name, one in zip(("positive", "negative"), heights, strict=True):
        stairs = drawn.line(np.repeat(edges, 2), np.pad(np.repeat(one, 2), 1))
        drawn.paths.append(Path(f"stairs {name}", stairs))
    median = float(np.median(sample.d_ap))
    end = min(median + margin, high)
    drawn.paths.append(Path("band", drawn.line([median, median, end, end], [0, top, top, 0])))
    drawn.paths.append(Path("dashed semi_hard", drawn.line([median, median], [0, top])))
    return drawn


def plane(sample: TripletSample, margin: float) -> Drawing:
    """Draw the sampled triplets in the plane of d(a,p) and d(a,n), with the class borders."""
    low, high = _span(sample)
    titles = "d(anchor, positive)", "d(anchor, negative)"
    drawn = _drawing(_TALL, (titles[0], low, high), (titles[1], low, high))
    points = np.stack([sample.d_ap, sample.d_an])
    within = ((points >= low) & (points <= high)).all(axis=0)
    classes = sample.classes(margin)
    for name in CLASSES:
        one = points[:, within & (classes == name)]
        places = np.stack([drawn.x.at(one[0]), drawn.y.at(one[1])], axis=1)
        drawn.paths.extend(Path(f"dots {name}", path) for path in dots(places))
    for offset in (0.0, margin):
        if low + offset < high:
            ends = [low, high - offset], [low + offset, high]
            drawn.paths.append(Path("border", drawn.line(*ends)))
    drawn.texts.extend(_regions(drawn, margin / (high - low)))
    return drawn


def dots(places: Float64) -> Iterator[str]:
    """Yield path data of dots, drawn as lines of length 0 with round ends.

    One path for many dots is much smaller than one element for each. Overlapping dots of one path
    are not darker, so the dots are distributed over `_LAYERS` paths. To keep the numbers short,
    positions are rounded and sorted in strips.
    """
    grid = np.rint(places * _STEPS).astype(np.int64)
    grid = grid[np.lexsort((grid[:, 1], grid[:, 0] // _STRIP))]
    for start in range(min(_LAYERS, len(grid))):
        moves = np.diff(grid[start::_LAYERS], axis=0, prepend=0).tolist()
        yield "".join(f"m{across} {down}h0" for across, down in moves)


def _regions(drawn: Drawing, band: float) -> Iterator[Text]:
    """Yield the names of the classes in the plane; `band` is the margin relative to its side."""
    wide, high = drawn.x.end - drawn.x.start, drawn.y.end - drawn.y.start

    def at(across: float, up: float) -> tuple[float, float]:
        return drawn.x.start + across * wide, drawn.y.start + up * high

    half = min(band / 2, 0.3)
    slope = math.degrees(math.atan2(high, wide))
    yield Text("hard", "end", *at(0.97, 0.05))
    yield Text("semi-hard", "middle", *at(0.84 - 1.5 * half, 0.84 - 0.5 * half), slope)
    if band < 0.8:  # a wider band leaves no space above it
        yield Text("easy", "start", *at(0.04, 0.95))


def shares_by_margin(shares: MarginShares, margin: float) -> Drawing:
    """Draw the share of each class as a function of the margin."""
    reach = shares.reach(margin)
    drawn = _drawing(_HEIGHT, ("margin", 0, reach), ("share of all valid triplets", 0, 1), "%")
    margins = np.append(shares.margins[shares.margins < reach], reach)
    hard, easy = (np.interp(margins, shares.margins, one) for one in (shares.hard, shares.easy))
    borders = [np.zeros(len(margins)), hard, 1 - easy, np.ones(len(margins))]
    for name, lower, upper in zip(reversed(CLASSES), borders, borders[1:], strict=False):
        around = np.append(margins, margins[::-1]), np.append(upper, lower[::-1])
        drawn.paths.append(Path(f"area {name}", drawn.line(*around)))
    if margin <= reach:
        drawn.paths.append(Path("dashed", drawn.line([margin, margin], [0, 1])))
    return drawn


def _drawing(
    height: int, x: tuple[str, float, float], y: tuple[str, float, float], unit: str = ""
) -> Drawing:
    """Return a drawing with empty axes; `x` and `y` are (title, lowest value, highest value).

    `unit` is the unit of `y`: "%" shows shares in percent.
    """
    upward = _ticks(y[1], y[2], math.inf, unit)
    left = math.ceil(_TITLE + _DIGIT * max(map(len, upward.values())))
    along = _ticks(x[1], x[2], WIDTH - left)
    right = WIDTH - max(_RIGHT, math.ceil(_DIGIT / 2 * max(map(len, along.values()))))
    drawn = Drawing(height, Axis(*x, left, right), Axis(*y, height - _BELOW, _TOP))
    for axis, texts in ((drawn.x, along), (drawn.y, upward)):
        axis.ticks.extend(Tick(float(axis.at(one)), text, text) for one, text in texts.items())
    return drawn


def _ticks(low: float, high: float, room: float, unit: str = "") -> dict[float, str]:
    """Return ticks at multiples of 1, 2 or 5 times a power of ten, as many as fit in `room`."""
    factor, end = (100, "\u00a0%") if unit == "%" else (1, "")
    for most in (7, 4, 3):
        step = _round_step((high - low) / most)
        numbers = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
        found = {n * step: scale_text(factor * n * step, factor * step) + end for n in numbers}
        if _DIGIT * sum(len(text) + 1 for text in found.values()) <= room:
            break
    return found


def _round_step(least: float) -> float:
    """Return the smallest number of the form 1, 2 or 5 times a power of ten, at least `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next((n * power for n in (1, 2, 5) if n * power >= least), 10 * power)


def _span(sample: TripletSample) -> tuple[float, float]:
    """Return an interval of positive length that contains nearly all sampled distances."""
    both = np.concatenate([sample.d_ap, sample.d_an])
    low, high = (float(value) for value in np.quantile(both, [0.001, 0.999]))
    room = 0.03 * (high - low)
    if room <= 1e-7 * max(abs(low), abs(high)):  # the distances differ by rounding only
        room = max(abs(high), 1e-12) * 0.5
    return low - room, high + room
