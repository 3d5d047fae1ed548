"""Cross-encoders as rescorers, with a small random one of the library's own classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from miner.embedding.models.rescorers import load_rescorer

import miner
from tests.later import later
from tests.pipeline.test_rescore import WORDS, rows, texts

sentence_transformers = later("sentence_transformers")
torch, transformers = later("torch"), later("transformers")

# Its imports warn about the future of others' modules.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
__all__ = ["texts"]


@pytest.fixture(scope="module", autouse=True)
def library() -> Any:
    """Import it here, where warnings are let through, and not where the package does."""
    return sentence_transformers.CrossEncoder


def random_encoder(folder: Path, seed: int) -> Path:
    """Save a BERT of one layer that knows the words of the data."""
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]))
    transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=14,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=1,
        initializer_range=1.0,
    )
    transformers.BertForSequenceClassification(config).eval().save_pretrained(folder)
    return folder


def mine(data: Path, out: Path, encoder: Path, most: float) -> miner.Run:
    select: dict[str, Any] = {"rescore": f"cross-encoder:{encoder}", "rescore_max": most}
    return miner.mine(
        {
            "dataset": {"path": str(data)},
            "model": {"name": "tests.pipeline.test_rescore:embed"},
            "select": select | {"max_triplets": 300},
            "gates": {"min_rows": 0},
            "output": {"path": str(out)},
        }
    )


def test_its_scores_decide_and_its_weights_are_part_of_the_run(texts: Path, tmp_path: Path) -> None:
    first, second = (random_encoder(tmp_path / f"m{seed}", seed) for seed in (1, 2))
    rescorer = load_rescorer(f"cross-encoder:{first}")
    everything = mine(texts, tmp_path / "out", first, 1e9)
    whole = rows(everything, "hard")
    scores = rescorer.score([(row["anchor"], row["negative"]) for row in whole])
    most = float(np.median(scores))
    run = mine(texts, tmp_path / "out", first, most)
    near = [row for row, s in zip(whole, scores, strict=True) if abs(s - most) < 1e-5]
    kept = rows(run, "hard")
    assert [row for row in kept if row not in near] == [
        row for row, s in zip(whole, scores, strict=True) if s <= most and row not in near
    ]
    assert 0 < len(kept) < len(whole)
    assert rescorer.weights == load_rescorer(f"cross-encoder:{first}").weights
    assert mine(texts, tmp_path / "out", first, most).run_id == run.run_id
    (first / "model.safetensors").write_bytes((second / "model.safetensors").read_bytes())
    assert mine(texts, tmp_path / "out", first, most).run_id != run.run_id
