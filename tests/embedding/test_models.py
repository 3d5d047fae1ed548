"""Models by value: the registered ones, a user's own, and what a broken one is told."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file
from tokenizers import Tokenizer

import miner
from miner.embedding.models.base import MODELS
from miner.embedding.models.load import load_model
from miner.embedding.models.pairs.load import PAIR_MODELS
from miner.errors import DataError, MineError, UsageError

TEXTS = [
    "how do I return a parcel",
    "",
    "Grüße aus 東京 🙂",
    "word " * 700,  # longer than any usual limit of tokens
    "how do I return a parcel?",
    "\n\t ",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder for modules of a user; what was imported from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


def module(folder: Path, body: str) -> None:
    (folder / "mymodel.py").write_text(f"import numpy as np\nfrom pathlib import Path\n{body}")


def texts_file(folder: Path, count: int = 12) -> Path:
    path = folder / "texts.parquet"
    texts = ["ab" * (n + 1) + "c" * (n % 5) for n in range(count)]
    labels = [None if n == 1 else n % 3 for n in range(count)]
    pq.write_table(pa.table({"text": texts, "label": labels}), path)
    return path


def job(path: Path, name: str, margin: float = 0.2, **model: Any) -> dict[str, Any]:
    return {
        "dataset": {"path": str(path)},
        "model": {"name": name, **model},
        "mining": {"margin": margin, "normalize": False},
        "output": {"path": str(path.parent / "out")},
        "gates": {"min_rows": 0},
    }


def distances(run: miner.Run) -> dict[tuple[int, int], float]:
    """Return d(anchor, other) of everything that was written."""
    found = {}
    for name in ("hard", "semi_hard"):
        for row in run.triplets(name).to_table().to_pylist():
            found[row["anchor_id"], row["positive_id"]] = row["d_ap"]
            found[row["anchor_id"], row["negative_id"]] = row["d_an"]
    return found


def own_mean(texts: list[str]) -> np.ndarray:
    """Mean pooling from the files of wordllama, token by token."""
    spec = importlib.util.find_spec("wordllama")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(next(iter(spec.submodule_search_locations)))
    matrix = load_file(folder / "weights" / "l2_supercat_256.safetensors")["embedding.weight"]
    config = folder / "tokenizers" / "l2_supercat_tokenizer_config.json"
    tokenizer = Tokenizer.from_file(str(config))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    means = np.zeros((len(texts), 256))
    for row, text in enumerate(texts):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        for token in ids:
            means[row] += matrix[token].astype(np.float64) / len(ids)
    return means


def test_every_model_is_registered_and_ready() -> None:
    rows = {row["name"]: row for row in miner.list_models() if not row["pairs"]}
    assert list(rows) == MODELS.names()
    assert [row["name"] for row in miner.list_models() if row["pairs"]] == PAIR_MODELS.names()
    assert {"onnx", "sentence-transformers", "torch", "timm"} < rows.keys()
    default = {"pixels": ["image"], "precomputed": ["vectors"], "wordllama": ["text"]}
    for name, row in rows.items():
        assert row["default_for"] == default.get(name, [])
        if name in default:
            assert row["state"] == "ready"
        elif row["state"] == "not installed":
            assert "pip install '.[" in row["install"]


def test_wordllama_is_the_mean_of_its_token_vectors() -> None:
    vectors = load_model("wordllama", "text", {}).embed(TEXTS)
    assert vectors.shape == (len(TEXTS), 256)
    np.testing.assert_allclose(vectors, own_mean(TEXTS), rtol=0, atol=1e-6)
    assert not vectors[1].any()
    assert all(vectors[row].any() for row in (0, 2, 3, 4))


def test_wordllama_rows_do_not_depend_on_their_batch() -> None:
    rng = np.random.default_rng(2)
    words = " ".join(TEXTS).split()
    texts = [" ".join(rng.choice(words, rng.integers(0, 40))) for _ in range(300)]
    model = load_model(None, "text", {})
    whole = model.embed(texts)
    for size in (1, 3, 256):
        parts = [model.embed(texts[start : start + size]) for start in range(0, 300, size)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_a_run_stores_the_same_rows_for_every_batch_size(tmp_path: Path) -> None:
    path = texts_file(tmp_path, 30)
    stored = []
    for size in (1, 3, 256):
        run = miner.mine(
            {
                "dataset": {"path": str(path)},
                "model": {"batch_size": size},
                "output": {"path": str(tmp_path / f"out-{size}")},
                "gates": {"min_rows": 0},
            }
        )
        folder = tmp_path / f"out-{size}" / ".store" / run.manifest["store"]
        stored.append((folder / "vectors-0.f32").read_bytes())
    assert stored[0] == stored[1] == stored[2]
    rows = np.frombuffer(stored[0], "<f4").reshape(-1, 256)
    wanted = own_mean([t for n, t in enumerate(pq.read_table(path)["text"].to_pylist()) if n != 1])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(rows, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_pixels_are_the_values_of_the_image(dtype: Any) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (5, 6)).astype(dtype)
    vectors = load_model("pixels", "image", {}).embed(pixels)
    assert vectors.dtype == np.float64 and vectors.tolist() == pixels.tolist()


@pytest.mark.parametrize("dtype", [np.int32, np.float16, np.float32, np.float64])
def test_precomputed_hands_the_vectors_on(dtype: Any) -> None:
    given = (8 * np.random.default_rng(1).standard_normal((5, 4))).astype(dtype)
    vectors = load_model("precomputed", "vectors", {}).embed(given)
    assert vectors.dtype.kind == "f" and vectors.tolist() == given.tolist()


COUNT = "np.array([[t.count(c) for c in 'abc'] for t in batch], dtype=float)"
OWN = {
    "function": (f"def found(batch):\n    return {COUNT}", 1, {}),
    "float32": (f"def found(batch):\n    return {COUNT}.astype('f4')", 1, {}),
    "class": (
        "class found:\n    def __init__(self, scale=1.0):\n        self.scale = scale\n"
        f"    def embed(self, batch):\n        return self.scale * {COUNT}",
        2,
        {"scale": 2},
    ),
    "instance": (
        f"class It:\n    def encode(self, batch):\n        return {COUNT}\nfound = It()",
        1,
        {},
    ),
    "model": (
        "import miner\nclass found(miner.Model):\n    kinds = frozenset({'text'})\n"
        f"    def embed(self, batch):\n        return {COUNT}\n    def weights(self):\n"
        "        return 'v1'",
        1,
        {},
    ),
    "nested": (
        "class Box:\n    @staticmethod\n    def embed(batch):\n        return "
        f"{COUNT}\nclass outer:\n    inner = Box\nfound = outer",
        1,
        {},
    ),
}


@pytest.mark.parametrize("form", OWN)
def test_a_model_of_the_current_folder(form: str, here: Path) -> None:
    body, scale, options = OWN[form]
    module(here, body)
    path = texts_file(here)
    name = "mymodel:found.inner" if form == "nested" else "mymodel:found"
    run = miner.mine(job(path, name, options=options))
    texts = pq.read_table(path)["text"].to_pylist()
    counts = [scale * np.array([t.count(c) for c in "abc"], float) for t in texts]
    found = distances(run)
    assert len(found) > 50 and not any(1 in pair for pair in found)
    for (a, x), value in found.items():
        assert value == np.float32(np.sqrt(((counts[a] - counts[x]) ** 2).sum(-1)))
    facts = run.manifest["model"]
    assert (facts["id"], facts["dim"], facts["options"]) == (name, 3, options)
    assert facts["weights"] == "v1" if form == "model" else facts["weights"].startswith("canary:")


BROKEN = {
    "rows": ("np.ones((len(batch) - 1, 3))", ["shape (7, 3)", "batch of 8 rows", "(8, dim)"]),
    "flat": ("np.ones(len(batch))", ["shape (8,)", "(8, dim)"]),
    "integers": ("np.ones((len(batch), 3), dtype=int)", ["int64", "floats"]),
    "objects": ("[[t] for t in batch]", ["<U", "floats"]),
    "nothing": ("None", ["shape ()", "(8, dim)"]),
    "no dimensions": ("np.ones((len(batch), 0))", ["0 dimensions"]),
    "NaN": (
        "np.array([[np.nan if t.startswith('ab' * 8) else 1.0, 2.0] for t in batch])",
        ["texts.parquet, row 7:", "NaN"],
    ),
    "infinite": (
        "np.array([[1.0, np.inf if t.startswith('ab' * 12) else 1.0] for t in batch])",
        ["texts.parquet, row 11:", "infinite"],
    ),
    "too large": (
        "np.array([[1e39 if t.startswith('ab' * 10) else 1.0] for t in batch])",
        ["texts.parquet, row 9:", "float32"],
    ),
    "another dimension": (
        "np.ones((len(batch), 3 if any(len(t) > 22 for t in batch) else 2))",
        ["3 dimensions", "texts.parquet, row 9", "2 before"],
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_model_is_named_with_the_row(fault: str, here: Path) -> None:
    value, words = BROKEN[fault]
    module(here, f"def found(batch):\n    return {value}")
    path = texts_file(here)
    with pytest.raises(DataError) as caught:
        miner.mine(job(path, "mymodel:found", batch_size=4))
    message = str(caught.value)
    for word in ["'mymodel:found'", *words]:
        assert word in message
    assert len(message.splitlines()) <= 2
    assert not (here / "out" / "latest").exists() and not (here / "out" / "latest.json").exists()


@pytest.mark.parametrize(
    ("body", "name", "words"),
    [
        ("def found(batch):\n    raise RuntimeError('no device')", "found", ["no device"]),
        (
            "class found:\n    def __init__(self):\n        raise OSError('no file')",
            "found",
            ["no file"],
        ),
        ("def found(batch:", "found", ["mymodel"]),
        ("raise RuntimeError('no licence')", "found", ["no licence"]),
        ("import notthere_xyz", "found", ["notthere_xyz"]),
        ("from pathlib import Pth", "found", ["Pth"]),
        ("found = 5", "found", ["5", "function"]),
        ("def embedder(batch):\n    return batch", "embeder", ["'embeder'", "'embedder'"]),
    ],
)
def test_a_model_that_fails_is_no_internal_error(
    body: str, name: str, words: list[str], here: Path
) -> None:
    """The user's own code is named with what it said: exit code 2 or 3, never 1."""
    module(here, body)
    with pytest.raises(MineError) as caught:
        miner.mine(job(texts_file(here), f"mymodel:{name}"))
    assert caught.value.exit_code in (2, 3)
    for word in [f"mymodel:{name}", *words]:
        assert word in str(caught.value)


def test_options_of_a_class_are_checked(here: Path) -> None:
    module(here, "class found:\n    def __init__(self, scale):\n        pass\n    embed = print")
    path = texts_file(here)
    with pytest.raises(UsageError, match=r"'mymodel:found'.*options.*scal"):
        miner.mine(job(path, "mymodel:found", options={"scal": 1}))
    module(here, "def found(batch):\n    return batch")
    del sys.modules["mymodel"]
    importlib.invalidate_caches()
    with pytest.raises(UsageError, match=r"'mymodel:found' is not a class: model\.options"):
        miner.mine(job(path, "mymodel:found", options={"scale": 1}))


@pytest.mark.parametrize(
    ("name", "column", "values", "words"),
    [
        ("pixels", "text", ["a", "b", "c", "d"], ["'pixels'", "image", "text"]),
        ("wordllama", "image", [[1, 2]] * 4, ["'wordllama'", "text", "image"]),
        ("wordllama", "embedding", [[0.5, 2.0]] * 4, ["'wordllama'", "text"]),
    ],
)
def test_the_wrong_kind_of_content_is_refused(
    name: str, column: str, values: list[Any], words: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({column: values, "label": [0, 0, 1, 1]}), path)
    with pytest.raises(UsageError) as caught:
        miner.mine(job(path, name))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("kind", ["function", "weights"])
def test_a_retrained_model_is_embedded_again(kind: str, here: Path) -> None:
    scaled = f"float(Path('scale.txt').read_text()) * {COUNT}"
    if kind == "function":
        module(here, f"def found(batch):\n    return {scaled}")
    else:
        module(
            here,
            f"class found:\n    def embed(self, batch):\n        return {scaled}\n"
            "    def weights(self):\n        return Path('scale.txt').read_text()\n",
        )
    path = texts_file(here)
    (here / "scale.txt").write_text("1")
    counts = []
    for scale, margin in (("1", 0.2), ("1", 0.4), ("3", 0.4), ("3", 0.2), ("1", 0.2)):
        (here / "scale.txt").write_text(scale)
        run = miner.mine(job(path, "mymodel:found", margin))
        embedding = run.manifest["embedding"]
        assert embedding["rows"] == 11
        counts.append((embedding["computed"], embedding["reused"]))
        texts = pq.read_table(path)["text"].to_pylist()
        sizes = [float(scale) * np.array([t.count(c) for c in "abc"]) for t in texts]
        for (a, x), value in distances(run).items():
            assert value == np.float32(np.sqrt(((sizes[a] - sizes[x]) ** 2).sum(-1)))
    assert counts == [(11, 0), (0, 11), (11, 0), (0, 11), (0, 11)]


def test_a_registered_model_is_embedded_once_for_all_margins(tmp_path: Path) -> None:
    path = texts_file(tmp_path)
    first = miner.mine(job(path, "wordllama", 0.2))
    second = miner.mine(job(path, "wordllama", 0.5))
    assert first.path != second.path
    assert (first.manifest["embedding"]["computed"], first.manifest["embedding"]["reused"]) == (
        11,
        0,
    )
    assert (second.manifest["embedding"]["computed"], second.manifest["embedding"]["reused"]) == (
        0,
        11,
    )
    assert first.manifest["model"]["weights"] == second.manifest["model"]["weights"]
