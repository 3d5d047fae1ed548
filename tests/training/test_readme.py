"""The examples of the README and of the page on trainers run."""

from __future__ import annotations

import importlib.util
import re
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miner
from tests.conftest import ROOT

EXAMPLE = re.compile(r"^```python needs=(\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = EXAMPLE.findall((ROOT / "miner/docs/trainers.md").read_text())
SHORT = EXAMPLE.findall((ROOT / "README.md").read_text().replace("mined_tour", "mined_support"))
"""The examples of the README, on the same run."""
ROWS = 600

# Other libraries warn about future versions of further libraries.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with the run that the examples read, with fewer triplets."""
    folder = tmp_path_factory.mktemp("trainers")
    job = {
        "dataset": {"path": str(ROOT / "sample_data/support_requests.csv")},
        "mining": {"metric": "cosine", "hubs": 0, "confusions": 0, "neighbours": 0, "gaps": 0},
        "select": {"max_triplets": ROWS},
        "output": {"path": str(folder / "mined_support"), "report": False},
    }
    miner.mine(job)
    return folder


@pytest.fixture
def here(mined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Change to the folder; move the caches of `datasets`, and turn off its progress bars."""
    monkeypatch.chdir(mined)
    if importlib.util.find_spec("datasets") is None:
        yield mined
        return
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    yield mined
    datasets.enable_progress_bars()


def example(word: str, blocks: list[tuple[str, str]] = BLOCKS, **given: Any) -> dict[str, Any]:
    """Run the example that contains a word, with names that a user supplies; return all names."""
    (found,) = [block for block in blocks if word in block[1]]
    for needed in found[0].split(","):
        pytest.importorskip(needed)
    names = dict(given)
    exec(compile(found[1], word, "exec"), names)
    return names


def trainable(out: Path) -> dict[str, Any]:
    """Return a small model, and arguments for two training steps."""
    library = pytest.importorskip("sentence_transformers")
    pytest.importorskip("accelerate")
    import tokenizers
    import torch
    from sentence_transformers import SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    letters = {"[UNK]": 0, **{chr(97 + n): n + 1 for n in range(26)}}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(letters, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    torch.manual_seed(0)
    module = StaticEmbedding(tokenizer, embedding_dim=8)
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(out),
        max_steps=2,
        learning_rate=0.1,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    return {"model": library.SentenceTransformer(modules=[module], device="cpu"), "args": arguments}


def stored(here: Path) -> Any:
    return miner.open_run(here / "mined_support").triplets("hard").to_table()


@pytest.mark.parametrize("word", ["MultipleNegativesRankingLoss", "ContrastiveLoss"])
def test_sentence_transformers_train(word: str, here: Path, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    yours = trainable(tmp_path / "model")
    before = yours["model"][0].embedding.weight.detach().clone()
    names = example(word, **yours)
    assert not (yours["model"][0].embedding.weight.detach() == before).all()
    table = stored(here)
    assert names["hard"].column_names == ["anchor", "positive", "negative"]
    assert names["hard"]["negative"][:] == table["negative"].to_pylist()
    if word == "ContrastiveLoss":
        labelled = names["labelled"].to_list()
        assert len(labelled) == 2 * len(table) and {"first", "second", "label"} == set(labelled[0])
        texts = {
            1.0: set(zip(*table.select(["anchor", "positive"]).to_pydict().values(), strict=True)),
            0.0: set(zip(*table.select(["anchor", "negative"]).to_pydict().values(), strict=True)),
        }
        for row in labelled:
            assert (row["first"], row["second"]) in texts[row["label"]]


def test_the_readme_trains(here: Path, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    names = example("TripletLoss", SHORT, **trainable(tmp_path / "model"))
    assert len(names["triplets"]) == 2 * ROWS
    assert len(example("TripletDataset", SHORT)["triplets"]) == 2 * ROWS


@pytest.mark.slow
def test_datasets_stream_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = example("streaming=True")
    known = {
        tuple(map(str, row.values()))
        for row in stored(here).select(["anchor_id", "positive_id", "negative_id"]).to_pylist()
    }
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert tuple(line.split()[:3]) in known
    assert len(list(names["streamed"])) == ROWS


def test_torch_loads_it(here: Path) -> None:
    names = example("TripletDataset")
    assert len(names["triplets"]) == 2 * ROWS
    batch = names["batch"]
    assert len(batch["anchor"]) == len(batch["weight"]) and isinstance(batch["anchor"][0], str)
    assert set(names["negatives"]) <= set(
        miner.open_run("mined_support").triplets("hard").to_table()["negative"].to_pylist()
        + miner.open_run("mined_support").triplets("semi_hard").to_table()["negative"].to_pylist()
    )


def test_metric_learning_takes_it(here: Path) -> None:
    torch = pytest.importorskip("torch")
    ids = miner.open_run("mined_support").census()["anchor_id"].to_pylist()
    vectors = np.random.default_rng(1).standard_normal((len(ids), 6)).astype(np.float32)
    embeddings = torch.tensor(vectors, requires_grad=True)
    names = example("TripletIndex", embeddings=embeddings, ids=ids)
    names["loss"].backward()
    assert names["loss"].item() > 0 and embeddings.grad.abs().sum() > 0
    assert len(names["index"](ids)[0]) == 2 * ROWS


def test_batches_of_labels_are_drawn(here: Path) -> None:
    torch = pytest.importorskip("torch")
    vectors = torch.nn.Parameter(torch.randn(60, 4, generator=torch.Generator().manual_seed(1)))
    seen: list[list[int]] = []

    def model(numbers: Any) -> Any:
        seen.append(numbers.tolist())
        return vectors[numbers]

    labels = [number % 12 for number in range(60)]
    from miner.torch import TripletIndex

    ids = miner.open_run("mined_support").census()["anchor_id"].to_pylist()[:60]
    own = {"items": range(60), "ids": ids, "labels": labels, "model": model}
    index = TripletIndex("mined_support/latest", "both")
    names = example("MPerClassSampler", **own, index=index)
    assert names["mined"].item() >= 0
    names["loss"].backward()
    assert vectors.grad is not None and vectors.grad.abs().sum() > 0
    for batch in seen:
        assert len(set(batch)) == 32
        assert sorted(Counter(labels[number] for number in batch).values()) == [4] * 8


READ: dict[str, Callable[[Any], list[dict[str, Any]]]] = {
    "pyarrow": lambda table: table.to_pylist(),
    "polars": lambda frame: frame.to_dicts(),
    "pandas": lambda frame: frame.to_dict("records"),
}


@pytest.mark.parametrize("reader", READ)
def test_readers_read_the_same(reader: str, here: Path) -> None:
    pytest.importorskip(reader)
    (code,) = [
        line for kind, text in BLOCKS for line in text.splitlines() if f"= {reader}." in line
    ]
    names: dict[str, Any] = {}
    exec(f"import {reader}\nimport pyarrow.dataset\n{code}", names)
    assert READ[reader](names["hard"]) == stored(here).to_pylist()


def test_duckdb_counts(here: Path) -> None:
    names = example("duckdb.sql")
    counts = stored(here)["anchor"].value_counts().to_pylist()
    assert dict(names["top"].fetchall()) == {one["values"]: one["counts"] for one in counts}


class Processing:
    """Looks texts up by ids, as that of PyLate does; `test_loaders` has the real one."""

    def __init__(self, *, queries: Any, documents: Any) -> None:
        self._queries = dict(zip(queries["query_id"], queries["text"], strict=True))
        self._documents = dict(zip(documents["document_id"], documents["text"], strict=True))

    def transform(self, rows: dict[str, Any]) -> dict[str, Any]:
        found = [[self._documents[one] for one in ids] for ids in rows["document_ids"]]
        return {"query": [self._queries[one] for one in rows["query_id"]], "documents": found}


def test_pylate_takes_the_three_tables(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    for name in ("pylate", "pylate.utils"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setattr(sys.modules["pylate.utils"], "KDProcessing", Processing, raising=False)
    run = miner.mine(
        {
            "dataset": {"path": str(ROOT / "sample_data/support_requests.csv")},
            "select": {"strategy": "hardest", "options": {"k": 7}},
            "teacher": {"model": "wordllama"},
            "output": {"path": "mined_scored", "report": False},
        }
    )
    miner.export_triplets(run, "pylate-kd", negatives=7, out="mined_pylate", force=True)
    row = example("KDProcessing")["train"][0]
    assert isinstance(row["query"], str) and len(set(row["documents"])) == 8


def test_every_example_is_looked_at() -> None:
    assert len(BLOCKS) == 8
