"""Arrow IPC files (``.arrow``, ``.feather``), and streams as Hugging Face `datasets` writes.

A folder of ``save_to_disk`` holds one data set, or a dictionary of splits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from miner.datasets.base import data_errors
from miner.datasets.column_types import one_schema
from miner.datasets.formats.class_names import schema_features
from miner.datasets.formats.streamed import StreamedTable, check_filled
from miner.errors import DataError
from miner.storage.os_errors import raise_exhausted

__all__ = ["is_saved", "open_arrow", "open_saved"]

_MAGIC = b"ARROW1"


def open_arrow(path: str, files: Sequence[Path]) -> StreamedTable:
    """Open Arrow IPC files as one table."""
    return _opened_table(path, files, {})


def _opened_table(
    path: str, files: Sequence[Path], described: Mapping[Path, Path]
) -> StreamedTable:
    """Open files as one table.

    `described` maps files to the files that describe their features, which need not exist.
    """
    check_filled(files)
    schemas = {}
    for file in files:
        with data_errors(str(file)), _opened(file) as reader:
            schemas[file] = reader.schema
    features = {file: schema_features(schema) for file, schema in schemas.items()}
    there = {file: info for file, info in described.items() if info.is_file()}
    facts = {info: _description(info).get("features") for info in dict.fromkeys(there.values())}
    features |= {file: facts[info] for file, info in there.items()}
    schema, faults = one_schema(schemas)
    table = StreamedTable(path, tuple(files), schema, _stream, {}, faults=faults)
    return replace(table.with_names(features), described=tuple(facts))


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    with pa.memory_map(str(file)) as source:
        with file.open("rb") as start:
            whole = start.read(len(_MAGIC)) == _MAGIC
        with pa.ipc.open_file(source) if whole else pa.ipc.open_stream(source) as reader:
            yield reader


def _stream(file: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with _opened(file) as reader:
        if isinstance(reader, pa.ipc.RecordBatchFileReader):
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number).select(list(columns))
        else:
            for batch in reader:
                yield batch.select(list(columns))


def is_saved(folder: Path) -> bool:
    """Whether a folder was written by ``save_to_disk``."""
    return (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()


def open_saved(folder: Path) -> StreamedTable:
    """Open a saved data set; of a dictionary all splits, with their names in a column `split`.

    Raises
    ------
    DataError
        If its description is damaged, or a dictionary's data has a column `split` already.
    """
    if not (folder / "dataset_dict.json").is_file():
        alone = _saved_files(folder)
        return _opened_table(str(folder), alone, _descriptions(alone))
    splits = _description(folder / "dataset_dict.json").get("splits", [])
    if not isinstance(splits, list) or not splits or not all(map(_is_inside, splits)):
        raise DataError(f"{folder / 'dataset_dict.json'} names no splits; save the data set again")
    files = {name: _saved_files(folder / name) for name in splits}
    every = [file for part in files.values() for file in part]
    table = _opened_table(str(folder), every, _descriptions(every))
    if "split" in table.types:
        raise DataError(
            f"{folder} has a column 'split' and splits ({', '.join(splits)}) too; name one split, "
            f"such as {folder / splits[0]}"
        )
    values = {file: name for name, part in files.items() for file in part}
    schema = table.schema.append(pa.field("split", pa.string()))
    return replace(table, schema=schema, constants={"split": values})


def _descriptions(files: Sequence[Path]) -> dict[Path, Path]:
    """Return the file that describes each file of a saved data set."""
    return {file: file.with_name("dataset_info.json") for file in files}


def _saved_files(folder: Path) -> Sequence[Path]:
    state = _description(folder / "state.json")
    if state.get("_indices_data_files"):
        raise DataError(
            f"{folder} is a selection of rows of another data set; call flatten_indices() before "
            "save_to_disk()"
        )
    listed = state.get("_data_files") or []
    several = listed if isinstance(listed, list) else [listed]
    names = [one.get("filename") for one in several if isinstance(one, dict)]
    if len(names) < len(several) or not all(map(_is_inside, names)):
        raise DataError(
            f"{folder / 'state.json'} names a file that cannot lie in this folder; save the data "
            "set again"
        )
    files = [folder / str(name) for name in names]
    missing = [file for file in files if not file.is_file()]
    if missing or not files:
        raise DataError(
            f"{folder}: {missing[0] if missing else 'data'} is missing; save it to disk again"
        )
    return files


def _is_inside(name: Any) -> bool:
    """Whether a value is a relative path that does not leave its folder."""
    if not isinstance(name, str) or not name or "\0" in name:
        return False
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def _description(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise_exhausted(error, path)
        raise DataError(f"{path} cannot be read ({error}); save the data set again") from error
    if not isinstance(facts, dict):
        raise DataError(f"{path} holds no description of a data set; save the data set again")
    return facts
