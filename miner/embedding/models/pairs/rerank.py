"""A server with the usual interface of rerankers: ``POST URL`` scores the documents of a query.

The body is ``{"query", "documents", "model"}``, as Cohere, Jina, vLLM, llama.cpp and Infinity take
it; the option ``key`` names the documents, which are ``texts`` for TEI. The answer is a list of
``{"index", "score"}``, or an object with such a list in ``results``, where the score may be called
``relevance_score``.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from miner.embedding.models.http import Http
from miner.embedding.models.pairs.base import PairModel, split_pair

__all__ = ["Reranker"]

_VERSION = 1


class Reranker(Http, PairModel):
    """A remote scorer of pairs, identified by its URL, its name and its canaries.

    Parameters
    ----------
    url : str
        It ends with ``/rerank``.
    model : str
        The model's name as the server knows it.
    key : str
        The name of the documents in the request: ``documents``, or ``texts`` for TEI.
    **options
        As for the model ``http``, without ``dimensions``.
    """

    answer: ClassVar[str] = "no scores in the shape of rerankers"

    def __init__(
        self, url: str, model: str = "default", key: str = "documents", **options: Any
    ) -> None:
        super().__init__(url, model, **options)
        self._body = {"model": model}
        self._key = key

    @staticmethod
    def endpoint(base: str) -> str:
        """Return the URL itself."""
        return base

    def parts(self, texts: list[str]) -> list[list[str]]:
        """Return the pairs of each request."""
        queries = itertools.groupby(texts, key=lambda text: split_pair(text)[0])
        return [part for _, mine in queries for part in Http.parts(self, list(mine))]

    def body(self, texts: list[str]) -> dict[str, Any]:
        """Return the body of a request."""
        pairs = [split_pair(text) for text in texts]
        return {**self._body, "query": pairs[0][0], self._key: [other for _, other in pairs]}

    def read(self, content: bytes, count: int) -> list[NDArray[np.float32]]:
        """Return the score of each pair, in the order of the request.

        Raises
        ------
        ValueError
            If the answer has another form.
        """
        answer = json.loads(content)
        found = answer.get("results", answer.get("data")) if isinstance(answer, dict) else answer
        if not isinstance(found, list) or len(found) != count:
            raise ValueError(f"no list of {count} results")
        scores: dict[int, float] = {}
        for one in found:
            value = one.get("relevance_score", one.get("score")) if isinstance(one, dict) else None
            if not isinstance(value, int | float) or not isinstance(one.get("index"), int):
                raise ValueError(f"a result without index and score: {str(one)[:60]}")
            scores[one["index"]] = float(value)
        if sorted(scores) != list(range(count)) or not np.isfinite([*scores.values()]).all():
            raise ValueError(f"not one finite score for each of {count} documents")
        return [np.array([scores[index]], dtype=np.float32) for index in range(count)]

    def facts(self) -> Mapping[str, Any]:
        """Return the options that decide the scores: server, model, headers."""
        return {**Http.facts(self), "key": self._key, "version": _VERSION}
