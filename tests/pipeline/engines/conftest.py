"""What all tests of engines share."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def nothing_left_to_collect() -> Iterator[None]:
    """Finish off clusters and pools here.

    Where their finalizers run as Python 3.11 builds a syntax tree, in a later test, it counts its
    recursion wrong and raises `SystemError`.
    """
    yield
    gc.collect()
