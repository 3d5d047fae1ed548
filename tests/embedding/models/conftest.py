"""Small text and image data for models, and a way to mine them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner

TEXTS = [
    "my parcel has not arrived",
    "where is my package",
    "the delivery is late",
    "I forgot my password",
    "cannot log in to my account",
    "reset my password please",
]
LABELS = ["delivery"] * 3 + ["login"] * 3


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Six texts in two classes, a Parquet file."""
    path = tmp_path / "texts.parquet"
    pq.write_table(pa.table({"text": TEXTS, "label": LABELS}), path)
    return path


@pytest.fixture
def mine(tmp_path: Path) -> Callable[..., miner.Run]:
    """Mine a file with a model."""

    def call(path: Path, name: str, margin: float = 0.2, **model: Any) -> miner.Run:
        return miner.mine(
            {
                "dataset": {"path": str(path)},
                "model": {"name": name, **model},
                "mining": {"margin": margin},
                "output": {"path": str(tmp_path / "out")},
                "gates": {"min_rows": 0},
            }
        )

    return call


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale rows to unit length, in float64."""
    wide = np.asarray(vectors, dtype=np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def stored(run: miner.Run) -> np.ndarray:
    """Read a run's stored vectors back."""
    folder = run.path.parent.parent / ".store" / run.manifest["store"]
    flat = np.fromfile(folder / "vectors-0.f32", dtype="<f4")
    return flat.reshape(-1, run.manifest["model"]["dim"])


@pytest.fixture(scope="session")
def aside() -> Any:
    """Make timm and torchvision importable, which `make extras` installs in a folder aside.

    The torchvision of the package index lacks its operators with torch's build for the CPU. The
    transforms need none, but it names two as it is imported, and what fails then would fail in
    every library that looks for torchvision.
    """
    if find_spec("torchvision") or not (Path(sys.prefix) / "timm").is_dir():
        return None
    torch = pytest.importorskip("torch")
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    sys.path.append(str(Path(sys.prefix) / "timm"))
    return library
