"""Encoded images, as bytes in a column or as paths of files; decoded by Pillow."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa

from miner.errors import UsageError, install_hint
from miner.formatting import bytes_text
from miner.storage.os_errors import raise_exhausted

__all__ = ["Pictures", "is_encoded"]

_MOST_BYTES = 512 << 20
"""Most bytes of an image file that a table names by its path."""
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO")
"""Formats that are read. Pillow's other formats may start programs (EPS) or are hardly tested."""
_UNREADABLE = "; replace the file or remove the row"

_WIDE = (1 << 16) - 1
"""White in 16 bits."""
_ALPHA = ("LA", "PA", "RGBA", "La", "RGBa")
_OPEN_RANGE = (
    " is an image of 32-bit or signed numbers (mode {}), which do not define black and white; save "
    "it with 8 or 16 bits"
)

_BYTES = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
_TEXT = (pa.types.is_string, pa.types.is_large_string)


def is_encoded(kind: Any) -> bool:
    """Whether an Arrow type holds image files: bytes, or a struct of bytes and path.

    The library `datasets` of Hugging Face writes such structs for its feature `Image`.
    """
    if pa.types.is_struct(kind):
        fields = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
        return "bytes" in fields and all(map(_is_of_image, fields.values()))
    return any(test(kind) for test in _BYTES)


def _is_of_image(kind: Any) -> bool:
    """Whether a struct of an image may have such a field: other types may not convert to Python."""
    return any(test(kind) for test in (*_BYTES, *_TEXT, pa.types.is_null))


@dataclass(frozen=True, slots=True)
class Pictures(Sequence[Any]):
    """A sequence of encoded images, which are decoded one by one on access.

    Items are ``PIL.Image.Image`` in RGB, see `decode`.
    """

    encoded: tuple[bytes, ...]

    @classmethod
    def read(cls, column: Any, folder: str, *, thorough: bool) -> tuple[Pictures, dict[int, str]]:
        """Read the images of a column; return the readable ones, and the faults of the others.

        Parameters
        ----------
        column : pyarrow.Array
            Bytes, structs of bytes and path, or paths relative to `folder`.
        thorough : bool
            Decode each image completely, instead of only its header.
        """
        good: list[bytes] = []
        faults: dict[int, str] = {}
        for row, value in enumerate(column.to_pylist()):
            content = _content(value, Path(folder))
            reason = content if isinstance(content, str) else _reason(content, thorough)
            if reason is None:
                assert isinstance(content, bytes)
                good.append(content)
            else:
                faults[row] = reason
        return cls(tuple(good)), faults

    def __len__(self) -> int:
        return len(self.encoded)

    def __iter__(self) -> Iterator[Any]:
        return (decode(content) for content in self.encoded)

    @overload
    def __getitem__(self, item: int) -> Any: ...
    @overload
    def __getitem__(self, item: slice) -> Pictures: ...
    def __getitem__(self, item: int | slice) -> Any:
        if isinstance(item, slice):
            return Pictures(self.encoded[item])
        return decode(self.encoded[item])


def _content(value: Any, folder: Path) -> bytes | str:
    """Return the bytes of an image, or a description of its fault."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if value is None:
        return " has no content; remove the row or fill it in"
    if isinstance(value, bytes):
        return value or " has an empty image; remove the row or fill it in"
    try:
        path = folder / str(value)
        if path.exists() and not path.is_file():  # a device or a pipe never ends
            return f": the image {value} is not a file{_UNREADABLE}"
        if path.stat().st_size > _MOST_BYTES:
            return f": the image {value} has more than {bytes_text(_MOST_BYTES)}{_UNREADABLE}"
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: no file can have such a name
        raise_exhausted(error, value)
        reason = getattr(error, "strerror", None) or error
        return f": the image {value!r:.200} cannot be read ({reason}){_UNREADABLE}"


def _reason(content: bytes, thorough: bool) -> str | None:
    """Return why an image cannot be decoded; None if it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error" if thorough else "ignore")
            warnings.simplefilter("error", _pillow().DecompressionBombWarning)
            with _opened(content) as image:
                if _has_open_range(image):
                    return _OPEN_RANGE.format(image.mode)
                if thorough:
                    image.load()
    except UsageError:
        raise
    except Exception as error:  # Pillow's plugins raise errors of any type on broken files
        words = " ".join(str(error).split()).replace(repr(io.BytesIO), "")
        known = "cannot identify" not in words
        return f" is not a readable image{f' ({words})' if known else ''}{_UNREADABLE}"
    return None


def _has_open_range(image: Any) -> bool:
    """Whether the mode of an image defines no range of values; a PGM of mode I has 16 bits."""
    return bool(image.mode == "F" or (image.mode == "I" and image.format != "PPM"))


def decode(content: bytes) -> Any:
    """Decode an image to RGB, rotated by its EXIF orientation; of an animation the first frame.

    16-bit grey is scaled to 8 bits, and transparent images are composed over white.

    Raises
    ------
    Exception
        Any error of Pillow on a file that it cannot decode.
    """
    image_module = _pillow()
    from PIL import ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("error", image_module.DecompressionBombWarning)
        with _opened(content) as image:
            return _rgb(ImageOps.exif_transpose(image))


def _rgb(image: Any) -> Any:
    """Convert an image to RGB. 16-bit grey is scaled, because Pillow would clip it at 255."""
    if image.mode.startswith("I"):
        return _grey(image).convert("RGB")
    if image.mode not in _ALPHA and "transparency" not in image.info:
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = _pillow().new("RGBA", image.size, "white")
    return _pillow().alpha_composite(white, image).convert("RGB")


def _grey(image: Any) -> Any:
    """Scale 16-bit grey to 8 bits; the value that a PNG declares transparent becomes white."""
    values = np.asarray(image).astype(np.int64)
    scaled = (values * 255 + _WIDE // 2) // _WIDE
    clear = image.info.get("transparency")
    if clear is not None:
        scaled[values == clear] = 255
    return _pillow().fromarray(scaled.clip(0, 255).astype(np.uint8))


def _opened(content: bytes) -> Any:
    return _pillow().open(io.BytesIO(content), formats=_FORMATS)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise UsageError(f"image files need Pillow: {install_hint('images')}") from None
    return Image
