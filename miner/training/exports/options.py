"""The checks of an export's options, before anything is read or written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from miner.errors import UsageError, did_you_mean
from miner.runs.run import Run
from miner.runs.shards import SCORES
from miner.training.exports.catalog import EXPORT_FORMATS, Format
from miner.training.exports.triplets import View, shows_text
from miner.training.exports.writing import FILE_FORMATS

__all__ = ["Options"]

_INSTEAD = {"clean": "; select.denoise does the same for triplets"}
_NEGATIVES = 3  # also the default of mine_hard_negatives


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for; the defaults are those of `export_triplets`."""

    name: str
    difficulty: str | None
    negatives: int | None
    ragged: bool
    balance: bool
    clean: bool
    scores: bool
    file_format: str | None
    push_to_hub: str | None

    def checked(self) -> Format:
        """Return the format; raise `UsageError` if it, or an option for it, is not known."""
        if self.name not in EXPORT_FORMATS:
            if self.name == "review":
                raise UsageError("a review is no export of triplets; call miner.export_review")
            hint = did_you_mean(self.name, [*EXPORT_FORMATS, "review"])
            raise UsageError(f"no format {self.name!r}: {hint}")
        shape = EXPORT_FORMATS[self.name]
        for option in sorted({one for known in EXPORT_FORMATS.values() for one in known.options}):
            value: Any = getattr(self, option.replace("-", "_"))
            if value is not None and value is not False and option not in shape.options:
                takes = [name for name, known in EXPORT_FORMATS.items() if option in known.options]
                where = f"is for {takes[0]}, not for" if len(takes) == 1 else "is not for"
                raise UsageError(
                    f"--{option} {where} {self.name}{_INSTEAD.get(option, '; leave it out')}"
                )
        if self.negatives is not None and self.negatives < 1:
            raise UsageError(f"--negatives {self.negatives} must be 1 or more")
        if self.file_format not in (None, *FILE_FORMATS):
            hint = did_you_mean(str(self.file_format), FILE_FORMATS)
            raise UsageError(f"no file format {self.file_format!r}: {hint}")
        return shape

    def view(self, run: Run, shape: Format) -> View:
        """Return what is to be read of a run; raise `UsageError` if the run does not have it."""
        texts = shows_text(run)
        if shape.shows == "texts" and not texts:
            raise UsageError(
                f"{self.name} needs texts, and the shards of {run.where} have ids only: mine texts "
                "with output.content = true"
            )
        has = {*SCORES} <= {*run.schema().names}
        if (self.scores or shape.scores == "needed") and not has:
            what = "--scores" if self.scores else self.name
            other = ", or use --format triplet" if shape.scores == "needed" else ""
            raise UsageError(
                f"{what} needs a teacher's scores, which {run.where} does not have: mine with a "
                f"[teacher]{other}"
            )
        wanted = self.scores or shape.scores in ("always", "needed")
        return View(texts and shape.shows != "ids", shape.has_ids, has and wanted)

    def count(self, shape: Format) -> int | None:
        """Return the number of negatives to take; formats of fixed length have a default."""
        fixed = shape.fixed and not self.ragged
        return _NEGATIVES if fixed and self.negatives is None else self.negatives
