"""Output folders that are not as they were left: runs, manifests, stores, caches."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from miner.runs.manifest_schema import manifest_checksum
from tests.fuzz.cases import Case
from tests.fuzz.good import good_output
from tests.fuzz.mutations import mutated

__all__ = ["damaged", "forged"]

_READERS: list[tuple[str, ...]] = [
    ("verify", "out/latest"),
    ("verify", "out/latest", "--full"),
    ("verify", "out/latest", "--json"),
    ("show", "out/latest"),
    ("show", "out", "--json", "--triplets", "2"),
    ("runs", "out"),
    ("runs", "out", "--json"),
    ("export", "out/latest", "--format", "triplet"),
    ("export", "out/latest", "--format", "n-tuple", "--difficulty", "both"),
    ("export", "out/latest", "--format", "labeled-list", "--ragged", "--file-format", "jsonl"),
    ("export", "out/latest", "--format", "pair", "--balance"),
    ("report", "out/latest"),
    ("report", "out", "--json", "--output", "page.html"),
    ("cache", "out"),
    ("prune", "out", "--keep", "0"),
    ("prune", "out", "--dry-run"),
]
_OUTPUTS = ("parquet", "csv", "links")
_ODD = [
    None,
    True,
    -1,
    0,
    1,
    2**63,
    10**400,
    1.5,
    1e300,
    "",
    "x",
    "../x",
    "/nowhere/x",
    "a\0b",
    [],
    {},
    [[]],
]
_ODD += [{"a": 1}, ["x"], "\x1b[2J", "9" * 500, "euclidean", "hard", "\ud800"]


def _commands(case: Case) -> list[tuple[str, ...]]:
    again, (before, after) = case.words, _runs(case)
    return [
        *_READERS,
        ("compare", before, after),
        ("compare", before, "out", "--json"),
        ("compare", after, before, "--output", "page.html"),
        again,
        (*again, "--force"),
        (*again, "--dry-run"),
        (*again, "--margin", "0.25"),
    ]


def _runs(case: Case) -> list[str]:
    """The folders of the two runs, the earlier first."""
    manifests = [name for name in case.files if name.endswith("/manifest.json")]
    return sorted(name.removesuffix("/manifest.json") for name in manifests)


@st.composite
def damaged(draw: Any) -> Case:
    """A file of an output folder, damaged."""
    case = good_output(draw(st.sampled_from(_OUTPUTS)))
    names = [name for name in case.files if name.startswith("out/")]
    files = dict(case.files)
    for _ in range(draw(st.sampled_from([1, 1, 2]))):
        name = draw(st.sampled_from(sorted(names)))
        change = draw(st.integers(0, 9))
        if change == 0:
            files.pop(name, None)
        elif change == 1:
            files[name] = draw(st.sampled_from([case.files[other] for other in sorted(names)]))
        else:
            files[name] = draw(
                mutated(files.get(name, b""), [case.files[other] for other in names])
            )
    return Case(files, draw(st.sampled_from(_commands(case))), published=True, links=case.links)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return found + [place for key, one in inner for place in _places(one, (*path, key))]


@st.composite
def forged(draw: Any) -> Case:
    """A manifest whose values are odd, sealed as if it were whole."""
    case = good_output(draw(st.sampled_from(_OUTPUTS)))
    name = draw(st.sampled_from(_runs(case))) + "/manifest.json"
    manifest = json.loads(case.files[name])
    for _ in range(draw(st.sampled_from([1, 1, 2]))):
        *path, key = draw(st.sampled_from(_places(manifest)))
        holder = manifest
        for step in path:
            holder = holder[step]
        change = draw(st.integers(0, 5))
        if change == 0:
            del holder[key]
        elif change == 1 and isinstance(holder, dict):
            holder[draw(st.sampled_from(["", "x", "../x", "hard"]))] = holder[key]
        else:
            holder[key] = draw(st.sampled_from(_ODD))
    try:
        manifest["checksum"] = manifest_checksum(manifest)
    except (UnicodeEncodeError, TypeError):
        pass
    files = {**case.files, name: json.dumps(manifest).encode()}
    return Case(files, draw(st.sampled_from(_commands(case))), published=True, links=case.links)
