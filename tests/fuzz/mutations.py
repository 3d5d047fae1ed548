"""Good bytes made bad: flipped, cut, spliced, doubled, filled, with numbers that are too large."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

__all__ = ["broken", "mutated"]

_NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
_NUMBERS += [2**62, 2**63 - 1, 2**63, 2**64 - 1]
_PIECES = [
    b"\0",
    b"\n",
    b"\r\n",
    b'"',
    b",",
    b"\t",
    b"[",
    b"]",
    b"{",
    b"}",
    b"'",
    b"\\",
    b"=",
    b".",
]
_PIECES += [b"\xef\xbb\xbf", b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\x80", b"nan", b"inf", b"-1"]
_PIECES += [b"1e999", b"null", b"true", b"%s", b"\x1b[2J", b"9" * 400, b"[" * 300, b"\\ud800", b"#"]
Edit = Callable[[Any, bytearray, Sequence[bytes]], None]


def _place(draw: Any, data: bytearray) -> int:
    return int(draw(st.integers(0, max(0, len(data) - 1))))


def _flip(draw: Any, data: bytearray, others: Sequence[bytes]) -> None:
    if data:
        data[_place(draw, data)] ^= 1 << draw(st.integers(0, 7))


def _set(draw: Any, data: bytearray, others: Sequence[bytes]) -> None:
    if data:
        data[_place(draw, data)] = draw(st.integers(0, 255))


def _cut(draw: Any, data: bytearray, others: Sequence[bytes]) -> None:
    del data[_place(draw, data) :]


def _delete(draw: Any, data: bytearray, others: Sequence[bytes]) -> None:
    start = _place(draw, data)
    del data[start : start + draw(st.integers(1, 40))]


def _double(draw: Any, data: bytearray, others: Sequence[bytes]) -> None:
    start = _place(draw, data)
    part = data[start : start + draw(st.integers(1, 60))]
    data[start:start] = part * draw(st.sampled_from([1, 2, 20]))


def _insert(draw: Any, data: bytearray, others: Sequence[bytes]) -> None:
    start = _place(draw, data)
    data[start:start] = draw(st.one_of(st.sampled_from(_PIECES), st.binary(max_size=8)))


def _splice(draw: Any, data: bytearray, others: Sequence[bytes]) -> None:
    other = draw(st.sampled_from([*others, bytes(data)]))
    start = int(draw(st.integers(0, len(other))))
    at = _place(draw, data)
    data[at : at + draw(st.integers(0, 64))] = other[start : start + draw(st.integers(0, 200))]


def _number(draw: Any, data: bytearray, others: Sequence[bytes]) -> None:
    width = draw(st.sampled_from([1, 2, 4, 8]))
    value = draw(st.sampled_from(_NUMBERS)) & (256**width - 1)
    order = draw(st.sampled_from("<>"))
    at = _place(draw, data)
    code = {1: "B", 2: "H", 4: "L", 8: "Q"}[width]
    data[at : at + width] = struct.pack(f"{order}{code}", value)


def _fill(draw: Any, data: bytearray, others: Sequence[bytes]) -> None:
    start = _place(draw, data)
    width = min(draw(st.integers(1, 32)), len(data) - start)
    data[start : start + width] = bytes([draw(st.sampled_from([0, 0xFF, 0x41]))]) * width


_EDITS: list[Edit] = [_flip, _set, _cut, _delete, _double, _insert, _splice, _number, _fill]


@st.composite
def mutated(draw: Any, good: bytes, others: Sequence[bytes] = ()) -> bytes:
    """Damage bytes in one to four places."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        draw(st.sampled_from(_EDITS))(draw, data, others)
    return bytes(data)


@st.composite
def broken(draw: Any, files: dict[str, bytes]) -> dict[str, bytes]:
    """Damage one of some files; of what is packed perhaps the inside."""
    name = draw(st.sampled_from(sorted(files)))
    content, others = files[name], list(files.values())
    inside = draw(st.booleans())
    if name.endswith(".gz") and inside:
        return {**files, name: gzip.compress(draw(mutated(gzip.decompress(content))), 1)}
    if name.endswith(".npz") and inside:
        return {**files, name: _broken_archive(draw, content)}
    return {**files, name: draw(mutated(content, others))}


def _broken_archive(draw: Any, content: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(sink, "w") as new:
        members = old.infolist()
        chosen = draw(st.sampled_from(members))
        for info in members:
            data = old.read(info)
            new.writestr(info, draw(mutated(data)) if info is chosen else data)
    return sink.getvalue()
