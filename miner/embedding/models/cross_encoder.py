"""Cross-encoders of the library sentence-transformers, which score a pair of texts together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import CrossEncoder

from miner.embedding.models.torch_weights import choose_device, state_digest
from miner.errors import UsageError
from miner.storage.urls import expanded

__all__ = ["CrossEncoderScores"]


class CrossEncoderScores:
    """Scores pairs of texts with a ``CrossEncoder``.

    Parameters
    ----------
    path : str
        A folder, or a name on the Hugging Face hub.
    """

    def __init__(self, path: str) -> None:
        local = expanded(path)
        if path.startswith((".", "/", "~")) and not local.is_dir():
            raise UsageError(f"rescorer 'cross-encoder': no such folder: {path}; check it")
        name = str(local) if local.is_dir() else path
        self._model = CrossEncoder(name, device=choose_device(None), trust_remote_code=False)

    def __call__(self, pairs: list[tuple[str, str]]) -> NDArray[np.float64]:
        """Return a score a pair, by the model's own activation."""
        scores = self._model.predict(pairs, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(scores, dtype=np.float64)

    def weights(self) -> str:
        """Return the checksum of all tensors, the structure and the tokenizer."""
        tokenizer = getattr(self._model.tokenizer, "backend_tokenizer", None)
        words = tokenizer.to_str() if tokenizer is not None else ""
        return state_digest(self._model.model.state_dict(), str(self._model), words)
