"""Folders of image files. The label of an image is the name of its folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from miner.datasets.base import data_errors
from miner.datasets.formats.files import check_names
from miner.errors import DataError

__all__ = ["SUFFIXES", "ImageFolder", "has_images", "open_images"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""Extensions of image files."""
_SPLITS = {"train", "test", "val", "valid", "validation", "dev"}
_FILES = 256
_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """A table of images: `image` (bytes), `id` (path in the folder), `label` and `split`."""

    where: str
    files: tuple[Path, ...]
    texts: Mapping[str, Sequence[str]]
    untyped: ClassVar[bool] = False
    hints: ClassVar[dict[str, str]] = {
        "label": "has images, but not in folders by class (class/file.png); sort them, or "
        "name a table of paths and labels"
    }

    @property
    def types(self) -> dict[str, Any]:
        """The Arrow types; `label` and `split` exist only if folders name classes and splits."""
        return {"image": pa.binary(), **dict.fromkeys(self.texts, pa.string())}

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Stream the named columns; files are read only if `image` is one of them."""
        wanted = list(dict.fromkeys(columns))
        start = 0
        while start < len(self.files):
            contents, end = self._read(start) if "image" in wanted else ([], start + 4096)
            end = min(end, len(self.files))
            arrays = [
                pa.array(contents, pa.binary())
                if name == "image"
                else pa.array(self.texts[name][start:end], pa.string())
                for name in wanted
            ]
            yield pa.RecordBatch.from_arrays(arrays, names=wanted)
            start = end

    def _read(self, start: int) -> tuple[list[bytes], int]:
        contents: list[bytes] = []
        size = 0
        for file in self.files[start : start + _FILES]:
            with data_errors(str(file)):
                contents.append(file.read_bytes())
            size += len(contents[-1])
            if size >= _BYTES:
                break
        return contents, start + len(contents)


def has_images(folder: Path) -> bool:
    """Whether a folder holds an image file, at any depth."""
    return any(_is_image(file, folder) for file in folder.rglob("*"))


def _is_image(file: Path, root: Path) -> bool:
    hidden = any(part.startswith((".", "__")) for part in file.relative_to(root).parts)
    return file.suffix.lower() in SUFFIXES and not hidden and file.is_file()


def open_images(folder: Path) -> ImageFolder:
    """Open a folder ``class/file`` or ``split/class/file``, in the order of the paths.

    Raises
    ------
    DataError
        If some images lie in class folders and others do not.
    """
    found = [file for file in folder.rglob("*") if _is_image(file, folder)]
    check_names(found)
    names = sorted(file.relative_to(folder).as_posix() for file in found)
    parts = [name.split("/") for name in names]
    files = tuple(folder / name for name in names)
    flat = [name for name, part in zip(names, parts, strict=True) if len(part) == 1]
    if flat and len(flat) < len(names):
        raise DataError(f"{folder}: {flat[0]} lies in no class folder, as others do; move it")
    split = all(len(part) > 2 and part[0].lower() in _SPLITS for part in parts)
    texts = {"id": names}
    if not flat:
        texts["label"] = [part[-2] for part in parts]
    if split:
        texts["split"] = [part[0] for part in parts]
    return ImageFolder(str(folder), files, texts)
