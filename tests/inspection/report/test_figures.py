"""What the figures show is where it belongs, at round values, in letters that fit."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import miner
from miner.census.triplet_sample import TripletSample
from miner.formatting import scale_text
from miner.inspection.report.figures import Drawing, distances, plane
from miner.inspection.report.label_map import label_map
from tests.conftest import write_vectors
from tests.inspection.report.data import mined


def sample(d_ap: np.ndarray, d_an: np.ndarray) -> TripletSample:
    rows = np.arange(len(d_ap))
    return TripletSample(rows, rows, rows, np.asarray(d_ap, float), np.asarray(d_an, float))


def dots(drawn: Drawing, name: str) -> set[tuple[float, float]]:
    """Return the values of the dots of a class, as they are read from its paths."""
    found = set()
    for path in drawn.paths:
        if path.kind == f"dots {name}":
            moves = re.findall(r"m(-?\d+) (-?\d+)h0", path.d)
            assert "".join(f"m{x} {y}h0" for x, y in moves) == path.d
            for x, y in np.cumsum(np.array(moves, int), axis=0) / 5:
                shares = [
                    axis.low + (at - axis.start) / (axis.end - axis.start) * (axis.high - axis.low)
                    for axis, at in ((drawn.x, x), (drawn.y, y))
                ]
                found.add((shares[0], shares[1]))
    return found


def test_every_triplet_is_a_dot_at_its_distances() -> None:
    rng = np.random.default_rng(3)
    shown = sample(*rng.uniform(0, 1, (2, 500)))
    drawn = plane(shown, 0.2)
    for name in ("hard", "semi_hard", "easy"):
        ours = shown.classes(0.2) == name
        true = np.stack([shown.d_ap[ours], shown.d_an[ours]], axis=1)
        read = np.array(sorted(dots(drawn, name)))
        gaps = np.abs(true[:, None] - read[None]).max(axis=-1).min(axis=1)
        assert len(read) >= 0.98 * len(true) and (gaps < 0.001).mean() > 0.99


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0.19, 1.13, ["0.2", "0.4", "0.6", "0.8", "1.0"]),
        (-3e-7, 2e-7, ["-3e-07", "-2e-07", "-1e-07", "0", "1e-07", "2e-07"]),
        (-4e6, 3e6, ["-4e+06", "-2e+06", "0", "2e+06"]),
        (1e9, 1.3e10, ["2e+09", "4e+09", "6e+09", "8e+09", "1e+10", "1.2e+10"]),
        (123456, 123457, ["123,456.0", "123,456.5", "123,457.0"]),
    ],
)
def test_ticks_are_few_and_round(low: float, high: float, texts: list[str]) -> None:
    edges = np.linspace(low, high, 200)
    drawn = distances(sample(edges, edges), (high - low) / 5)
    assert [tick.text for tick in drawn.x.ticks] == texts
    assert all(tick.text.endswith("\u00a0%") for tick in drawn.y.ticks)
    assert 2 <= len(drawn.y.ticks) <= 8


def test_all_distances_alike_have_axes() -> None:
    for value in (0.0, 1.0, -7.5, 3e8):
        for drawn in (
            distances(sample(np.full(5, value), np.full(5, value)), 0.2),
            plane(sample(np.full(5, value), np.full(5, value)), 0.2),
        ):
            assert len({tick.text for tick in drawn.x.ticks}) == len(drawn.x.ticks) >= 1
            assert "nan" not in "".join(path.d for path in drawn.paths)


def test_long_labels_are_cut_by_their_width() -> None:
    labels = ["a", "十二文字以上の長い名前です", "a label without an end"]
    drawn = label_map(labels, np.ones((3, 3)))
    assert [tick.text for tick in drawn.x.ticks] == ["a", "十二文字以上…", "a label witho…"]
    assert [tick.whole for tick in drawn.y.ticks] == labels


def test_digits_of_a_scale() -> None:
    assert scale_text(0.6000000000000001, 0.2) == "0.6"
    assert scale_text(1500, 500) == "1,500"
    assert scale_text(3 * 2e-5, 2e-5) == "6e-05"
    assert scale_text(0.5000002, 1e-7) == "0.5000002"


def test_shown_triplets_are_of_all_parts_of_a_class(tmp_path: Path) -> None:
    """The rows are by label: the first have near negatives, those of the last the nearest."""
    rng = np.random.default_rng(1)
    spread = np.repeat([0.2, 0.2, 0.2, 1.5], 60)
    vectors = rng.standard_normal((240, 6)) * spread[:, None] + 1
    labels = [f"c{n // 60}" for n in range(240)]
    data = write_vectors(tmp_path / "rows.parquet", vectors.astype(np.float32), list(labels))
    run = mined(tmp_path, data, select={"max_triplets": 280_000}, output={"report": False})
    assert run.manifest["written"]["hard"]["rows"] == 280_000
    made = miner.make_report(run)
    hardest = made.facts.gallery["hard"]
    assert 200_000 < hardest.of < 270_000
    assert {card.anchor.label for card in hardest.cards} == {"c3"}
    assert len({card.anchor.id for card in hardest.cards}) == 6
    text = made.path.read_text(encoding="utf-8")
    assert f"Chosen from {hardest.of:,} of the 280,000 written triplets" in text
