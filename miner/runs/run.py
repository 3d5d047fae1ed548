"""Finished runs, on a disk or in object storage: opening one, and the files that it names."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from miner.errors import StorageError, UsageError, did_you_mean
from miner.formatting import without_secrets
from miner.runs.manifest_schema import checked_manifest, is_plain_name, manifest_checksum
from miner.runs.shards import parquet_errors
from miner.storage.files import sha256_file, storage_errors
from miner.storage.json_files import digest, parse_json, read_json
from miner.storage.locks import reader_lock
from miner.storage.remote.arrow_files import arrow_files
from miner.storage.remote.base import Folder, open_folder
from miner.storage.remote.copies import SCRATCH, copy_entry, hold_copy, safe_names
from miner.storage.urls import check_url, fetched_folder, is_url, local_root
from miner.triplets.hardness import KEPT

__all__ = [
    "CENSUS",
    "MANIFEST",
    "REPORT",
    "Run",
    "latest_id",
    "open_run",
    "read_census",
]

MANIFEST = "manifest.json"
CENSUS = "census.parquet"
_REMEDY = "restore it, or mine again (mine run --force)"
REPORT = "report.html"


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    Attributes
    ----------
    path : Path
        Its folder; of a run in object storage, where its files are copied when they are needed.
    manifest : dict
        Everything that the run says of itself; see the README.
    remote : Folder or None
        Its folder in object storage.

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
    """What was held against the manifest's checksums already."""

    @property
    def run_id(self) -> str:
        """The run's name."""
        return str(self.manifest["run_id"])

    @property
    def where(self) -> str:
        """The path or URL of its folder."""
        return str(self.path) if self.remote is None else self.remote.url

    @property
    def root(self) -> Path:
        """The output root on this machine, where the embedding store of the run may lie."""
        if self.remote is None:
            return self.path.parent.parent
        return local_root(self.remote.url.rpartition("/runs/")[0] or self.remote.url)

    def census(self) -> Any:
        """Return the counts per anchor, a ``pyarrow.Table``.

        Raises
        ------
        StorageError
            When the file is missing, or is not the one of the manifest's checksum.
        """
        path = self.file(CENSUS)
        with parquet_errors(path):
            return pq.read_table(path)

    def triplets(self, difficulty: str) -> Any:
        """Return a class' triplets, a ``pyarrow.dataset.Dataset``.

        Each shard on a disk is held against the manifest's checksum first, once for this object: a
        second per GB. In object storage they are read where they are: only the columns and rows
        that are asked of the data set cross the network, and of damage only that is found which
        Parquet's form shows; `verify_run` finds all.

        Parameters
        ----------
        difficulty : str
            ``hard``, ``semi_hard``, or ``suspects`` where the job keeps them.

        Raises
        ------
        UsageError
            On another name.
        StorageError
            When a shard is missing or damaged.
        """
        known = [name for name in KEPT if name in self.manifest["written"]]
        if difficulty not in known:
            hint = did_you_mean(difficulty, known)
            raise UsageError(f"no triplets of class {difficulty!r}: {hint}")
        return self._dataset(self._shards(difficulty))

    def schema(self) -> Any:
        """Return the schema of the shards, a ``pyarrow.Schema``: an empty class has a shard too.

        Raises
        ------
        StorageError
            When the first shard is missing or damaged.
        """
        first = self.manifest["shards"][:1]
        if not first:
            raise StorageError(f"{self.where}/{MANIFEST} names no shards; {_REMEDY}")
        return self._dataset(first).schema

    def _dataset(self, shards: list[dict[str, Any]]) -> Any:
        import pyarrow.dataset  # loads pandas where that is installed, which no run needs

        system = None if self.remote is None else arrow_files(self.remote)
        names = [shard["path"] if system else str(self._checked(shard)) for shard in shards]
        with self.reading():
            return pyarrow.dataset.dataset(names, format="parquet", filesystem=system)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn what Arrow says of a file that it cannot read into a `StorageError`."""
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            said = without_secrets(str(error).strip().splitlines()[0])
            raise StorageError(f"{self.where}: {said}; see mine verify") from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep `mine prune` from removing the run while it is read; on object storage it may."""
        local = self.remote is None
        with reader_lock(self.path / MANIFEST) if local else nullcontext():
            yield

    def part_paths(self, difficulty: str) -> list[str]:
        """Return the local paths of a class' shards, in order, each as `file` gives it."""
        return [str(self._checked(shard)) for shard in self._shards(difficulty)]

    def _shards(self, difficulty: str) -> list[dict[str, Any]]:
        shards = self.manifest["shards"]
        return [shard for shard in shards if shard["path"].startswith(f"{difficulty}/")]

    def file(self, name: str) -> Path:
        """Return the local path of one of the run's files; one that is remote is copied first.

        Its content is held against the manifest's checksum, once for this object.

        Raises
        ------
        StorageError
            When the file is missing or damaged, is a link, or is not named by the manifest.
        """
        facts = next((file for file in self.named_files() if file["path"] == name), None)
        if facts is None:
            raise StorageError(f"{self.where}/{MANIFEST} names no {name}; see mine verify")
        return self._checked(facts)

    def _checked(self, facts: Mapping[str, Any]) -> Path:
        """Return the local path of a file after a look at all of its bytes."""
        target, name = self._here(facts), str(facts["path"])
        stated = self.manifest.get("checksum")
        if MANIFEST not in self._whole and stated is not None:  # a run being made has none yet
            if stated != manifest_checksum(self.manifest):
                raise StorageError(
                    f"{self.where}/{MANIFEST} was changed: its checksum does not fit; {_REMEDY}"
                )
        if name not in self._whole and sha256_file(target) != facts["sha256"]:
            raise StorageError(f"{target} was changed: its checksum does not fit; {_REMEDY}")
        self._whole.update((MANIFEST, name))
        return target

    def _here(self, facts: Mapping[str, Any]) -> Path:
        """Return the local path of a file that is there; one that is remote is copied first."""
        name = str(facts["path"])
        target = self.path / name
        if self.remote is None:
            if target.resolve() != self.path.resolve() / name:
                raise StorageError(f"{target} is a link, not a file of the run; see mine verify")
            if not target.exists():
                raise StorageError(f"{target} is missing; {_REMEDY}")
            return target
        copied = _copied(self.remote, self.manifest)
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
        """Return what the manifest says of its files: path, rows, bytes, sha256."""
        return [*self.manifest["shards"], *self.manifest["files"]]

    def manifest_bytes(self) -> bytes:
        """Return the bytes of the manifest, as they are now."""
        if self.remote is not None:
            return self.remote.read(MANIFEST) or b""
        with storage_errors(self.path):
            return (self.path / MANIFEST).read_bytes()

    def sizes(self) -> dict[str, int]:
        """Return all files in the run's folder, those too that the manifest does not name."""
        if self.remote is not None:
            return {entry.name: entry.bytes for entry in self.remote.entries()}
        with storage_errors(self.path):
            files = [path for path in self.path.rglob("*") if path.is_file()]
            return {path.relative_to(self.path).as_posix(): path.stat().st_size for path in files}

    def links(self) -> set[str]:
        """Return what in the run's folder is a symbolic link, to a file, a folder or nothing."""
        if self.remote is not None:
            return set()
        with storage_errors(self.path):
            found = (path for path in self.path.rglob("*") if path.is_symlink())
            return {path.relative_to(self.path).as_posix() for path in found}

    def missing(self) -> list[str]:
        """Return the files that the manifest names and that are not there in their size."""
        sizes = self.sizes()
        named = self.named_files()
        return [file["path"] for file in named if sizes.get(file["path"]) != file["bytes"]]

    @contextmanager
    def afresh(self) -> Iterator[Run]:
        """Give the run without the copies that were made of its files before."""
        if self.remote is None:
            yield self
            return
        home = fetched_folder(self.where, "").parent
        with storage_errors(home):
            home.mkdir(parents=True, exist_ok=True)
            scratch = tempfile.TemporaryDirectory(dir=home, prefix=SCRATCH)
        with scratch as folder:
            yield replace(self, path=Path(folder))


def open_run(path: str | Path) -> Run:
    """Return the finished run at a path.

    Parameters
    ----------
    path : str or Path
        A run's folder, such as ``mined/latest``, or an output root, which stands for its latest;
        or the URL of one, such as ``s3://bucket/mined/latest``.

    Raises
    ------
    UsageError
        When there is nothing at the path, or a file.
    StorageError
        When there is no finished run, or one of a newer format.
    """
    if is_url(path):
        return _open_remote(check_url(str(path), "RUN"))
    folder = Path(path)
    if not folder.exists():
        raise UsageError(f"no run at {path}; `mine runs` lists those in an output folder")
    if not folder.is_dir():
        raise UsageError(f"{path} is a file; name a run's folder, or the output folder of a job")
    if not (folder / MANIFEST).exists() and (folder / "latest").exists():
        folder = folder / "latest"
    folder = folder.resolve()
    if not (folder / MANIFEST).exists():
        raise StorageError(f"{path} is not a finished run: there is no manifest.json in it")
    return Run(folder, checked_manifest(read_json(folder / MANIFEST), str(folder)))


def _open_remote(url: str) -> Run:
    """Open a run by its URL, that of an output root, or ``latest`` below one."""
    folder = open_folder(url, "RUN")
    content = folder.read(MANIFEST)
    if content is None:
        pointed = latest_id(url)
        if pointed is None and url.endswith("/latest"):
            url = url.removesuffix("/latest")
            pointed = latest_id(url)
        if pointed is None and not folder.entries():
            raise UsageError(f"no run at {url}; `mine runs` lists those in an output folder")
        if pointed is not None:
            folder = open_folder(f"{url}/runs/{pointed}", "RUN")
            content = folder.read(MANIFEST)
    if content is None:
        raise StorageError(f"{folder.url} is not a finished run: there is no manifest.json in it")
    manifest = checked_manifest(parse_json(content, f"{folder.url}/manifest.json"), folder.url)
    place = folder.url.partition("://")[2].lstrip("/")
    return Run(_copied(folder, manifest) / place, manifest, folder)


def _copied(folder: Folder, manifest: Mapping[str, Any]) -> Path:
    """Return where copies of a run's files lie, under their places in the store."""
    return fetched_folder(folder.url, f"{folder.url}\n{digest(manifest)}")


def latest_id(out: str | Path) -> str | None:
    """Return the name of the run that an output root calls its latest, None without one.

    Parameters
    ----------
    out : str or Path
        A folder or a URL.
    """
    if not is_url(out):
        latest = Path(out) / "latest"
        return latest.resolve().name if latest.exists() else None
    content = open_folder(str(out), "OUT").read("latest.json")
    facts = None if content is None else parse_json(content, f"{out}/latest.json")
    name = facts.get("run_id") if isinstance(facts, dict) else None
    return name if is_plain_name(name) else None


def read_census(run: Run) -> dict[str, NDArray[np.int64]]:
    """Read a run's census, without the ids, as NumPy arrays."""
    table = run.census()
    return {name: table[name].to_numpy() for name in table.column_names if name != "anchor_id"}
