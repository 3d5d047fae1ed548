"""Small random encoders of texts, saved as sentence-transformers saves them; one runs own code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.embedding.models.conftest import TEXTS
from tests.later import later

sentence_transformers = later("sentence_transformers")
torch, transformers = later("torch"), later("transformers")

OWN = """
import pathlib

pathlib.Path(__file__).with_name("ran").touch()
pathlib.Path({marker!r}).touch()

import torch
from transformers import BertConfig, BertModel


class OwnConfig(BertConfig):
    model_type = {kind!r}


class OwnModel(BertModel):
    config_class = OwnConfig

    def forward(self, *arguments, **options):
        output = super().forward(*arguments, **options)
        output.last_hidden_state = output.last_hidden_state * torch.arange(1.0, 17.0)
        return output
"""


def tiny_encoder(folder: Path, seed: int = 0, **config: Any) -> Path:
    """Save a BERT of one layer and 16 dimensions that knows the words of `TEXTS`."""
    folder.mkdir()
    words = sorted({word.lower() for text in TEXTS for word in text.split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(seed)
    settings = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        initializer_range=1.0,
        **config,
    )
    transformers.BertModel(settings).eval().save_pretrained(folder)
    sentence_transformers.SentenceTransformer(str(folder), device="cpu").save(str(folder))
    return folder


def encoder_with_code(folder: Path, marker: Path, kind: str = "own") -> Path:
    """Save an encoder whose code scales the dimensions, and makes the file `marker` if it runs."""
    tiny_encoder(folder)
    (folder / "own.py").write_text(OWN.format(marker=str(marker), kind=kind))
    change(folder / "config.json", model_type=kind, auto_map=AUTO)
    return folder


AUTO = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}


def change(file: Path, **values: Any) -> None:
    """Change values in a JSON file."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
