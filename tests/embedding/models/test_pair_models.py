"""Cross-encoders as teachers, with a small random one of the library's own classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miner
from miner.embedding.models.pairs.base import joined_pair
from miner.embedding.models.pairs.load import load_pair_model
from miner.errors import UsageError
from tests.later import later
from tests.pipeline.test_teacher import HERE, WORDS, rows, texts

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


def random_encoder(folder: Path, seed: int, **configured: Any) -> Path:
    """Save a BERT of one layer that knows the words of the data."""
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]))
    transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(seed)
    made = transformers.BertConfig(
        vocab_size=14,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        initializer_range=1.0,
        **{"num_labels": 1, **configured},
    )
    transformers.BertForSequenceClassification(made).eval().save_pretrained(folder)
    return folder


def mine(data: Path, out: Path, encoder: Path, **teacher: Any) -> miner.Run:
    return miner.mine(
        {
            "dataset": {"path": str(data)},
            "model": {"name": f"{HERE}:embed"},
            "select": {"max_triplets": 300},
            "teacher": {"model": f"cross-encoder:{encoder}", "spares": 0, **teacher},
            "gates": {"min_rows": 0},
            "output": {"path": str(out)},
        }
    )


def scores_of(encoder: Path, pairs: list[tuple[str, str]]) -> np.ndarray:
    scores = sentence_transformers.CrossEncoder(str(encoder)).predict(pairs)
    return np.asarray(scores, dtype=np.float32)


def test_its_scores_decide_and_its_weights_are_part_of_the_run(texts: Path, tmp_path: Path) -> None:
    first, second = (random_encoder(tmp_path / f"m{seed}", seed) for seed in (1, 2))
    everything = mine(texts, tmp_path / "out", first)
    whole = rows(everything, "hard")
    for column, role in (("teacher_ap", "positive"), ("teacher_an", "negative")):
        scores = scores_of(first, [(row["anchor"], row[role]) for row in whole])
        np.testing.assert_allclose([row[column] for row in whole], scores, atol=1e-6)
    most = float(np.median(scores))
    run = mine(texts, tmp_path / "out", first, max_score=most)
    kept = rows(run, "hard")
    assert kept == [row for row in whole if row["teacher_an"] <= most]
    assert 0 < len(kept) < len(whole) and run.manifest["teacher"]["computed"] == 0
    assert mine(texts, tmp_path / "out", first, max_score=most).run_id == run.run_id
    (first / "model.safetensors").write_bytes((second / "model.safetensors").read_bytes())
    other = mine(texts, tmp_path / "out", first, max_score=most)
    assert other.run_id != run.run_id and other.manifest["teacher"]["computed"] > 0


def test_thresholds_on_logits_need_an_activation(texts: Path, tmp_path: Path) -> None:
    logits = {"activation_fn": "torch.nn.modules.linear.Identity", "version": "6.0"}
    encoder = random_encoder(tmp_path / "m", 3, sentence_transformers=logits)
    with pytest.raises(UsageError, match=r"are logits.*set teacher\.activation = 'sigmoid'"):
        mine(texts, tmp_path / "out", encoder, max_score=0.5)
    raw = mine(texts, tmp_path / "out", encoder)  # without a rule nothing is compared
    logit = np.array([row["teacher_an"] for row in rows(raw, "hard")], dtype=np.float64)
    assert logit.min() < 0
    run = mine(texts, tmp_path / "out", encoder, max_score=0.5, activation="sigmoid")
    assert run.manifest["teacher"]["computed"] == 0
    score = np.array([row["teacher_an"] for row in rows(run, "hard")])
    np.testing.assert_allclose(score, (1 / (1 + np.exp(-logit)))[logit <= 0], rtol=1e-6)
    same = mine(texts, tmp_path / "out", encoder, max_score=0.0, activation="identity")
    assert len(rows(same, "hard")) == len(score)


def test_options_and_outputs_of_a_cross_encoder(tmp_path: Path) -> None:
    encoder = random_encoder(tmp_path / "m", 4)
    pair = joined_pair("ash bay cat", "dog elm fox gum")
    whole, cut = (
        load_pair_model(f"cross-encoder:{encoder}", options) for options in ({}, {"max_length": 5})
    )
    assert whole is not None and cut is not None and whole.family() != cut.family()
    assert whole.embed([pair]) != cut.embed([pair])
    with pytest.raises(UsageError, match=r"teacher\.options\.max_length = 0"):
        load_pair_model(f"cross-encoder:{encoder}", {"max_length": 0})
    with pytest.raises(UsageError, match="cannot be made with these options"):
        load_pair_model(f"cross-encoder:{encoder}", {"length": 5})
    two = random_encoder(tmp_path / "two", 5, num_labels=3)
    with pytest.raises(UsageError, match="has 3 outputs"):
        load_pair_model(f"cross-encoder:{two}", {})
