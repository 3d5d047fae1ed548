"""The sample is of all valid triplets, each as likely, measured by the definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from miner.census.measure import Vectors
from miner.census.triplet_sample import draw_sample
from miner.embedding.store import open_store
from miner.inspection.report.margin_shares import shares_of_gaps, shares_of_sample
from miner.runs.tables import read_census
from tests.conftest import write_vectors
from tests.inspection.report.data import mined


@pytest.fixture
def uneven(tmp_path: Path) -> Path:
    """Classes of 2 to 12 rows, with groups and equal texts to hide."""
    rng = np.random.default_rng(5)
    labels = [f"c{n}" for n, size in enumerate((2, 3, 5, 8, 12)) for _ in range(size)]
    vectors = rng.standard_normal((30, 6)).astype(np.float32)
    groups = [f"g{n % 7}" for n in range(30)]
    return write_vectors(tmp_path / "uneven.parquet", vectors, list(labels), group=groups)


def test_every_valid_triplet_is_as_likely_as_any_other(tmp_path: Path, uneven: Path) -> None:
    run = mined(tmp_path, uneven, dataset={"path": str(uneven), "group": "group"})
    store = open_store(run.root / ".store" / run.manifest["store"])
    assert store is not None
    relevance, rows = store.relevance(), store.vectors(0)
    counts = read_census(run)
    size = 60_000
    sample = draw_sample(
        relevance,
        Vectors(rows, rows, "numpy"),
        "euclidean",
        (counts["positives"], counts["negatives"]),
        size=size,
    )
    valid = {
        (a, p, n)
        for a in range(30)
        for p in relevance.positives(a).tolist()
        for n in set(range(30)) - {*relevance.positives(a).tolist()}
        if n not in relevance.hidden(a)
    }
    drawn: dict[tuple[int, int, int], int] = {}
    for one in zip(sample.anchors, sample.positives, sample.negatives, strict=True):
        key = tuple(map(int, one))
        drawn[key] = drawn.get(key, 0) + 1  # type: ignore[index, arg-type]
    assert drawn.keys() <= valid and len(valid) == run.manifest["census"]["valid"]
    # Each is drawn 14 times or so: the squared deviations are those of chance.
    expected = size / len(valid)
    chi = sum((drawn.get(one, 0) - expected) ** 2 / expected for one in valid)
    assert abs(chi - len(valid)) < 4 * np.sqrt(2 * len(valid))
    wide = rows.astype(np.float64)
    for side, stated in ((sample.positives, sample.d_ap), (sample.negatives, sample.d_an)):
        true = np.sqrt(((wide[sample.anchors] - wide[side]) ** 2).sum(-1))
        np.testing.assert_array_equal(stated, true)
    census = run.manifest["census"]
    for name, share in sample.shares(0.2).items():
        assert abs(share - census[name] / census["valid"]) < 4 * sample.error


def test_shares_by_margin_are_those_of_the_census(tmp_path: Path, small: Path) -> None:
    run = mined(tmp_path, small)
    census = run.manifest["census"]
    shares = shares_of_gaps(census["gaps"], census, 0.2)
    assert shares is not None and shares.triplets == census["valid"]
    row = next(row for row in shares.rows(0.2) if row["margin"] == 0.2)
    for name in ("hard", "semi_hard", "easy"):
        assert row[name] == pytest.approx(census[name] / census["valid"], abs=1e-12)


def test_nothing_to_draw_is_an_empty_sample() -> None:
    none = np.zeros(4, dtype=np.int64)
    rows = np.ones((4, 2), dtype=np.float32)
    sample = draw_sample(None, Vectors(rows, rows, "numpy"), "dot", (none, none))  # type: ignore[arg-type]
    assert len(sample) == 0 and shares_of_sample(sample, 0.2) is None
