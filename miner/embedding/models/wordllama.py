"""The default text model: the mean of the static token vectors of WordLlama (MIT licence).

Only the token matrix and the tokenizer of the package `wordllama` are used, not its code. The mean
is computed in float64 for each text, so it does not depend on the batch; an empty text is a zero
vector.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from miner.embedding.models.base import Batch, Model, weight_files
from miner.errors import UsageError

__all__ = ["WordLlama"]


class WordLlama(Model):
    """Static text embeddings of 256 dimensions."""

    kinds: ClassVar[frozenset[str]] = frozenset({"text"})

    def __init__(self) -> None:
        spec = importlib.util.find_spec("wordllama")
        assert spec is not None and spec.submodule_search_locations  # checked by the registry
        folder = Path(next(iter(spec.submodule_search_locations)))
        self._files = (
            folder / "weights" / "l2_supercat_256.safetensors",
            folder / "tokenizers" / "l2_supercat_tokenizer_config.json",
        )
        missing = [str(file) for file in self._files if not file.exists()]
        if missing:
            raise UsageError(f"model 'wordllama': {missing[0]} is missing; reinstall wordllama")
        self._tokens = load_file(self._files[0])["embedding.weight"].astype(np.float32)
        self._tokenizer = Tokenizer.from_file(str(self._files[1]))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def embed(self, batch: Batch) -> NDArray[np.floating]:
        """Return the mean token vector of each text, shape (b, 256); zero for an empty text."""
        encoded = self._tokenizer.encode_batch(list(batch), add_special_tokens=False)
        vectors = np.zeros((len(encoded), self._tokens.shape[1]), dtype=np.float32)
        for row, text in enumerate(encoded):
            if text.ids:
                tokens = np.minimum(np.asarray(text.ids), len(self._tokens) - 1)
                vectors[row] = self._tokens[tokens].mean(axis=0, dtype=np.float64)
        return vectors

    def weights(self) -> str:
        """Return the checksum of the token matrix and the tokenizer."""
        return weight_files(*self._files)
