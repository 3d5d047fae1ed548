"""The array types used in signatures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Float32", "Float64", "Rows"]

Rows = NDArray[np.int64]
"""Row numbers, or counts."""
Float32 = NDArray[np.float32]
"""Stored vectors."""
Float64 = NDArray[np.float64]
"""Distances, keys, and numbers computed from them."""
