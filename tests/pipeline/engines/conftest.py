"""What all tests of engines share."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def nothing_left_to_collect() -> Iterator[None]:
    """Finish off clusters and pools here.

    Where their finalizers run as Python 3.11 builds a syntax tree, in a later test, it counts its
    recursion wrong and raises `SystemError`.
    """
    yield
    gc.collect()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Dask scheduler with two workers, which are started again when a unit kills them."""
    pytest.importorskip("distributed")
    from tests.pipeline.engines.cluster import Cluster

    cluster = Cluster(tmp_path_factory.mktemp("served"), allowed_failures=1)
    cluster.start("east", "west", nanny=True)
    yield cluster
    cluster.close()
