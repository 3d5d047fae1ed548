"""`mine export`: a run's triplets in the formats that trainers take."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from miner.errors import UsageError, did_you_mean
from miner.formatting import counted
from miner.runs.run import Run
from miner.training.encoded_triplets import written_classes
from miner.training.exports.formats import FORMATS, Wish, written_batches
from miner.training.exports.ids import id_batches
from miner.training.exports.triplets import blocks, empty_block, shows_text
from miner.training.exports.writing import FILE_FORMATS, export_folder, whole_folder, write_parts

__all__ = ["export_triplets"]

_NEGATIVES = 3  # the default of mine_hard_negatives, too


def export_triplets(
    run: Run,
    name: str,
    *,
    difficulty: str | None = None,
    negatives: int | None = None,
    ragged: bool = False,
    balance: bool = False,
    clean: bool = False,
    out: str | Path | None = None,
    file_format: str = "parquet",
    force: bool = False,
) -> dict[str, Any]:
    """Write a run's triplets in one of the formats that trainers take.

    Rows are in the order of the anchors; of an anchor, pairs (anchor, positive) are in the order of
    the shards, hard before semi-hard; negatives are the nearest first. What shows the same text
    counts once: no anchor has a triplet, nor a pair a negative, twice. Memory does not grow with
    the run, but holds one anchor's rows.

    Parameters
    ----------
    run : Run
    name : str
        ``triplet`` (anchor, positive, negative); ``n-tuple`` (anchor, positive, negative_1 to
        negative_K); ``labeled-pair`` (anchor, passage, label: 1 for positives, 0 for negatives,
        each passage once an anchor); ``labeled-list`` (anchor, passages, labels: one positive and
        its K negatives); ``pair`` (anchor, other, label: as ``labeled-pair``, but a float32, for
        contrastive losses); ``ids`` (id: of all anchors, for trainers that sample their own
        batches).
    difficulty : str or None
        ``hard``, ``semi_hard`` or ``both``. Default: the classes that the run wrote rows of.
    negatives : int or None
        K, the nearest. Default: 3 for ``n-tuple`` and ``labeled-list``, else all. A pair with fewer
        is left out of these two, and counted. For ``labeled-pair`` and ``pair`` it is so many an
        anchor.
    ragged : bool
        ``labeled-list`` only: lists may be shorter, and without `negatives` hold all.
    balance : bool
        ``pair`` only: as many negatives as positives an anchor, the nearest of both, as many as it
        has of the fewer; the others are counted.
    clean : bool
        ``ids`` only: without those that ``label_noise.parquet`` lists; they are counted.
    out : str or Path, optional
        The folder to make. Default: ``exports/RUN_ID-NAME-DIFFICULTY`` beside ``runs``.
    file_format : str
        ``parquet`` or ``jsonl``.
    force : bool
        Replace an export that is there.

    Returns
    -------
    dict
        ``path``, ``rows``, ``columns``, ``content`` (``text``, or ``ids`` where the shards hold no
        texts), ``files`` and ``left_out``: how many of what, by the reason. Of ``pair`` also
        ``positives``, the rows whose label is 1.

    Raises
    ------
    UsageError
        On a wrong name or number, a folder that is there or lies in a run, or where the export
        would have no rows.
    StorageError
        When a file of the run is missing or is not the one of the manifest's checksum, or the
        export cannot be written.
    """
    if name not in (*FORMATS, "ids"):
        raise UsageError(f"no format {name!r}: {did_you_mean(name, (*FORMATS, 'ids'))}")
    if clean and name != "ids":
        raise UsageError(
            f"--clean is for ids, not for {name}; of triplets, select.denoise leaves out the same"
        )
    if ragged and name != "labeled-list":
        raise UsageError(f"--ragged is for labeled-list; {name} has no lists")
    if balance and name != "pair":
        raise UsageError(f"--balance is for pair, not for {name}")
    if negatives is not None and negatives < 1:
        raise UsageError(f"--negatives {negatives}: at least 1")
    if file_format not in FILE_FORMATS:
        raise UsageError(
            f"no file format {file_format!r}: {did_you_mean(file_format, FILE_FORMATS)}"
        )
    if name == "ids":
        return _export_ids(run, clean=clean, out=out, file_format=file_format, force=force)
    classes = written_classes(run, difficulty)
    if difficulty is None:
        difficulty = "both" if len(classes) > 1 else classes[0]
    if name in ("n-tuple", "labeled-list") and negatives is None and not ragged:
        negatives = _NEGATIVES
    wish = Wish(negatives, ragged, balance)
    make = FORMATS[name]
    folder = export_folder(run, f"{name}-{difficulty}", out, force=force)
    empty = next(written_batches(make(empty_block(run), wish)))
    made = (make(block, wish) for block in blocks(run, classes))
    batches = (batch for rows in made for batch in written_batches(rows))
    with run.held(), whole_folder(folder) as temporary:
        files = write_parts(temporary, empty.schema, batches, file_format)
        _refuse_nothing(files, name, wish.left_out)
    facts = {
        "format": name,
        "negatives": negatives,
        "ragged": ragged,
        "balance": balance,
        "run_id": run.run_id,
        "path": str(folder),
        "difficulty": difficulty,
        "content": "text" if shows_text(run) else "ids",
        "sampled": any(run.manifest["written"][name]["truncated"] for name in classes),
        "columns": empty.schema.names,
        "rows": sum(file["rows"] for file in files),
        "files": files,
        "left_out": dict(wish.left_out),
    }
    return {**facts, "positives": wish.positives} if name == "pair" else facts


def _refuse_nothing(files: list[dict[str, Any]], name: str, left_out: Counter[str]) -> None:
    """Refuse an export without rows: nobody wants one, and a trainer fails on it much later."""
    if any(file["rows"] for file in files):
        return
    pairs, wrong = left_out["pairs_with_too_few_negatives"], left_out["labels_likely_wrong"]
    remedy = "use another --format"
    if pairs:
        why = f"{counted(pairs, 'pair')} left out for too few distinct negatives"
        remedy = "give fewer with --negatives, or another --format"
    elif wrong:
        why, remedy = f"{counted(wrong, 'label')} likely wrong", "leave out --clean"
    else:
        why = "nothing fits it"
    raise UsageError(f"{name} would have no rows ({why}); {remedy}")


def _export_ids(
    run: Run, *, clean: bool, out: str | Path | None, file_format: str, force: bool
) -> dict[str, Any]:
    """Write the ids of a run's anchors; see `export_triplets`."""
    folder = export_folder(run, "ids-clean" if clean else "ids", out, force=force)
    left_out: Counter[str] = Counter()
    batches = id_batches(run, left_out, clean=clean)
    with run.held(), whole_folder(folder) as temporary:
        files = write_parts(temporary, next(batches).schema, batches, file_format)
        _refuse_nothing(files, "ids", left_out)
    return {
        "format": "ids",
        "clean": clean,
        "run_id": run.run_id,
        "path": str(folder),
        "content": "ids",
        "columns": ["id"],
        "rows": sum(file["rows"] for file in files),
        "files": files,
        "left_out": dict(left_out),
    }
