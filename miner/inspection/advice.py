"""Findings about a run that need attention, with numbers and a remedy.

The manifest contains the warnings, for the summary of the run; the report shows all findings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from miner.formatting import counted
from miner.inspection.data_advice import Advice, of_data, share_of
from miner.runs.run import Run
from miner.runs.tables import CONFUSION, HUBS, has_table, read_table
from miner.runs.totals import hidden_text, why_nothing, wrote_sample
from miner.selection.strategies.advice import ADVICE
from miner.triplets.hardness import MINED_CLASSES
from miner.triplets.types import Rows

__all__ = ["Advice", "advise", "advise_run", "warning_facts"]

MANY_HARD = 0.6
"""Share of all triplets; by chance, half of the triplets are hard."""
SOME_HARD = 0.3
FEW_NEAREST = 0.5
"""Share of anchors whose nearest row is a positive."""
NOISY = 0.01
MANY_NOISY, CLEARLY_NOISY = 0.1, 0.45
"""Suspects as a share of all labels, or relative to the share of anchors whose nearest row is not a
positive. With planted wrong labels (`miner/docs/false-negatives.md`), at least 92 % of the suspects
were then wrong."""
TOP_HUBS, HUB_EXCESS, HUB_SHARE, HUB_ANCHORS = 10, 5.0, 0.1, 0.5
"""Hubs are reported if the first `TOP_HUBS` rows are in `HUB_EXCESS` times as many hard triplets as
with an even distribution, and if either their share of the hard triplets is `HUB_SHARE` or one of
them is a hard negative of a share `HUB_ANCHORS` of the anchors."""
CONFUSED = 0.25
MISSED = 0.9
FEW_TRIPLETS = 1e-3


def warning_facts(advice: Sequence[Advice]) -> list[dict[str, Any]]:
    """Return the warnings in `advice` as the manifest stores them."""
    return [
        {"name": one.key, "numbers": dict(one.numbers), "text": one.title}
        for one in advice
        if one.level == "warning"
    ]


def advise_run(run: Run, positives: Rows) -> list[Advice]:
    """Return the advice on a run, finished or staged with its tables; see `advise`."""
    hubs, confusions = (
        read_table(run, name, rows).to_pylist() if has_table(run, name) else []
        for name, rows in ((HUBS, TOP_HUBS), (CONFUSION, 2))
    )
    return advise(run.manifest, positives, hubs, confusions)


def advise(
    manifest: Mapping[str, Any],
    positives: Rows,
    hubs: Sequence[Mapping[str, Any]],
    confusions: Sequence[Mapping[str, Any]],
) -> list[Advice]:
    """Return the advice on a run, warnings first.

    Parameters
    ----------
    manifest : mapping
    positives : ndarray of shape (anchors,), int64
        The number of positives of each anchor.
    hubs, confusions : sequence of mapping
        The first rows of these tables.
    """
    found = [
        *_of_triplets(manifest),
        *(_of_written(manifest) if manifest["census"]["valid"] else ()),
        *of_data(manifest, positives),
        *_of_tables(manifest, positives, hubs, confusions),
        *_of_index(manifest),
    ]
    return sorted(found, key=lambda one: one.level != "warning")


def _of_triplets(manifest: Mapping[str, Any]) -> Iterator[Advice]:
    census = manifest["census"]
    valid, margin = census["valid"], manifest["job"]["mining"]["margin"]
    if not valid:
        yield Advice(
            "empty", "warning", {"valid": 0}, "There is no valid triplet",
            "No anchor has both a positive and a negative"
            f"{hidden_text(manifest['dataset']['hidden'])}.",
            "Check that the label column (or the links) is the right one, that labels occur more "
            "than once, and that the data have at least two labels.",
        )  # fmt: skip
        return
    hard, semi_hard = (share_of(census[name], valid) for name in ("hard", "semi_hard"))
    nearest = manifest["index"]["nearest"]
    many = {"hard": census["hard"], "valid": valid}
    if hard >= MANY_HARD:
        yield Advice(
            "many_hard", "warning", many, f"{hard:.0%} of all triplets are hard",
            "If distances did not depend on the labels, half of the triplets would be hard. Here "
            "negatives are nearer than positives more often than by chance.",
            "The model may not be trained for these labels, or a column is wrong: read the hardest "
            "triplets below, check the content and label columns, then try another model.",
        )  # fmt: skip
    elif hard >= SOME_HARD:
        yield Advice(
            "some_hard", "note", many, f"{hard:.0%} of all triplets are hard",
            "The model separates these labels only loosely; by chance half would be hard.",
            f"{ADVICE['first'].plain} If a trained model was expected, check that it is the right "
            "checkpoint.",
        )  # fmt: skip
    close = nearest["positive"]
    if close is not None and close < FEW_NEAREST:
        yield Advice(
            "few_nearest", "warning", {"share": close, "anchors": nearest["anchors"]},
            f"Only {close:.0%} of anchors have a positive as their nearest row",
            "Most anchors are closest to a row of another label.",
            "The model may not be trained for these labels, or many positives are not linked: "
            "check the hardest triplets for false negatives.",
        )  # fmt: skip
    if not census["easy"]:
        yield Advice(
            "no_easy", "warning", {"easy": 0}, f"No triplet is easy at the margin {margin:g}",
            "The margin is larger than every difference of two distances, so it separates nothing.",
            "Choose a smaller margin with the figure of shares by margin.",
        )  # fmt: skip
    if hard + semi_hard < FEW_TRIPLETS:
        yield Advice(
            "few_triplets", "note", {"share": hard + semi_hard}, "Nearly every triplet is easy",
            f"{hard + semi_hard:.3%} are hard or semi-hard at the margin {margin:g}.",
            "The model separates the data almost completely at this margin. For more triplets, "
            "choose a larger margin with the figure of shares by margin.",
        )  # fmt: skip


def _of_written(manifest: Mapping[str, Any]) -> Iterator[Advice]:
    select, written = manifest["job"]["select"], manifest["written"]
    rows: dict[str, int] = {name: written[name]["rows"] for name in MINED_CLASSES}
    if not any(rows.values()):
        why = why_nothing(manifest)
        yield Advice(
            "nothing_written", "note", rows, "No triplet was written",
            f"{why[0].upper()}{why[1:]}.",
            "If you want triplets, change [select] or the margin.",
        )  # fmt: skip
        return
    if _is_plain(manifest["job"]):
        yield Advice(
            "plain", "warning", rows, f"Plain {select['strategy']} harms more often than it helps",
            f"{ADVICE['plain'].plain} Measured: {ADVICE['plain'].figure}.",
            f"{ADVICE['first'].plain} {ADVICE['guarded'].plain}",
        )  # fmt: skip
    drawn = [name for name in MINED_CLASSES if wrote_sample(select, written[name])]
    if drawn:
        words = " and ".join(f"{rows[name]:,} {name.replace('_', '-')}" for name in drawn)
        yield Advice(
            "sampled", "note", rows, "The written triplets are a sample",
            f"The {words} triplets were drawn at random from all that the job selected. The column "
            "weight is the number of triplets that each one represents.",
            f"For more triplets, raise {_limits(select)}; for sums over all selected triplets, "
            "multiply by weight.",
        )  # fmt: skip


def _limits(select: Mapping[str, Any]) -> str:
    """Return the names of the job keys that limit the sample."""
    keys = [key for key in ("per_pair", "per_anchor", "max_triplets") if select.get(key)]
    keys += ["options.k"] if select["strategy"] == "uniform" else []
    return " or ".join(f"select.{key}" for key in keys)


def _is_plain(job: Mapping[str, Any]) -> bool:
    """Return whether a job uses hardest or batch-hard without a guard against false negatives."""
    guards = ("relative_margin", "absolute_margin", "max_score")
    sections = (job["select"], job.get("teacher", {}))
    unguarded = all(keys.get(guard) is None for keys in sections for guard in guards)
    return job["select"]["strategy"] in ("hardest", "batch-hard") and unguarded


def _of_tables(
    manifest: Mapping[str, Any],
    positives: Rows,
    hubs: Sequence[Mapping[str, Any]],
    confusions: Sequence[Mapping[str, Any]],
) -> Iterator[Advice]:
    census, dataset = manifest["census"], manifest["dataset"]
    yield from _of_labels(census.get("label_noise"), manifest["index"]["nearest"]["positive"])
    anchors = int((positives > 0).sum())
    rows = dataset["items"] if dataset["kind"] == "labelled" else dataset["corpus"]
    top, hard = sum(row["hard"] for row in hubs[:TOP_HUBS]), census["hard"]
    excess = share_of(share_of(top, hard), share_of(min(TOP_HUBS, len(hubs)), rows))
    wide = max((row["anchors"] for row in hubs), default=0)
    held = share_of(top, hard)
    broad = held >= HUB_SHARE or share_of(wide, anchors) >= HUB_ANCHORS
    if excess >= HUB_EXCESS and broad:
        yield Advice(
            "hubs", "warning", {"share": held, "anchors": wide},
            "A few rows are negatives of very many anchors",
            f"The top {min(TOP_HUBS, len(hubs))} rows are the negative in {held:.1%} of the hard "
            f"triplets; one of them is hard for {share_of(wide, anchors):.0%} of all anchors.",
            "Check them for boilerplate, blank or mixed content, and missing links. Limit their "
            "triplets with select.per_negative.",
        )  # fmt: skip
    if len(confusions) > 1 and census.get("confusions", {}).get("of", 0) > 2:
        first = confusions[0]
        share = share_of(first["hard"], hard)
        if share >= CONFUSED:
            yield Advice(
                "confused", "note", {"share": share},
                f"One pair of labels holds {share:.0%} of the hard triplets",
                f"In {share:.0%} of the hard triplets, the anchor has the label "
                f"{first['anchor_label']!s:.40}, and the negative {first['negative_label']!s:.40}.",
                "Check whether all data distinguish these two labels by the same rule.",
            )  # fmt: skip


def _of_labels(noise: Mapping[str, int] | None, nearest: float | None) -> Iterator[Advice]:
    """Yield a warning or a note about labels that disagree with their nearest rows."""
    share = share_of(noise["rows"], noise["of"]) if noise else 0.0
    if noise is None or share < NOISY:
        return
    found = (
        f"Of {counted(noise['of'], 'anchor')}, {share:.1%} have mostly rows of one other label "
        "among their nearest rows"
    )
    if share >= MANY_NOISY or share >= CLEARLY_NOISY * (1 - (nearest or 0.0)):
        yield Advice(
            "label_noise", "warning", noise,
            f"{counted(noise['rows'], 'label is', 'labels are')} likely wrong", f"{found}.",
            "Check the list below (all of them are in label_noise.parquet): a row with a wrong "
            "label becomes a false hard negative of its true class. select.denoise = true leaves "
            f"these rows out. {ADVICE['first'].plain} {ADVICE['plain'].plain}",
        )  # fmt: skip
        return
    yield Advice(
        "label_doubts", "note", noise, f"{counted(noise['rows'], 'label')} may be wrong",
        f"{found}. This is weak evidence here: " + (
            f"the nearest row is a positive for only {nearest:.0%} of anchors, so neighbours with "
            "another label are common even if all labels are right."
            if nearest is not None
            else "it is not known how often neighbours have the anchor's label."
        ),
        "Check the list below before you change labels or leave out rows.",
    )  # fmt: skip


def _of_index(manifest: Mapping[str, Any]) -> Iterator[Advice]:
    for name, recall in manifest["index"].get("recall", {}).items():
        if recall["recall"] < MISSED:
            yield Advice(
                f"recall_{name}", "warning", {"recall": recall["recall"]},
                f"{recall['recall']:.0%} of the {name.replace('_', '-')} triplets were found",
                "The index did not find the others, so they are not written.",
                "Raise index.candidates, choose a finer index, or mine exactly (index Flat).",
            )  # fmt: skip
