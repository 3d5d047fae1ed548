"""The loaders of other trainers read what `mine export` writes, where they are installed."""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import miner
from tests.later import later
from tests.training.exports.test_formats import written

datasets = later("datasets")
RunOf = Callable[[str], miner.Run]

# Their imports warn about the future of others' modules.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture
def out(tmp_path: Path) -> str:
    return str(tmp_path / "x")


def trainer(module: str) -> Any:
    """Import a trainer's module; it may need versions of other libraries that are not here."""
    return pytest.importorskip(module, exc_type=ImportError)


@pytest.mark.parametrize("distil", [True, False])
def test_flagembedding_reads_it(taught: RunOf, out: str, tmp_path: Path, distil: bool) -> None:
    name = "FlagEmbedding.abc.finetune.embedder"
    loader, arguments = trainer(f"{name}.AbsDataset"), trainer(f"{name}.AbsArguments")
    facts = miner.export_triplets(taught("texts"), "flagembedding", out=out)
    given = arguments.AbsEmbedderDataArguments(
        train_data=[out],
        cache_path=str(tmp_path / "cache"),
        train_group_size=4,
        knowledge_distillation=distil,
    )
    loaded = loader.AbsEmbedderTrainDataset(given, None)
    assert len(loaded) == facts["rows"]
    for row, (query, passages, scores) in zip(written(facts), loaded, strict=True):
        assert query == row["query"] and passages[0] in row["pos"]
        assert len(passages) == 4 and set(passages[1:]) <= set(row["neg"])
        if distil:
            score = dict(zip(row["neg"], row["neg_scores"], strict=True))
            assert scores[0] in row["pos_scores"]
            assert scores[1:] == [score[text] for text in passages[1:]]
        else:
            assert scores is None


@pytest.mark.parametrize("name", ["TrainDataset", "DistilTrainDataset"])
def test_tevatron_2_reads_it(taught: RunOf, out: str, tmp_path: Path, name: str) -> None:
    loader = trainer("tevatron.retriever.dataset")
    facts = miner.export_triplets(taught("texts"), "tevatron", out=out)
    given = SimpleNamespace(
        dataset_name="json",
        dataset_config=None,
        dataset_path=f"{out}/*.jsonl",
        dataset_split="train",
        dataset_cache_dir=str(tmp_path / "cache"),
        num_proc=1,
        corpus_name=None,
        assets_path=None,
        query_prefix="",
        passage_prefix="",
        train_group_size=4,
    )
    state = SimpleNamespace(state=SimpleNamespace(epoch=0), args=SimpleNamespace(seed=1))
    loaded = getattr(loader, name)(given, state)
    assert len(loaded) == facts["rows"]
    for number, row in enumerate(written(facts)):
        query, passages, *scores = loaded[number]
        assert query[0] == row["query"] and len(passages) == 4
        score = {
            one["text"]: one["score"] for one in row["positive_passages"] + row["negative_passages"]
        }
        assert passages[0][0] in [one["text"] for one in row["positive_passages"]]
        assert {text for text, *_ in passages[1:]} <= {
            one["text"] for one in row["negative_passages"]
        }
        if name == "DistilTrainDataset":
            assert scores == [[score[text] for text, *_ in passages]]


def test_tevatron_1_reads_it(taught: RunOf, out: str, tmp_path: Path) -> None:
    loader = trainer("tevatron.datasets.dataset")
    facts = miner.export_triplets(taught("texts"), "tevatron", out=out)
    given = SimpleNamespace(
        train_path=glob.glob(f"{out}/*.jsonl"),
        dataset_split="train",
        dataset_name="json",
        dataset_language="default",
        q_max_len=8,
        p_max_len=8,
        dataset_proc_num=1,
        train_n_passages=4,
        passage_field_separator=" ",
    )
    loaded = loader.HFTrainDataset(SimpleNamespace(), given, str(tmp_path / "cache"))
    preprocess = trainer("tevatron.datasets.preprocessor").TrainPreProcessor(
        SimpleNamespace(encode=lambda text, **_: text)
    )
    for row, found in zip(written(facts), loaded.dataset, strict=True):
        assert preprocess(found) == {
            "query": row["query"],
            "positives": [one["text"] for one in row["positive_passages"]],
            "negatives": [one["text"] for one in row["negative_passages"]],
        }


@pytest.mark.parametrize("kind", ["bi_encoder", "cross_encoder"])
def test_nemo_reads_it(taught: RunOf, out: str, kind: str) -> None:
    loader = trainer("nemo_automodel.components.datasets.llm.retrieval_dataset")
    facts = miner.export_triplets(taught("pairs"), "nemo", out=out)
    texts = {row["id"]: row["text"] for row in written(facts, "corpus")}
    loaded = loader.make_retrieval_dataset(
        data_dir_list=glob.glob(f"{out}/*.json"), model_type=kind, n_passages=3
    )
    assert len(loaded) == facts["rows"]
    for number, row in enumerate(written(facts)):
        found = loaded[number]
        first = texts[row["pos_doc"][0]["id"]]
        if kind == "bi_encoder":
            assert found["question"] == row["question"] and len(found["doc_text"]) == 3
            assert found["doc_text"][0] == first
            assert set(found["doc_text"][1:]) <= {texts[one["id"]] for one in row["neg_doc"]}
        else:
            assert (found["question"], found["doc_text"]) == (row["question"], first)


def test_pylate_reads_it(taught: RunOf, out: str) -> None:
    loader = trainer("pylate.utils")
    torch = pytest.importorskip("torch")
    facts = miner.export_triplets(taught("pairs"), "pylate-kd", negatives=4, out=out)
    train, queries, documents = (
        datasets.load_dataset("parquet", data_dir=f"{out}/{name}", split="train")
        for name in ("train", "queries", "documents")
    )
    texts = {row["document_id"]: row["text"] for row in written(facts, "documents")}
    asked = {row["query_id"]: row["text"] for row in written(facts, "queries")}
    train.set_transform(loader.KDProcessing(queries=queries, documents=documents).transform)
    rows = [train[number] for number in range(len(train))]
    for row, found in zip(written(facts, "train"), rows, strict=True):
        assert found["query"] == asked[row["query_id"]]
        assert found["documents"] == [texts[one] for one in row["document_ids"]]
        assert found["scores"] == row["scores"] and len(row["scores"]) == 5

    def tokenize(texts: list[str], **_: Any) -> dict[str, Any]:
        return {"input_ids": torch.zeros(len(texts), 1)}

    batch = loader.ColBERTCollator(tokenize)(rows[:4])
    assert batch["label"].shape == (4, 5) and batch["documents_input_ids"].shape == (20, 1)


def test_ms_swift_reads_it(run_of: RunOf, out: str) -> None:
    loader = trainer("swift.dataset")
    facts = miner.export_triplets(run_of("texts"), "ms-swift", out=out)
    loaded, _ = loader.load_dataset(out)
    keys = ("messages", "positive_messages", "negative_messages")
    assert [{key: row[key] for key in keys} for row in loaded] == written(facts)


@pytest.mark.parametrize("name", ["flagembedding", "tevatron", "ms-swift"])
def test_datasets_read_the_lines(taught: RunOf, out: str, name: str) -> None:
    facts = miner.export_triplets(taught("pairs"), name, out=out)
    loaded = datasets.load_dataset("json", data_dir=out, split="train")
    assert json.dumps(loaded.to_list(), sort_keys=True) == json.dumps(
        written(facts), sort_keys=True
    )
