"""The job of the storm, mined undisturbed once: that takes longer than most of the tests."""

from __future__ import annotations

import pytest

from tests.faults.storm import Lab


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab.made(tmp_path_factory.mktemp("storm"))
