"""All tests of object storage once more, on Ceph's object gateway instead of moto's server."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.storage.remote import ceph
from tests.storage.remote.conftest import OTHER


@pytest.mark.slow
@pytest.mark.skipif(bool(ceph.missing()), reason=f"not installed: {', '.join(ceph.missing())}")
def test_the_same_on_ceph() -> None:
    pytest.importorskip("obstore")
    with tempfile.TemporaryDirectory(prefix="rgw-") as folder:  # sockets want a short path
        with ceph.gateway(Path(folder)) as url:
            command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
            done = subprocess.run(
                [*command, "tests/storage/remote"], cwd=ROOT, env={**os.environ, OTHER: url},
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            sys.stdout.write(done.stdout)
            assert done.returncode == 0
            assert " passed" in done.stdout
