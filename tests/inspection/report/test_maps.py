"""The map of labels and the map of the set, against what NumPy says of the same numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import miner
from miner.inspection.report.label_map import label_map, similar_order
from tests.conftest import write_vectors
from tests.inspection.report.data import mined

pytestmark = pytest.mark.report


def blocks(groups: int, each: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return counts of labels that are confused within groups, shuffled, and the groups."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(groups * each)
    group = order // each
    counts = np.where(group[:, None] == group, 100, 1) + rng.integers(0, 5, (len(order),) * 2)
    np.fill_diagonal(counts, 0)
    return counts.astype(np.float64), group


@pytest.mark.parametrize(("groups", "each"), [(1, 1), (2, 1), (3, 5), (8, 5)])
def test_labels_that_are_confused_are_side_by_side(groups: int, each: int) -> None:
    counts, group = blocks(groups, each)
    order = similar_order(counts)
    assert sorted(order.tolist()) == list(range(groups * each))
    assert (np.diff(group[order]) != 0).sum() == groups - 1


def test_forty_labels_alike_still_have_a_darkest_cell() -> None:
    """Counts that differ by a tenth would all look alike on a scale from zero to the largest."""
    rng = np.random.default_rng(1)
    counts = rng.integers(900, 1001, (40, 40)).astype(np.float64)
    np.fill_diagonal(counts, 0)
    drawn = label_map([f"label {n}" for n in range(40)], counts)
    assert [step.opacity for step in drawn.scale] == sorted(step.opacity for step in drawn.scale)
    assert len(drawn.scale) == 5 and drawn.width == 800
    cells = {path.opacity: path.d.count("z") for path in drawn.paths if path.kind == "cell hard"}
    assert sum(cells.values()) == 40 * 39
    assert 1 <= cells[1.0] <= 0.05 * 40 * 39
    for step, higher in zip(drawn.scale, drawn.scale[1:], strict=False):
        assert step.low <= step.high < higher.low
        assert cells[step.opacity] == ((counts >= step.low) & (counts <= step.high)).sum()


@pytest.mark.parametrize("values", [[0], [7], [3, 3, 3], [1, 2]])
def test_few_different_counts_have_fewer_steps(values: list[int]) -> None:
    counts = np.zeros((4, 4))
    counts[0, 1 : len(values) + 1] = values
    drawn = label_map(list("abcd"), counts)
    found = sorted({value for value in values if value})
    assert [step.high for step in drawn.scale] == found


@pytest.mark.parametrize("dimensions", [1, 2, 5, 90])
def test_the_map_of_the_set_holds_the_principal_components(tmp_path: Path, dimensions: int) -> None:
    rng = np.random.default_rng(dimensions)
    rows = rng.standard_normal((60, dimensions)) * rng.uniform(0.1, 3, dimensions) + 5
    labels = [f"c{n % 3}" for n in range(60)]
    data = write_vectors(tmp_path / "rows.parquet", rows.astype(np.float32), labels)
    run = mined(tmp_path, data, mining={"normalize": False}, output={"report": False})
    shown = miner.make_report(run).facts.set_map
    assert shown is not None
    centred = rows.astype(np.float32).astype(np.float64)
    centred -= centred.mean(axis=0)
    _, values, axes = np.linalg.svd(centred, full_matrices=False)
    assert shown.variance == pytest.approx((values[:2] ** 2).sum() / (values**2).sum(), rel=1e-6)
    expected = centred @ axes[:2].T
    for column in range(min(2, dimensions)):
        ours, theirs = shown.anchors[:, column], expected[:, column]
        assert np.allclose(ours, theirs, atol=1e-5) or np.allclose(ours, -theirs, atol=1e-5)
    classes = ["easy", "semi_hard", "hard"]
    counts = np.stack([run.census()[name].to_numpy() for name in classes]).astype(np.float64)
    leading = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).argmax(axis=0)
    assert shown.classes.tolist() == [classes[n] for n in leading.tolist()]
    assert shown.triplets.shape[1:] == (3, 2) and len(shown.triplets) >= 1
    for triplet in shown.triplets.reshape(-1, 2):
        assert np.abs(shown.anchors - triplet).max(axis=1).min() < 1e-9


def test_queries_and_documents_are_told_apart(tmp_path: Path) -> None:
    run = miner.mine(
        {
            "dataset": {"path": "sample_data/handbook"},
            "mining": {"metric": "cosine"},
            "output": {"path": str(tmp_path / "out"), "report": False},
        }
    )
    made = miner.make_report(run)
    shown = made.facts.set_map
    assert shown is not None and len(shown.anchors) == 60 and len(shown.others) == 300
    html = made.path.read_text(encoding="utf-8")
    assert "60 anchors and 300 documents at the two principal components" in html
    drawing = re.search(r'<svg class="plot map".*?</svg>', html, re.DOTALL)
    assert drawing is not None and drawing.group().count('class="link negative"') == 6


def test_rows_alike_have_no_map(tmp_path: Path) -> None:
    data = write_vectors(tmp_path / "rows.parquet", np.ones((8, 3), np.float32), list("aabbccdd"))
    run = mined(tmp_path, data, mining={"normalize": False})
    assert 'class="plot map"' not in run.file("report.html").read_text(encoding="utf-8")
