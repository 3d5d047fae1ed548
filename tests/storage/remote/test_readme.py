"""The commands and the example of the page on object storage run."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, Result
from tests.storage.remote.conftest import Bucket

PAGE = (ROOT / "miner/docs/object-storage.md").read_text()


@pytest.mark.slow
def test_the_section_runs(
    bucket: Bucket,
    cli: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    bucket.put("support_requests.csv", ROOT / "sample_data/support_requests.csv")
    (commands,) = re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (example,) = re.findall(r"^```py\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(commands.splitlines()) == 6
    for line in commands.splitlines():
        program, *words = line.replace("my-bucket", bucket.name).split()
        result = cli(*words)
        assert (program, result.code) == ("mine", 0), f"{line}\n{result.err}"
    exec(example.replace("my-bucket", bucket.name), {})
    assert "negative_id" in capsys.readouterr().out
