"""The losses of the proof: of a batch of vectors (roles, n, dim) with labels (roles, n)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, relu

__all__ = ["LOSSES", "MARGIN"]

MARGIN = 0.2
"""Of mining and of the loss: Euclidean distances of unit vectors, as `mine` has them by default."""
_SCALE = 20.0
"""Of cosines in the ranking loss: the default of sentence-transformers."""


def triplet(vectors: Tensor, labels: Tensor) -> Tensor:
    """Return the mean hinge of the batch's triplets."""
    anchors, positives, negatives = vectors
    near = (anchors - positives).norm(dim=1)
    far = (anchors - negatives).norm(dim=1)
    return relu(near - far + MARGIN).mean()


def ranking(vectors: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of multiple negatives: each positive among all rows but the anchors.

    Others of the anchor's own label are left out of the sum: they are no negatives.
    """
    anchors, others = vectors[0], vectors[1:].flatten(0, 1)
    same = labels[0][:, None] == labels[1:].flatten()
    same[range(len(anchors)), range(len(anchors))] = False
    scores = (anchors @ others.T * _SCALE).masked_fill(same, -torch.inf)
    return cross_entropy(scores, torch.arange(len(anchors)))


def batch_all(vectors: Tensor, labels: Tensor) -> Tensor:
    """Return the mean hinge of the batch's triplets that are not easy (Hermans et al. 2017)."""
    items, names = vectors.flatten(0, 1), labels.flatten()
    apart = (2 - 2 * items @ items.T).clamp_min(1e-12).sqrt()  # of unit vectors
    same = names[:, None] == names
    anchors, positives = torch.nonzero(same & ~torch.eye(len(names), dtype=torch.bool)).T
    hinge = relu(apart[anchors, positives][:, None] - apart[anchors] + MARGIN)
    hinge = hinge[~same[anchors]]
    return hinge.sum() / (hinge > 0).sum().clamp_min(1)


def batch_semi_hard(vectors: Tensor, labels: Tensor) -> Tensor:
    """Return the mean hinge of each pair's nearest semi-hard negative in the batch (FaceNet, 3.2).

    Pairs without one are left out.
    """
    items, names = vectors.flatten(0, 1), labels.flatten()
    apart = (2 - 2 * items @ items.T).clamp_min(1e-12).sqrt()  # of unit vectors
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
