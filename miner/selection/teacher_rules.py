"""Which triplets a teacher rejects, and which spares take their places.

With t(p) and t(n) the teacher's scores of (anchor, positive) and (anchor, negative), a triplet is
rejected if one of these holds:

===================  ===============================================================
`absolute_margin` x  ``t(n) > t(p) - x`` (MarginPos of NV-Retriever, Moreira et al. 2024)
`relative_margin` x  ``t(n) > t(p) - x |t(p)|`` (PercPos of the same paper)
`max_score` x        ``t(n) > x``
===================  ===============================================================

Scores are float32, as the shards have them, and compared in float64.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miner.errors import UsageError
from miner.job_sections import Activation, TeacherJob
from miner.triplets.types import Float32

__all__ = ["TeacherRules", "activated", "fill_slots"]

_MOST = 1000
_KEYS = ("absolute_margin", "relative_margin", "max_score")


@dataclass(frozen=True, slots=True)
class TeacherRules:
    """The rules of a job; None means no rule."""

    absolute_margin: float | None = None
    relative_margin: float | None = None
    max_score: float | None = None

    @classmethod
    def from_job(cls, job: TeacherJob) -> TeacherRules:
        """Return the rules of a job.

        Raises
        ------
        UsageError
            If a key has an invalid value, or has no meaning in this job.
        """
        rules = cls(*(getattr(job, key) for key in _KEYS))
        rules.check(job)
        return rules

    @classmethod
    def from_manifest(cls, teacher: Mapping[str, Any]) -> TeacherRules:
        """Return the rules of a run from its manifest; older manifests have no teacher."""
        return cls(*(teacher.get(key) for key in _KEYS))

    @property
    def any(self) -> bool:
        """Whether there is a rule."""
        return any(value is not None for value in dataclasses.astuple(self))

    def check(self, job: TeacherJob) -> None:
        """Raise the `UsageError` of `from_job`."""
        plain = TeacherJob()
        if job.model is None:
            given = [one.name for one in dataclasses.fields(job) if _differs(job, plain, one.name)]
            if given:
                raise UsageError(
                    f"teacher.{given[0]} has no meaning without a teacher; set teacher.model"
                )
        if not 0 <= job.spares <= _MOST:
            raise UsageError(f"teacher.spares = {job.spares} must be from 0 to {_MOST:,}")
        if job.batch_size < 1:
            raise UsageError(f"teacher.batch_size = {job.batch_size} must be 1 or more")
        for key in _KEYS:
            value = getattr(self, key)
            if value is not None and not np.isfinite(value):
                raise UsageError(f"teacher.{key} = {value} must be a finite number")
        if (self.absolute_margin or 0) < 0:
            raise UsageError(
                f"teacher.absolute_margin = {self.absolute_margin} must be 0 or more, such as 0.1"
            )
        if not 0 <= (self.relative_margin or 0) <= 1:
            raise UsageError(
                f"teacher.relative_margin = {self.relative_margin} must be between 0 and 1, such "
                "as 0.05"
            )
        if job.rejected != "drop" and not self.any:
            raise UsageError(
                f"teacher.rejected = {job.rejected!r}, but nothing is rejected: set "
                "teacher.absolute_margin, relative_margin or max_score"
            )

    def check_range(self, least: float, most: float) -> None:
        """Raise `UsageError` if a rule rejects all or none of the scores in a range."""
        span = f"the teacher's scores are from {least:g} to {most:g}"
        if self.max_score is not None and not least <= self.max_score <= most:
            word = "none" if self.max_score > most else "all"
            raise UsageError(
                f"teacher.max_score = {self.max_score:g} rejects {word}: {span}; name one of these"
            )
        if (self.absolute_margin or 0) >= most - least:
            raise UsageError(
                f"teacher.absolute_margin = {self.absolute_margin:g} rejects all: {span}; name a "
                "smaller difference, such as 0.1"
            )

    def reject(self, positive: Float32, negative: Float32) -> NDArray[np.bool_]:
        """Return which triplets are rejected.

        Parameters
        ----------
        positive, negative : ndarray of shape (k,), float32
            The teacher's scores of (anchor, positive) and of (anchor, negative).
        """
        t_p, t_n = positive.astype(np.float64), negative.astype(np.float64)
        rejected = np.zeros(len(t_p), dtype=np.bool_)
        if self.absolute_margin is not None:
            rejected |= t_n > t_p - self.absolute_margin
        if self.relative_margin is not None:
            rejected |= t_n > t_p - self.relative_margin * abs(t_p)
        if self.max_score is not None:
            rejected |= t_n > self.max_score
        return rejected


def _differs(job: TeacherJob, plain: TeacherJob, key: str) -> bool:
    return bool(getattr(job, key) != getattr(plain, key))


def activated(scores: Float32, activation: Activation | None) -> Float32:
    """Return scores after the activation: the logistic function, or none."""
    if activation != "sigmoid":
        return scores
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-scores.astype(np.float64)))).astype(np.float32)


def fill_slots(
    group: NDArray[np.int64], spare: NDArray[np.bool_], rejected: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which triplets are written: those not rejected, and the spares in place of others.

    A group has as many slots as triplets that are no spares. Its first spares that are not rejected
    take the places of its rejected triplets.

    Parameters
    ----------
    group : ndarray of shape (k,), int64
        The number of each triplet's group, ascending from 0: an anchor, a positive and a class.
    spare, rejected : ndarray of shape (k,), bool
    """
    groups = int(group[-1]) + 1 if len(group) else 0
    lost = np.bincount(group[~spare & rejected], minlength=groups)
    usable = spare & ~rejected
    before: NDArray[np.int64] = np.cumsum(usable) - usable
    first = np.flatnonzero(np.diff(group, prepend=-1))
    place: NDArray[np.int64] = before - before[first][group]
    return (~spare & ~rejected) | (usable & (place < lost[group]))
