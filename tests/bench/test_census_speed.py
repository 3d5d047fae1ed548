"""The census against the bare product: ratios of times taken in turn, in one process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.bench
def test_census_of_ten_thousand_images() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.census_speed"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    facts = json.loads(done.stdout)
    sys.stdout.write(
        f"\n10,000 x 784 in 10 classes, {facts['valid']:,} triplets\n"
        f"  bare float32 product  {facts['product_seconds']:.2f} s\n"
        f"  exact census          {facts['census_seconds']:.2f} s\n"
        f"  ratio                 {facts['ratio']:.2f}  (rounds: {facts['ratios']})\n"
        f"  without numba         {facts['numpy_ratio']:.2f}\n"
        f"  peak memory           {facts['peak_bytes'] / 2**20:,.0f} MiB\n"
    )
    assert facts["valid"] > 8.9e10
    assert facts["ratio"] < 4
    assert facts["peak_bytes"] < 1.5 * 2**30
