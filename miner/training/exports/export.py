"""`mine export`: write a run's triplets in a format for trainers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from miner.errors import UsageError
from miner.formatting import counted
from miner.runs.opening import as_run
from miner.runs.run import Run
from miner.runs.totals import wrote_sample
from miner.storage.json_files import write_json
from miner.training.encoded_triplets import written_classes
from miner.training.exports.catalog import Format
from miner.training.exports.formats import MAKERS, written_batches
from miner.training.exports.groups import Wish
from miner.training.exports.hub import hub_token, push_export
from miner.training.exports.ids import id_batches
from miner.training.exports.options import Options
from miner.training.exports.triplets import blocks, empty_block
from miner.training.exports.writing import FILE_FORMATS, Parts, export_folder, whole_folder
from miner.triplets.hardness import class_name

__all__ = ["export_triplets"]


def export_triplets(
    run: Run | str | Path,
    name: str,
    *,
    difficulty: str | None = None,
    negatives: int | None = None,
    ragged: bool = False,
    balance: bool = False,
    clean: bool = False,
    scores: bool = False,
    out: str | Path | None = None,
    file_format: str | None = None,
    force: bool = False,
    push_to_hub: str | None = None,
) -> dict[str, Any]:
    """Write a run's triplets in a format for trainers.

    Rows are sorted by anchor. The pairs (anchor, positive) of an anchor are in the order of the
    shards, hard before semi-hard, and negatives are sorted by distance. Rows with the same texts
    count once, so that no triplet of an anchor and no negative of a pair is repeated. Memory does
    not depend on the size of the run; the rows of one anchor must fit, and for ``nemo`` and
    ``pylate-kd`` the ids of the documents.

    Parameters
    ----------
    run : Run, or path of a run
    name : str
        The format, with its columns. ``triplet``: anchor, positive, negative. ``n-tuple``: anchor,
        positive, negative_1 to negative_K. ``labeled-pair``: anchor, passage, label (1 for
        positives, 0 for negatives; each passage once for an anchor). ``labeled-list``: anchor,
        passages, labels (one positive and its K negatives). ``pair``: anchor, other, label (as
        ``labeled-pair``, but float32, for contrastive losses). ``msmarco-ids``: query_id,
        positive_id, negative_id. ``ids``: the id of each anchor, for trainers that sample their own
        batches. ``flagembedding``, ``tevatron``, ``ms-swift``, ``nemo`` and ``pylate-kd``: the
        files that these trainers read.
    difficulty : str or None
        ``hard``, ``semi_hard`` or ``both``. Default: the classes of which the run wrote rows.
    negatives : int or None
        K, the number of nearest negatives to take of each pair, or of each anchor for
        ``labeled-pair``, ``pair``, ``flagembedding``, ``tevatron`` and ``nemo``. Default: 3 for
        ``n-tuple``, ``labeled-list`` and ``pylate-kd``, otherwise all. These three leave out pairs
        with fewer, and count them.
    ragged : bool
        ``labeled-list`` only: whether lists may have fewer than K negatives. Without `negatives`,
        they have all.
    balance : bool
        ``pair`` only: whether an anchor has as many negatives as positives. The nearest of the
        larger group are taken, and the others are counted.
    clean : bool
        ``ids`` only: whether to leave out, and count, the ids in ``label_noise.parquet``.
    scores : bool
        Whether the teacher's scores are written, which is an error if the run has none. ``triplet``
        and ``n-tuple`` get a last column ``scores``, a list with that of the positive first;
        ``labeled-pair`` gets ``score`` and ``labeled-list`` gets ``scores`` instead of labels;
        ``msmarco-ids`` gets ``score``, the positive's minus the negative's. The formats of other
        trainers that have scores are always written with those of the run; ``pylate-kd`` needs
        them.
    out : str or Path, optional
        The folder to write. Default: ``exports/RUN_ID-NAME-DIFFICULTY`` next to ``runs``.
    file_format : str or None
        ``parquet`` (the default) or ``jsonl``, for formats whose trainer reads both.
    force : bool
        Whether to replace an existing export.
    push_to_hub : str or None
        The name of a data set on the Hugging Face Hub, to which the export is also pushed, each
        table as a configuration. A data set that is new becomes private.

    Returns
    -------
    dict
        Among others ``path``, ``rows``, ``columns``, ``content`` (``text``, or ``ids`` if the
        shards contain no texts), ``scores``, ``files``, ``hub``, and ``left_out``, the numbers left
        out by reason. For ``pair`` also ``positives``, the number of rows with label 1.

    Raises
    ------
    UsageError
        If a name or number is not valid, the folder exists or lies in a run, the run does not have
        what the format needs, there is no token for the Hub, or the export would have no rows.
    StorageError
        If a file of the run is missing or its checksum does not match, or the export cannot be
        written or pushed.
    """
    run = as_run(run)
    options = Options(
        name, difficulty, negatives, ragged, balance, clean, scores, file_format, push_to_hub
    )
    shape = options.checked()
    if push_to_hub is not None:
        token = hub_token(push_to_hub)
    export = _ids if name == "ids" else _triplets
    facts = export(run, shape, options, out, force=force)
    if push_to_hub is not None:
        folder = Path(facts["path"])
        tables: dict[str, list[Path]] = {}
        for file in facts["files"]:
            path = folder / file["path"]
            tables.setdefault(path.parent.name if path.parent != folder else name, []).append(path)
        push_export(push_to_hub, token, folder, tables)
    return {**facts, "hub": push_to_hub}


def _triplets(
    run: Run, shape: Format, options: Options, out: str | Path | None, *, force: bool
) -> dict[str, Any]:
    """Write a run's triplets; see `export_triplets`."""
    name, difficulty = options.name, options.difficulty
    difficulty = None if difficulty is None else class_name(difficulty)
    classes = written_classes(run, difficulty)
    if difficulty is None:
        difficulty = "both" if len(classes) > 1 else classes[0]
    view = options.view(run, shape)
    wish = Wish(options.count(shape), options.ragged, options.balance, f"{run.run_id}-{difficulty}")
    make = MAKERS[name]
    folder = export_folder(run, f"{name}-{difficulty}", out, force=force)
    schemas = [next(written_batches(rows)).schema for rows in make(empty_block(run, view), wish)]
    rows = (make(block, wish) for block in blocks(run, classes, view))
    with run.held(), whole_folder(folder) as temporary:
        files = _write(temporary, shape, schemas, rows, options.file_format)
        _refuse_nothing(files[0], name, wish.left_out)
        for table in shape.tables:
            if table.note:
                place = temporary / table.folder / table.note[0]
                write_json(place, table.note[1] | {"corpus_id": wish.corpus_id})
    select = run.manifest["job"]["select"]
    facts = {
        "format": name,
        "negatives": wish.negatives,
        "ragged": options.ragged,
        "balance": options.balance,
        "scores": view.scores,
        "run_id": run.run_id,
        "path": str(folder),
        "difficulty": difficulty,
        "content": "text" if view.texts else "ids",
        "sampled": any(wrote_sample(select, run.manifest["written"][name]) for name in classes),
        "columns": schemas[0].names,
        "rows": sum(file["rows"] for file in files[0]),
        "files": [file for table in files for file in table],
        "left_out": dict(wish.left_out),
    }
    return {**facts, "positives": wish.positives} if name == "pair" else facts


def _write(
    folder: Path,
    shape: Format,
    schemas: list[Any],
    rows: Iterable[tuple[Any, ...]],
    file_format: str | None,
) -> list[list[dict[str, Any]]]:
    """Write the rows of each table; return the facts of each table's files."""
    kind = file_format or FILE_FORMATS[0]
    with ExitStack() as stack:
        tables = [
            stack.enter_context(Parts(folder, table, schema, kind).opened())
            for table, schema in zip(shape.tables, schemas, strict=True)
        ]
        for of_block in rows:
            for table, part in zip(tables, of_block, strict=True):
                for batch in written_batches(part):
                    table.write(batch)
    return [table.files for table in tables]


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


def _ids(
    run: Run, shape: Format, options: Options, out: str | Path | None, *, force: bool
) -> dict[str, Any]:
    """Write the ids of a run's anchors; see `export_triplets`."""
    folder = export_folder(run, "ids-clean" if options.clean else "ids", out, force=force)
    left_out: Counter[str] = Counter()
    batches = id_batches(run, left_out, clean=options.clean)
    schema = next(batches).schema
    with run.held(), whole_folder(folder) as temporary:
        rows = ((batch,) for batch in batches)
        (files,) = _write(temporary, shape, [schema], rows, options.file_format)
        _refuse_nothing(files, "ids", left_out)
    return {
        "format": "ids",
        "clean": options.clean,
        "run_id": run.run_id,
        "path": str(folder),
        "content": "ids",
        "columns": ["id"],
        "rows": sum(file["rows"] for file in files),
        "files": files,
        "left_out": dict(left_out),
    }
