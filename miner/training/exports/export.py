"""`mine export`: write a run's triplets in a format for trainers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from miner.errors import UsageError, did_you_mean
from miner.formatting import counted
from miner.runs.opening import as_run
from miner.runs.run import Run
from miner.runs.totals import wrote_sample
from miner.training.encoded_triplets import written_classes
from miner.training.exports.formats import FORMATS, Wish, written_batches
from miner.training.exports.ids import id_batches
from miner.training.exports.triplets import blocks, empty_block, shows_text
from miner.training.exports.writing import FILE_FORMATS, export_folder, whole_folder, write_parts
from miner.triplets.hardness import class_name

__all__ = ["export_triplets"]

_NEGATIVES = 3  # also the default of mine_hard_negatives


def export_triplets(
    run: Run | str | Path,
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
    """Write a run's triplets in a format for trainers.

    Rows are sorted by anchor. The pairs (anchor, positive) of an anchor are in the order of the
    shards, hard before semi-hard, and negatives are sorted by distance. Rows with the same texts
    count once, so that no triplet of an anchor and no negative of a pair is repeated. Memory does
    not depend on the size of the run; the rows of one anchor must fit.

    Parameters
    ----------
    run : Run, or path of a run
    name : str
        The format, with its columns. ``triplet``: anchor, positive, negative. ``n-tuple``: anchor,
        positive, negative_1 to negative_K. ``labeled-pair``: anchor, passage, label (1 for
        positives, 0 for negatives; each passage once for an anchor). ``labeled-list``: anchor,
        passages, labels (one positive and its K negatives). ``pair``: anchor, other, label (as
        ``labeled-pair``, but float32, for contrastive losses). ``ids``: the id of each anchor, for
        trainers that sample their own batches.
    difficulty : str or None
        ``hard``, ``semi_hard`` or ``both``. Default: the classes of which the run wrote rows.
    negatives : int or None
        K, the number of nearest negatives to take of each pair, or of each anchor for
        ``labeled-pair`` and ``pair``. Default: 3 for ``n-tuple`` and ``labeled-list``, otherwise
        all. ``n-tuple`` and ``labeled-list`` leave out pairs with fewer, and count them.
    ragged : bool
        ``labeled-list`` only: whether lists may have fewer than K negatives. Without `negatives`,
        they have all.
    balance : bool
        ``pair`` only: whether an anchor has as many negatives as positives. The nearest of the
        larger group are taken, and the others are counted.
    clean : bool
        ``ids`` only: whether to leave out, and count, the ids in ``label_noise.parquet``.
    out : str or Path, optional
        The folder to write. Default: ``exports/RUN_ID-NAME-DIFFICULTY`` next to ``runs``.
    file_format : str
        ``parquet`` or ``jsonl``.
    force : bool
        Whether to replace an existing export.

    Returns
    -------
    dict
        Among others ``path``, ``rows``, ``columns``, ``content`` (``text``, or ``ids`` if the
        shards contain no texts), ``files``, and ``left_out``, the numbers left out by reason. For
        ``pair`` also ``positives``, the number of rows with label 1.

    Raises
    ------
    UsageError
        If a name or number is not valid, the folder exists or lies in a run, or the export would
        have no rows.
    StorageError
        If a file of the run is missing or its checksum does not match, or the export cannot be
        written.
    """
    run = as_run(run)
    if name not in (*FORMATS, "ids"):
        raise UsageError(f"no format {name!r}: {did_you_mean(name, (*FORMATS, 'ids'))}")
    if clean and name != "ids":
        raise UsageError(
            f"--clean is for ids, not for {name}; select.denoise does the same for triplets"
        )
    if ragged and name != "labeled-list":
        raise UsageError(f"--ragged is for labeled-list; {name} has no lists")
    if balance and name != "pair":
        raise UsageError(f"--balance is for pair, not for {name}")
    if negatives is not None and negatives < 1:
        raise UsageError(f"--negatives {negatives} must be 1 or more")
    if file_format not in FILE_FORMATS:
        raise UsageError(
            f"no file format {file_format!r}: {did_you_mean(file_format, FILE_FORMATS)}"
        )
    if name == "ids":
        return _export_ids(run, clean=clean, out=out, file_format=file_format, force=force)
    difficulty = None if difficulty is None else class_name(difficulty)
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
    select = run.manifest["job"]["select"]
    facts = {
        "format": name,
        "negatives": negatives,
        "ragged": ragged,
        "balance": balance,
        "run_id": run.run_id,
        "path": str(folder),
        "difficulty": difficulty,
        "content": "text" if shows_text(run) else "ids",
        "sampled": any(wrote_sample(select, run.manifest["written"][name]) for name in classes),
        "columns": empty.schema.names,
        "rows": sum(file["rows"] for file in files),
        "files": files,
        "left_out": dict(wish.left_out),
    }
    return {**facts, "positives": wish.positives} if name == "pair" else facts


def _refuse_nothing(files: list[dict[str, Any]], name: str, left_out: Counter[str]) -> None:
    """Raise `UsageError` if an export has no rows, because a trainer would fail on it later."""
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
        why = "no triplet fits this format"
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
