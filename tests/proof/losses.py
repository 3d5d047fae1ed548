"""The losses of the proof, for a batch of vectors (roles, n, dim) with labels (roles, n)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, relu

__all__ = ["LOSSES", "MARGIN"]

MARGIN = 0.2
"""Margin of mining and of the loss, for Euclidean distances of unit vectors, the default."""
_SCALE = 20.0
"""Scale of cosines in the ranking loss: the default of sentence-transformers."""


def triplet(vectors: Tensor, labels: Tensor) -> Tensor:
    """Return the mean hinge loss of the triplets of the batch."""
    anchors, positives, negatives = vectors
    near = (anchors - positives).norm(dim=1)
    far = (anchors - negatives).norm(dim=1)
    return relu(near - far + MARGIN).mean()


def ranking(vectors: Tensor, labels: Tensor) -> Tensor:
    """Return the multiple negatives ranking loss: each positive against all rows except anchors.

    Other rows with the anchor's label are left out of the sum, because they are not negatives.
    """
    anchors, others = vectors[0], vectors[1:].flatten(0, 1)
    same = labels[0][:, None] == labels[1:].flatten()
    same[range(len(anchors)), range(len(anchors))] = False
    scores = (anchors @ others.T * _SCALE).masked_fill(same, -torch.inf)
    return cross_entropy(scores, torch.arange(len(anchors)))


def batch_all(vectors: Tensor, labels: Tensor) -> Tensor:
    """Return the mean hinge loss of the non-easy triplets of the batch (Hermans et al. 2017)."""
    items, names = vectors.flatten(0, 1), labels.flatten()
    apart = (2 - 2 * items @ items.T).clamp_min(1e-12).sqrt()  # distances of unit vectors
    same = names[:, None] == names
    anchors, positives = torch.nonzero(same & ~torch.eye(len(names), dtype=torch.bool)).T
    hinge = relu(apart[anchors, positives][:, None] - apart[anchors] + MARGIN)
    hinge = hinge[~same[anchors]]
    return hinge.sum() / (hinge > 0).sum().clamp_min(1)


def batch_semi_hard(vectors: Tensor, labels: Tensor) -> Tensor:
    """Return the mean hinge loss of the pairs' nearest semi-hard negatives (FaceNet, 3.2).

    Pairs without a semi-hard negative are left out.
    """
    items, names = vectors.flatten(0, 1), labels.flatten()
    apart = (2 - 2 * items @ items.T).clamp_min(1e-12).sqrt()  # distances of unit vectors
    same = names[:, None] == names
    anchors, positives = torch.nonzero(same & ~torch.eye(len(names), dtype=torch.bool)).T
    near, far = apart[anchors, positives][:, None], apart[anchors]
    semi_hard = ~same[anchors] & (far > near) & (far < near + MARGIN)
    nearest = far.masked_fill(~semi_hard, torch.inf).amin(dim=1)
    some = semi_hard.any(dim=1)
    hinge = relu(near[some, 0] - nearest[some] + MARGIN)
    return hinge.sum() / some.sum().clamp_min(1)


LOSSES = {
    "triplet": triplet,
    "ranking": ranking,
    "batch-all": batch_all,
    "batch-semi-hard": batch_semi_hard,
}
