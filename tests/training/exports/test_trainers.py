"""What others make of an export: `datasets` loads it, sentence-transformers trains on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import miner
from tests.later import later

datasets = later("datasets")

RunOf = Callable[[str], miner.Run]

# Their imports and trainers warn about the future of others' modules.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

FORMATS = ("triplet", "n-tuple", "labeled-pair", "labeled-list", "pair")


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep caches out of the home folder, and progress bars out of the output."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.mark.parametrize("kind", ["texts", "int ids", "text ids"])
@pytest.mark.parametrize("name", FORMATS)
def test_datasets_load_what_was_written(
    run_of: RunOf, tmp_path: Path, name: str, kind: str
) -> None:
    facts = miner.export_triplets(run_of(kind), name, out=tmp_path / "x")
    loaded = datasets.load_dataset("parquet", data_dir=str(tmp_path / "x"), split="train")
    assert loaded.column_names == facts["columns"]
    rows = pq.read_table(tmp_path / "x").to_pylist()
    assert loaded.to_list() == rows
    assert len(rows) == facts["rows"] > 10
    streamed = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "x/*.parquet"), split="train", streaming=True
    )
    assert list(streamed.take(5)) == rows[:5]


@pytest.mark.parametrize("name", FORMATS)
def test_datasets_load_json_lines(run_of: RunOf, tmp_path: Path, name: str) -> None:
    miner.export_triplets(run_of("texts"), name, out=tmp_path / "a")
    miner.export_triplets(run_of("texts"), name, out=tmp_path / "b", file_format="jsonl")
    loaded = datasets.load_dataset("json", data_dir=str(tmp_path / "b"), split="train")
    assert loaded.to_list() == pq.read_table(tmp_path / "a").to_pylist()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "loss_name"),
    [
        ("triplet", "TripletLoss"),
        ("triplet", "MultipleNegativesRankingLoss"),
        ("n-tuple", "MultipleNegativesRankingLoss"),
        ("labeled-pair", "ContrastiveLoss"),
        ("pair", "ContrastiveLoss"),
        ("triplet", "MarginMSELoss"),
        ("n-tuple", "DistillKLDivLoss"),
    ],
)
def test_sentence_transformers_train_on_it(
    taught: RunOf, tmp_path: Path, name: str, loss_name: str
) -> None:
    """Two steps move the weights, with the inputs and labels that the loss is meant to get."""
    library = pytest.importorskip("sentence_transformers")
    pytest.importorskip("accelerate")
    import tokenizers
    import torch
    from sentence_transformers import (
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer import losses
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    vocabulary = {"[UNK]": 0, **{letter: n for n, letter in enumerate("abcd", start=1)}}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    torch.manual_seed(0)
    module = StaticEmbedding(tokenizer, embedding_dim=8)
    model = library.SentenceTransformer(modules=[module], device="cpu")
    scores = loss_name in ("MarginMSELoss", "DistillKLDivLoss")
    facts = miner.export_triplets(taught("texts"), name, scores=scores, out=tmp_path / "x")
    loaded = datasets.load_dataset("parquet", data_dir=str(tmp_path / "x"), split="train")
    loss = getattr(losses, loss_name)(model)
    seen: list[tuple[int, Any]] = []
    forward = loss.forward

    def watch(features: Any, labels: Any = None) -> Any:
        features = list(features)
        seen.append((len(features), labels))
        return forward(features, labels)

    loss.forward = watch
    before = module.embedding.weight.detach().clone()
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "model"),
        max_steps=2,
        per_device_train_batch_size=8,
        learning_rate=0.1,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
    )
    trainer = SentenceTransformerTrainer(model, arguments, train_dataset=loaded, loss=loss)
    trainer.train()
    labelled = facts["columns"][-1] in ("label", "scores")
    inputs = len(facts["columns"]) - labelled
    assert [count for count, _ in seen] == [inputs, inputs]
    assert inputs == {"triplet": 3, "n-tuple": 5, "labeled-pair": 2, "pair": 2}[name]
    for _, labels in seen:
        assert scores or not labelled or set(labels.tolist()) <= {0, 1}
        assert not scores or labels.shape == (8, inputs - 1)
        assert not labelled or len(labels) == 8
    assert not torch.equal(module.embedding.weight.detach(), before)
