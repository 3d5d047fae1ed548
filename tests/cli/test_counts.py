"""Where one thing is counted, no command writes its noun in the plural."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result

NOUNS = (
    "anchors bytes classes confusions dimensions documents files have hubs items labels links "
    "negatives pairs positives problems queries rows suspects triplets units workers"
)
WRONG = re.compile(rf"(?<![\d.,])1 (?:[a-z]+ )?(?:{'|'.join(NOUNS.split())})\b")


@pytest.mark.report
def test_one_is_no_plural(
    cli: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("queries.jsonl").write_text('{"id": "q", "embedding": [0.1]}\n')
    corpus = '{"id": "a", "embedding": [0.2]}\n{"id": "b", "embedding": [0.15]}\n'
    Path("corpus.jsonl").write_text(corpus)
    Path("links.csv").write_text("query_id,corpus_id\nq,a\n")
    data = [f"dataset.{name[: name.index('.')]}={name}" for name in map(str, Path().iterdir())]
    options = ["--workers", 1, "--metric", "dot", "--out", "out"]
    job = [*(word for one in data for word in ("--set", one)), *map(str, options)]
    for words in (
        ["plan", *job],
        ["run", *job],
        ["show", "out"],
        ["verify", "out", "--full"],
        ["compare", "out", "out", "--output", "compared.html"],
        ["export", "out", "--format", "triplet"],
        ["export", "out", "--format", "pair"],
        ["report", "out", "--output", "report.html"],
        ["prune", "out", "--dry-run"],
    ):
        done = cli(*words)
        assert done.code == 0, done
        assert not WRONG.findall(done.out + done.err), done
    assert "1 dimension" in cli("show", "out").out
    for page in ("compared.html", "report.html"):
        text = re.sub(r"<[^>]+>", " ", Path(page).read_text())
        assert not WRONG.findall(re.sub(r"\s+", " ", text))
    (shard,) = Path("out/latest/hard").iterdir()
    shard.write_bytes(b"")
    damaged = cli("verify", "out")
    assert damaged.code == 6 and damaged.err.rstrip().endswith("(1 problem)")
