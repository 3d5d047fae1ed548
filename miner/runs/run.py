"""A finished run, on a disk or in object storage, and its files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from miner.errors import StorageError, UsageError, did_you_mean
from miner.formatting import without_secrets
from miner.runs.manifest_schema import manifest_checksum
from miner.runs.shards import parquet_errors
from miner.runs.totals import shares_table, short_lines
from miner.storage.files import sha256_file, storage_errors
from miner.storage.json_files import digest
from miner.storage.locks import reader_lock
from miner.storage.remote.arrow_files import arrow_files
from miner.storage.remote.base import Folder
from miner.storage.remote.copies import SCRATCH, copy_entry, hold_copy, safe_names
from miner.storage.urls import fetched_folder, local_root
from miner.triplets.hardness import OUTPUT_FOLDERS, class_name

if TYPE_CHECKING:
    import pyarrow.dataset

__all__ = [
    "CENSUS",
    "MANIFEST",
    "REPORT",
    "Run",
    "copied_folder",
]

MANIFEST, CENSUS, REPORT = "manifest.json", "census.parquet", "report.html"
_REMEDY = "restore it, or mine again (mine run --force)"


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """A finished run.

    Attributes
    ----------
    path : Path
        The folder of the run; for a run in object storage, the local folder of copies of its files.
    manifest : dict
        All facts of the run; see the README.
    remote : Folder or None
        The folder in object storage; None for a run on a disk.

    Examples
    --------
    >>> import miner
    >>> run = miner.open_run("mined/latest")          # doctest: +SKIP
    >>> run.manifest["census"]["hard"]                # doctest: +SKIP
    64246721
    """

    path: Path
    manifest: dict[str, Any]
    remote: Folder | None = field(default=None, compare=False)
    _whole: set[str] = field(default_factory=set, init=False, repr=False, compare=False)
    """Files whose checksums have already been verified."""

    def __repr__(self) -> str:
        """Return three lines: what the run is of, the shares of the classes, and what it wrote."""
        return "\n".join(short_lines(self.manifest, self.where))

    def _repr_html_(self) -> str:
        """Return a table of the classes with their shares, for notebooks."""
        return shares_table(self.manifest, self.where)

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return str(self.manifest["run_id"])

    @property
    def where(self) -> str:
        """The path or URL of the run's folder."""
        return str(self.path) if self.remote is None else self.remote.url

    @property
    def root(self) -> Path:
        """The local output root or work folder, which may contain the run's embedding store."""
        if self.remote is None:
            return self.path.parent.parent
        return local_root(self.remote.url.rpartition("/runs/")[0] or self.remote.url)

    def census(self) -> pa.Table:
        """Return the counts per anchor, a ``pyarrow.Table``.

        Raises
        ------
        StorageError
            If the file is missing, or its checksum differs from the manifest.
        """
        path = self.file(CENSUS)
        with parquet_errors(path):
            return pq.read_table(path)

    def triplets(self, difficulty: str) -> pyarrow.dataset.Dataset:
        """Return the triplets of a class, a ``pyarrow.dataset.Dataset``.

        On a disk, the checksum of each shard is verified first, once per object; this takes one
        second per GB. Shards in object storage are not copied: only the requested columns and rows
        are transferred, and only damage that breaks the Parquet format is detected; `verify_run`
        detects any damage.

        Parameters
        ----------
        difficulty : str
            ``hard``, ``semi_hard`` (or ``semi-hard``), or ``suspects`` if the job keeps them.

        Raises
        ------
        UsageError
            If the run has no class of this name.
        StorageError
            If a shard is missing or damaged.
        """
        known = [name for name in OUTPUT_FOLDERS if name in self.manifest["written"]]
        if (difficulty := class_name(difficulty)) not in known:
            hint = did_you_mean(difficulty, known)
            raise UsageError(f"no triplets of class {difficulty!r}: {hint}")
        return self._dataset(self._shards(difficulty))

    def schema(self) -> pa.Schema:
        """Return the schema of the shards, a ``pyarrow.Schema``; an empty class also has a shard.

        Raises
        ------
        StorageError
            If the first shard is missing or damaged.
        """
        first = self.manifest["shards"][:1]
        if not first:
            raise StorageError(f"{self.where}/{MANIFEST} names no shards; {_REMEDY}")
        return self._dataset(first).schema

    def _dataset(self, shards: list[dict[str, Any]]) -> pyarrow.dataset.Dataset:
        import pyarrow.dataset  # not at the top: it loads pandas if installed, which no run needs

        system = None if self.remote is None else arrow_files(self.remote)
        names = [shard["path"] if system else str(self._checked(shard)) for shard in shards]
        with self.reading():
            return pyarrow.dataset.dataset(names, format="parquet", filesystem=system)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn Arrow's errors into a `StorageError` in this context."""
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            said = without_secrets(str(error).strip().splitlines()[0])
            raise StorageError(f"{self.where}: {said}; see mine verify") from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Prevent `mine prune` from removing the run in this context; only for a run on a disk."""
        local = self.remote is None
        with reader_lock(self.path / MANIFEST) if local else nullcontext():
            yield

    def part_paths(self, difficulty: str) -> list[str]:
        """Return the local paths of the shards of a class, in order; see `file`."""
        return [str(self._checked(shard)) for shard in self._shards(difficulty)]

    def _shards(self, difficulty: str) -> list[dict[str, Any]]:
        shards = self.manifest["shards"]
        return [shard for shard in shards if shard["path"].startswith(f"{difficulty}/")]

    def file(self, name: str) -> Path:
        """Return the local path of one of the run's files; a remote file is copied first.

        The checksum of the file is verified, once per object.

        Raises
        ------
        StorageError
            If the file is missing or damaged, is a link, or is not named by the manifest.
        """
        facts = next((file for file in self.named_files() if file["path"] == name), None)
        if facts is None:
            raise StorageError(f"{self.where}/{MANIFEST} names no {name}; see mine verify")
        return self._checked(facts)

    def _checked(self, facts: Mapping[str, Any]) -> Path:
        """Return the local path of a file after its checksum has been verified."""
        target, name = self._here(facts), str(facts["path"])
        stated = self.manifest.get("checksum")
        if MANIFEST not in self._whole and stated is not None:  # a staged run has no checksum yet
            if stated != manifest_checksum(self.manifest):
                raise StorageError(
                    f"{self.where}/{MANIFEST} was changed: its checksum does not match; {_REMEDY}"
                )
        if name not in self._whole and sha256_file(target) != facts["sha256"]:
            raise StorageError(f"{target} was changed: its checksum does not match; {_REMEDY}")
        self._whole.update((MANIFEST, name))
        return target

    def _here(self, facts: Mapping[str, Any]) -> Path:
        """Return the local path of an existing file; a remote file is copied first."""
        name = str(facts["path"])
        target = self.path / name
        if self.remote is None:
            if target.resolve() != self.path.resolve() / name:
                raise StorageError(f"{target} is a link, not a file of the run; see mine verify")
            if not target.exists():
                raise StorageError(f"{target} is missing; {_REMEDY}")
            return target
        copied = copied_folder(self.remote, self.manifest)
        if copied in self.path.parents:
            hold_copy(copied)
        if target.exists():
            return target
        entry = self.remote.entry(name)
        if entry is None:
            raise StorageError(f"{self.where}/{name} is missing; {_REMEDY}")
        safe_names(self.remote, [entry])
        copy_entry(self.remote, entry, target, sha256=facts["sha256"])
        self._whole.add(name)
        return target

    def named_files(self) -> list[dict[str, Any]]:
        """Return the facts of all files in the manifest: path, rows, bytes, sha256."""
        return [*self.manifest["shards"], *self.manifest["files"]]

    def manifest_bytes(self) -> bytes:
        """Return the current bytes of ``manifest.json``."""
        if self.remote is not None:
            return self.remote.read(MANIFEST) or b""
        with storage_errors(self.path):
            return (self.path / MANIFEST).read_bytes()

    def sizes(self) -> dict[str, int]:
        """Return the sizes of all files in the run's folder, named by the manifest or not."""
        if self.remote is not None:
            return {entry.name: entry.bytes for entry in self.remote.entries()}
        with storage_errors(self.path):
            files = [path for path in self.path.rglob("*") if path.is_file()]
            return {path.relative_to(self.path).as_posix(): path.stat().st_size for path in files}

    def missing(self) -> list[str]:
        """Return the files named by the manifest that are missing or have another size."""
        sizes = self.sizes()
        named = self.named_files()
        return [file["path"] for file in named if sizes.get(file["path"]) != file["bytes"]]

    @contextmanager
    def afresh(self) -> Iterator[Run]:
        """Yield the run with an empty folder of copies, so that remote files are read again."""
        if self.remote is None:
            yield self
            return
        home = fetched_folder(self.where, "").parent
        with storage_errors(home):
            home.mkdir(parents=True, exist_ok=True)
            scratch = tempfile.TemporaryDirectory(dir=home, prefix=SCRATCH)
        with scratch as folder:
            yield replace(self, path=Path(folder))


def copied_folder(folder: Folder, manifest: Mapping[str, Any]) -> Path:
    """Return the local folder for copies of a remote run's files."""
    return fetched_folder(folder.url, f"{folder.url}\n{digest(manifest)}")
