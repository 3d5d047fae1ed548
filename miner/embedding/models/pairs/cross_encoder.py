"""Cross-encoders of the library sentence-transformers, which read a pair of texts together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from sentence_transformers import CrossEncoder

from miner.embedding.models.hub.loading import load_folder_or_name
from miner.embedding.models.pairs.base import PairScorer, PairTexts
from miner.embedding.models.torch_weights import choose_device, state_digest
from miner.errors import UsageError

__all__ = ["CrossEncoderScores"]

_VERSION = 1


class CrossEncoderScores(PairScorer):
    """Scores pairs of texts with a ``CrossEncoder`` that has one output.

    Parameters
    ----------
    path : str
        A folder, or a name on the Hugging Face hub.
    max_length : int, optional
        Tokens after which a pair is cut; default: the model's limit.
    device : str, optional
        Such as ``cuda:1``; default: a GPU if there is one.
    """

    placement = frozenset({"device"})

    def __init__(self, path: str, max_length: int | None = None, device: str | None = None) -> None:
        if max_length is not None and (type(max_length) is not int or max_length < 1):
            raise UsageError(
                f"teacher.options.max_length = {max_length!r} must be a whole number of 1 or more"
            )
        arguments: dict[str, Any] = {} if max_length is None else {"max_length": max_length}
        self._model = load_folder_or_name(
            CrossEncoder,
            path,
            "teacher 'cross-encoder'",
            "a function of yours can load it and be the teacher",
            device=choose_device(device),
            **arguments,
        )
        if self._model.num_labels != 1:
            raise UsageError(
                f"teacher.model = 'cross-encoder:{path}' has {self._model.num_labels} outputs; a "
                "teacher has one, the relevance"
            )
        activation = self._model.activation_fn
        self.activation = "sigmoid" if isinstance(activation, torch.nn.Sigmoid) else None
        self.logits = isinstance(activation, torch.nn.Identity)
        own = self.logits or self.activation is not None
        self._activation = torch.nn.Identity() if own else activation

    def score(self, pairs: PairTexts) -> Any:
        """Return the logit of each pair; the score if the activation is an unusual one."""
        return self._model.predict(
            pairs,
            show_progress_bar=False,
            convert_to_numpy=True,
            activation_fn=self._activation,
        )

    def weights(self) -> str:
        """Return the checksum of all tensors, the structure and the tokenizer."""
        tokenizer = getattr(self._model.tokenizer, "backend_tokenizer", None)
        words = tokenizer.to_str() if tokenizer is not None else ""
        return state_digest(self._model.model.state_dict(), str(self._model), words)

    def facts(self) -> Mapping[str, Any]:
        """Return the options that decide the scores."""
        return {"version": _VERSION, "max_length": self._model.max_length}
