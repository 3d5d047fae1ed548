"""Contents of the sets: classes of several items, which are similar but not equal."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("matplotlib", reason="its typefaces: make extras")

from tests.proof.images import letters
from tests.proof.networks import embedded
from tests.proof.texts import intents_head


def test_letters_are_drawn_in_sixteen_faces() -> None:
    made = letters()
    assert made.inputs.shape == (300 * 16, 28 * 28)
    assert (np.bincount(made.labels) == 16).all()
    ink = made.inputs.sum(1)
    assert ink.min() > 5 and made.inputs.max() == 1.0
    assert np.array_equal(letters().inputs, made.inputs)
    first = made.inputs[::16]
    assert len(np.unique(first, axis=0)) == len(first)
    again = np.array(
        [len(np.unique(made.inputs[made.labels == name], axis=0)) for name in range(9)]
    )
    assert (again > 8).all(), "typefaces give equal images"


def test_letters_fit_their_squares() -> None:
    """Letters are not cut off: the border of the images is nearly empty."""
    squares = letters().inputs.reshape(-1, 28, 28)
    border = np.concatenate([squares[:, [0, -1]], squares[:, :, [0, -1]].swapaxes(1, 2)], axis=1)
    assert (border.max((1, 2)) > 0.5).mean() < 0.05


def test_intents_are_the_sample_data() -> None:
    made = intents_head()
    assert made.inputs.shape == (400, 256)
    assert np.bincount(made.labels).tolist().count(0) == 0
    assert len(np.unique(made.labels)) == 25
    assert np.allclose(embedded(made.network(), made.inputs), made.inputs, atol=1e-6)
