"""What is remarkable in a run, in words, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from miner.selection.strategies.advice import ADVICE

__all__ = ["Advice", "advise"]

Level = Literal["warning", "note"]

MANY_HARD = 0.6
"""Of all triplets: half are hard where distances say nothing about labels."""
SOME_HARD = 0.3
FEW_NEAREST = 0.5
"""Of anchors that have a positive as their nearest row."""
FEW_POSITIVES = 2
LONELY = 0.1
"""Of anchors without any positive."""
NOISY = 0.01
MANY_NOISY, CLEARLY_NOISY = 0.1, 0.45
"""Such a share of the labels, or such a share of the anchors whose nearest row is no positive. Of
planted labels (`miner/docs/false-negatives.md`) at least 92 % of those found were then wrong."""
TOP_HUBS, HUB_EXCESS, HUB_SHARE, HUB_ANCHORS = 10, 5.0, 0.1, 0.5
"""So many rows hold so many times an even share of the hard triplets; and either such a share of
them in all, or one of them is hard for such a share of the anchors."""
CONFUSED = 0.25
MISSED = 0.9
FEW_TRIPLETS = 1e-3


@dataclass(frozen=True, slots=True)
class Advice:
    """One finding: what is the case, and what to do."""

    key: str
    level: Level
    title: str
    text: str
    remedy: str


def advise(
    manifest: Mapping[str, Any],
    counts: Mapping[str, NDArray[np.int64]],
    hubs: Sequence[Mapping[str, Any]],
    confusions: Sequence[Mapping[str, Any]],
) -> list[Advice]:
    """Say what is remarkable in a run, warnings first.

    Parameters
    ----------
    manifest : mapping
    counts : mapping of ndarray of shape (anchors,)
        The census.
    hubs, confusions : sequence of mapping
        The first rows of these tables.
    """
    found = [
        *_of_triplets(manifest, counts),
        *_of_data(manifest, counts),
        *_of_tables(manifest, counts, hubs, confusions),
        *_of_index(manifest),
    ]
    return sorted(found, key=lambda one: one.level != "warning")


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _of_triplets(
    manifest: Mapping[str, Any], counts: Mapping[str, NDArray[np.int64]]
) -> Iterator[Advice]:
    census, written = manifest["census"], manifest["written"]
    valid, margin = census["valid"], manifest["job"]["mining"]["margin"]
    if not valid:
        yield Advice(
            "empty", "warning", "There is no valid triplet",
            "No anchor has both a positive and a negative.",
            "Check that the label column (or the links) is the right one, that labels stand more "
            "than once, and that there are two of them at least.",
        )  # fmt: skip
        return
    hard, semi_hard = (_share(census[name], valid) for name in ("hard", "semi_hard"))
    nearest = manifest["index"]["nearest"]["positive"]
    if hard >= MANY_HARD:
        yield Advice(
            "many_hard", "warning", f"{hard:.0%} of all triplets are hard",
            "Where distances say nothing about the labels, half of them are hard. Negatives are "
            "nearer than positives more often than by chance.",
            "The model may not be trained for these labels, or a column is the wrong one: look at "
            "the hardest triplets below, check content and label, then try another model.",
        )  # fmt: skip
    elif hard >= SOME_HARD:
        yield Advice(
            "some_hard", "note", f"{hard:.0%} of all triplets are hard",
            "The model separates these labels only loosely; by chance half would be hard.",
            f"{ADVICE['first'].plain} If a trained model was expected, check that it is the right "
            "checkpoint.",
        )  # fmt: skip
    if nearest is not None and nearest < FEW_NEAREST:
        yield Advice(
            "few_nearest", "warning",
            f"Only {nearest:.0%} of anchors have a positive as their nearest row",
            "Most anchors are closest to a row of another label.",
            "The model may not be trained for these labels, or many positives are not linked: look "
            "at the likely false negatives among the hardest triplets.",
        )  # fmt: skip
    if hard + semi_hard < FEW_TRIPLETS:
        yield Advice(
            "few_triplets", "note", "Nearly every triplet is easy",
            f"{hard + semi_hard:.3%} are hard or semi-hard at the margin {margin:g}.",
            "The data are nearly solved at this margin. For more to train on, choose a larger one "
            "by the figure of shares by margin.",
        )  # fmt: skip
    rows = sum(written[name]["rows"] for name in ("hard", "semi_hard"))
    if not rows:
        yield Advice(
            "nothing_written", "note", "No triplet was written",
            *_why_nothing(manifest["job"]["select"]["max_triplets"], hard + semi_hard),
        )  # fmt: skip
    select = manifest["job"]["select"]
    if rows and _is_plain(select):
        yield Advice(
            "plain", "warning", f"Plain {select['strategy']} harms more often than it helps",
            f"{ADVICE['plain'].plain} Measured: {ADVICE['plain'].figure}.",
            f"{ADVICE['first'].plain} {ADVICE['guarded'].plain}",
        )  # fmt: skip
    if rows and any(written[name]["truncated"] for name in ("hard", "semi_hard")):
        yield Advice(
            "sampled", "note", "What was written is a sample",
            "There are more hard and semi-hard triplets than the job writes. Where the caps cut, "
            "rows were drawn at random, and the column weight says how many each stands for.",
            "For more, raise select.max_triplets or the cap that cut; for weighted sums over all "
            "triplets, use weight.",
        )  # fmt: skip


def _is_plain(select: Mapping[str, Any]) -> bool:
    """Whether a job writes what the advice says not to train on."""
    guards = ("relative_margin", "absolute_margin", "max_score", "rescore")
    unguarded = all(select.get(guard) is None for guard in guards)
    return select["strategy"] in ("hardest", "batch-hard") and unguarded


def _why_nothing(most: int, share: float) -> tuple[str, str]:
    if not most:
        return "The job counts only: select.max_triplets is 0.", "Set it to write triplets."
    if not share:
        return "Every triplet is easy at this margin.", "Choose a larger margin."
    return "No triplet passes the filters of [select].", "Loosen the filters."


def _of_data(
    manifest: Mapping[str, Any], counts: Mapping[str, NDArray[np.int64]]
) -> Iterator[Advice]:
    dataset, positives = manifest["dataset"], counts["positives"]
    lonely = float((positives == 0).mean()) if len(positives) else 0.0
    if lonely >= LONELY:
        yield Advice(
            "no_positives", "warning", f"{lonely:.0%} of anchors have no positive",
            "They form no triplet and teach nothing.",
            "Link them, merge labels that stand once, or collect more rows of those labels.",
        )  # fmt: skip
    able = positives[positives > 0]
    if len(able) and dataset["kind"] == "labelled" and float(np.median(able)) < FEW_POSITIVES:
        yield Advice(
            "few_positives", "warning", "Most anchors have a single positive",
            "Classes of two rows give few triplets, and one wrong label spoils half of a class.",
            "Collect more rows a class, or use coarser labels.",
        )  # fmt: skip
    skipped = {why: n for why, n in dataset["skipped"].items() if n and why != "singletons"}
    if skipped:
        words = ", ".join(f"{n:,} {why.replace('_', ' ')}" for why, n in skipped.items())
        yield Advice(
            "skipped", "note", f"{sum(skipped.values()):,} rows took no part",
            f"{words}.",
            "Check that this is meant: labels, links, filters and on_error decide it.",
        )  # fmt: skip
    zeros = manifest["embedding"]["zero_vectors"]
    if zeros:
        yield Advice(
            "zero_vectors", "warning", f"{zeros:,} rows have a zero vector",
            "They have no direction, so their distances say nothing.",
            "See what the model makes of them: empty images, texts without a known token.",
        )  # fmt: skip


def _of_tables(
    manifest: Mapping[str, Any],
    counts: Mapping[str, NDArray[np.int64]],
    hubs: Sequence[Mapping[str, Any]],
    confusions: Sequence[Mapping[str, Any]],
) -> Iterator[Advice]:
    census, dataset = manifest["census"], manifest["dataset"]
    yield from _of_labels(census.get("label_noise"), manifest["index"]["nearest"]["positive"])
    anchors = int((counts["positives"] > 0).sum())
    rows = dataset["items"] if dataset["kind"] == "labelled" else dataset["corpus"]
    top, hard = sum(row["hard"] for row in hubs[:TOP_HUBS]), census["hard"]
    excess = _share(_share(top, hard), _share(min(TOP_HUBS, len(hubs)), rows))
    wide = max((row["anchors"] for row in hubs), default=0)
    held = _share(top, hard)
    broad = held >= HUB_SHARE or _share(wide, anchors) >= HUB_ANCHORS
    if excess >= HUB_EXCESS and broad:
        yield Advice(
            "hubs", "warning", "A few rows are negatives of very many anchors",
            f"The top {min(TOP_HUBS, len(hubs))} are the negative in {held:.1%} of the hard "
            f"triplets; the widest is a hard negative of {_share(wide, anchors):.0%} of anchors.",
            "Look at them: boilerplate, blank or mixed content, a missing link. Bound what they "
            "can take by select.per_negative.",
        )  # fmt: skip
    if len(confusions) > 1 and census.get("confusions", {}).get("of", 0) > 2:
        first = confusions[0]
        share = _share(first["hard"], hard)
        if share >= CONFUSED:
            yield Advice(
                "confused", "note", f"One pair of labels holds {share:.0%} of what is hard",
                f"{share:.0%} of the hard triplets take {first['negative_label']!s:.40} for "
                f"{first['anchor_label']!s:.40}.",
                "Check whether the two are told apart by the same rule everywhere in the data.",
            )  # fmt: skip


def _of_labels(noise: Mapping[str, int] | None, nearest: float | None) -> Iterator[Advice]:
    """Say what neighbours say of the labels, as surely as they can say it."""
    share = _share(noise["rows"], noise["of"]) if noise else 0.0
    if noise is None or share < NOISY:
        return
    found = (
        f"Of {noise['of']:,} anchors, {share:.1%} have mostly rows of one other label around them"
    )
    if share >= MANY_NOISY or share >= CLEARLY_NOISY * (1 - (nearest or 0.0)):
        yield Advice(
            "label_noise", "warning", f"{noise['rows']:,} labels are likely wrong", f"{found}.",
            "Look through the list below (all of them are in label_noise.parquet); what is wrong "
            "there becomes a false hard negative of its true class. select.denoise = true keeps "
            f"them out of what is written. {ADVICE['first'].plain} {ADVICE['plain'].plain}",
        )  # fmt: skip
        return
    yield Advice(
        "label_doubts", "note", f"{noise['rows']:,} labels may be wrong",
        f"{found}. That says little here: " + (
            f"the nearest row is a positive for {nearest:.0%} of anchors only, so neighbours of "
            "another label are common where all labels are right."
            if nearest is not None
            else "how often neighbours have the anchor's label is not known."
        ),
        "Look through the list below before you change or leave out any.",
    )  # fmt: skip


def _of_index(manifest: Mapping[str, Any]) -> Iterator[Advice]:
    for name, recall in manifest["index"].get("recall", {}).items():
        if recall["recall"] < MISSED:
            yield Advice(
                f"recall_{name}", "warning",
                f"{recall['recall']:.0%} of the {name.replace('_', '-')} triplets were found",
                "The index did not find the others, so they could not be written.",
                "Raise index.candidates, choose a finer index, or mine exactly (index Flat).",
            )  # fmt: skip
