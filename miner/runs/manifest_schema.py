"""Validates a manifest before it is used.

A manifest may be damaged, or written by another program. The keys that readers rely on are checked,
the types and bounds of their values, and that no path leads out of the run's folder. Keys that are
not listed here may have any value, so that later versions can add keys.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from miner.errors import StorageError
from miner.runs.shards import FORMAT_VERSION
from miner.storage.json_files import canonical_json, digest
from miner.triplets.distance import METRICS
from miner.triplets.hardness import MINED_CLASSES, OUTPUT_FOLDERS

__all__ = ["checked_manifest", "is_plain_name", "is_plain_path", "manifest_checksum"]

_MOST_SHOWN = 10**9
_MOST = 10**60
"""Bound on numbers: larger than any count of triplets, and representable as float64."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_UNKNOWN = ("lines_of_unknown_queries", "lines_of_unknown_documents")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=-]*")

Test = Callable[[Any], bool]
Spec = Test | Mapping[str, Any]
"""A test of a value, or the specs of the keys of a table; ``?`` at the end: the key is optional."""


def is_plain_name(name: Any) -> bool:
    """Whether a value is a plain name of a file or folder."""
    return isinstance(name, str) and len(name) <= 255 and _NAME.fullmatch(name) is not None


def is_plain_path(path: Any) -> bool:
    """Whether a value is a relative path of plain names, which cannot leave its folder."""
    return isinstance(path, str) and all(map(is_plain_name, path.split("/")))


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST


def _number(value: Any) -> bool:
    kind = isinstance(value, int | float) and not isinstance(value, bool)
    return kind and abs(value) < _MOST and math.isfinite(value)


def _margin(value: Any) -> bool:
    return _number(value) and value > 0


def _sha256(value: Any) -> bool:
    return isinstance(value, str) and _SHA256.fullmatch(value) is not None


def _counts_by_name(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_count, value.values()))


def _names_by_role(value: Any) -> bool:
    every = value.values() if isinstance(value, dict) else [None]
    return all(_text(name) or _list(_text)(name) for name in every)


def _warning(value: Any) -> bool:
    """Whether a value is a valid warning."""
    if not isinstance(value, dict) or not _text(value.get("name")) or not _text(value.get("text")):
        return False
    numbers = value.get("numbers")
    return isinstance(numbers, dict) and all(map(_number, numbers.values()))


def _run(value: Any) -> bool:
    """Whether a value is a valid run of a retriever."""
    if not isinstance(value, dict) or not _text(value.get("name")):
        return False
    counts = [value.get(name, 0) for name in ("lines", *_UNKNOWN)]
    return all(map(_count, counts))


def _files(value: Any) -> bool:
    return isinstance(value, list)  # `_file_faults` checks the items


def _some(names: Iterable[str]) -> Test:
    return lambda value: isinstance(value, str) and value in names


def _or_none(test: Test) -> Test:
    return lambda value: value is None or test(value)


def _list(test: Test, size: int | None = None) -> Test:
    """Return a test of lists of `size` items (None: any number), each of which passes `test`."""
    return lambda value: (
        isinstance(value, list) and size in (None, len(value)) and all(map(test, value))
    )


_TOTALS = dict.fromkeys(MINED_CLASSES, _count)
_ROWS_OF = {"rows": _count, "of": _count}
_WRITTEN = {**_ROWS_OF, "truncated": _flag, "wanted?": _count, "available?": _count}
_WRITTEN |= dict.fromkeys(("rejected?", "replaced?", "capped?"), _count) | {"sampled?": _flag}
_RECALL = {"recall": _number, "interval": _list(_number, 2)}
_SHAPE: dict[str, Any] = {
    "run_id": is_plain_name,
    "status?": _some(("complete",)),
    "fingerprint": _text,
    "store": is_plain_name,
    "store_checksum?": _sha256,
    "job": {
        "dataset": dict.fromkeys(("path", "queries", "corpus"), _or_none(_text)),
        "mining": {
            "margin": _margin,
            "metric": _some(METRICS),
            "normalize": _or_none(_flag),
            "neighbours?": _count,
        },
        "select": {
            "strategy": _text,
            "max_triplets": _count,
            **dict.fromkeys(("per_pair?", "per_anchor?", "per_negative?"), _count),
            "skip_nearest?": _count,
            **dict.fromkeys(
                ("absolute_margin?", "relative_margin?", "min_score?", "max_score?"),
                _or_none(_number),
            ),
            "ranks?": _or_none(_list(_count, 2)),
            **dict.fromkeys(("suspects?", "denoise?"), _flag),
        },
        "output": {"path": _text},
    },
    "dataset": {
        "kind": _some(("labelled", "pairs")),
        "skipped": _counts_by_name,
        **dict.fromkeys(("missing_names?", "corrections?"), _counts_by_name),
        "hidden": {"duplicates": _count, "group": _count},
        "classes?": _or_none(_count),
        "used?": _names_by_role,
        "unused?": _list(_text),
        **dict.fromkeys(("items?", "queries?", "corpus?", "links?"), _count),
    },
    "model": {"id": _text, "dim": _count},
    "candidates?": {
        **dict.fromkeys(("proposed", "negatives", "anchors_without"), _count),
        "runs": _list(_run),
        "own?": {"pairs": _count},
    },
    "teacher?": {"id": _text, "pairs": _count, "computed": _count, "promoted": _count},
    "embedding": {"computed": _count, "reused": _count, "zero_vectors": _count},
    "index": {
        "exact": _flag,
        "factory": _text,
        "candidates?": _count,
        "nearest": {"anchors": _count, "positive": _or_none(_number)},
        "recall?": {f"{name}?": _RECALL for name in MINED_CLASSES},
    },
    "kernels?": _some(("numba", "numpy")),
    "device?": _text,
    "census": {
        "valid": _count,
        "easy": _count,
        **_TOTALS,
        "found?": _TOTALS,
        "reused?": _flag,
        "hubs?": _ROWS_OF,
        "confusions?": {**_ROWS_OF, **_TOTALS},
        "label_noise?": _ROWS_OF,
        "gaps?": {
            "sampled?": _count,
            "error?": _number,
            "edges?": _list(_number),
            "counts?": _list(_count),
            "below?": _count,
            "above?": _count,
        },
    },
    "denoised?": _ROWS_OF,
    "written": {**dict.fromkeys(MINED_CLASSES, _WRITTEN), "suspects?": _WRITTEN},
    "warnings?": _list(_warning),
    "shards": _files,
    "files": _files,
}
_FILE = {"path": is_plain_path, "rows": _count, "bytes": _count, "sha256": _sha256}
_LABELLED, _PAIRS = ("items", "classes"), ("queries", "corpus", "links")


def checked_manifest(manifest: Any, where: str) -> dict[str, Any]:
    """Return the manifest if it is valid and of a finished run, in a format that we can read.

    Raises
    ------
    StorageError
        If it is not.
    """
    version = manifest.get("format_version") if isinstance(manifest, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise StorageError(f"{where}/manifest.json is not a run's manifest; the file is damaged")
    if version > FORMAT_VERSION:
        shown = version if version < _MOST_SHOWN else "a newer one"
        raise StorageError(
            f"{where} was made by a newer mine: it has format {shown}, this program reads up to "
            f"{FORMAT_VERSION}; install a newer version"
        )
    _check_shape(manifest, where)
    checked: dict[str, Any] = manifest
    return checked


def manifest_checksum(manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a manifest without its key `checksum`."""
    return digest({key: value for key, value in manifest.items() if key != "checksum"})


def _check_shape(manifest: Mapping[str, Any], where: str) -> None:
    """Raise an error if a manifest is invalid or of an unfinished run.

    Parameters
    ----------
    manifest : mapping
        The content of ``manifest.json``.
    where : str
        The path or URL of the run, for messages.

    Raises
    ------
    StorageError
        The message names the key and its fault, or says that the run is unfinished.
    """
    status = manifest.get("status", "complete")
    if isinstance(status, str) and status != "complete":
        raise StorageError(
            f"{where} is not a finished run: its manifest says status {status!r}; run its job again"
        )
    fault = next(_all_faults(manifest), None)
    if fault is not None:
        raise StorageError(f"{where}/manifest.json is damaged: {fault}; mine the job again")


def _all_faults(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield faults; stop at the first one, because later checks rely on earlier ones."""
    try:
        canonical_json(manifest)
    except (ValueError, RecursionError):  # lone surrogates, NaN and infinity, deep nesting
        yield "it holds text or numbers that cannot be written"
    yield from _faults(manifest, _SHAPE, "")
    yield from _file_faults(manifest)
    yield from _more(manifest)


def _faults(found: Any, spec: Spec, key: str) -> Iterator[str]:
    """Yield the differences between a value and its spec."""
    if not isinstance(spec, Mapping):
        if not spec(found):
            yield f"the value of {key} is not one that `mine` writes"
        return
    if not isinstance(found, dict):
        yield f"{key} is not a table"
        return
    for name, inner in spec.items():
        bare = name.removesuffix("?")
        if bare in found:
            yield from _faults(found[bare], inner, f"{key}.{bare}".lstrip("."))
        elif bare == name:
            yield f"{f'{key}.{bare}'.lstrip('.')} is missing"


def _file_faults(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield the faults of the lists of files; each file must be listed exactly once."""
    seen = {"manifest.json"}
    for key in ("shards", "files"):
        for number, file in enumerate(manifest[key]):
            yield from _faults(file, _FILE, f"{key}[{number}]")
            path = file["path"]
            if path in seen:
                yield f"{path} is named twice"
            seen.add(path)
            if key == "shards" and path.split("/")[0] not in OUTPUT_FOLDERS:
                yield f"{path} is in no class' folder"
    if "census.parquet" not in seen:
        yield "census.parquet is not named"


def _more(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Yield missing keys that depend on the values of others."""
    dataset, census = manifest["dataset"], manifest["census"]
    for name in _LABELLED if dataset["kind"] == "labelled" else _PAIRS:
        if dataset.get(name) is None:
            yield f"dataset.{name} is missing"
    if not manifest["index"]["exact"] and "candidates" not in manifest["index"]:
        yield "index.candidates is missing"
    named = {file["path"] for file in manifest["files"]}
    for name, table in (("hubs", "hubs.parquet"), ("confusions", "confusion.parquet")):
        if table in named and name not in census:
            yield f"census.{name} is missing"
    if "label_noise.parquet" in named and "neighbours" not in manifest["job"]["mining"]:
        yield "job.mining.neighbours is missing"
    gaps = census.get("gaps", {})
    if gaps.get("sampled"):
        edges, counts = gaps.get("edges", []), gaps.get("counts", [])
        rest = {"error", "below", "above"} - gaps.keys()
        if rest or 0.0 not in edges or edges[-1] <= 0 or len(counts) != len(edges) - 1:
            yield "census.gaps is not whole"
