"""What more rows would take on a cluster, by measured runs: a model, with all that it assumes."""

from __future__ import annotations

from typing import Any

from miner.indexes.tuning import choose_factory

__all__ = ["CLUSTER", "describe_model", "predict"]

CLUSTER: dict[str, float | int] = {
    "machines": 16,
    "cores": 16,
    "gigabytes": 64,
    "price": 1.0,
    "efficiency": 0.8,
}
"""Machines, the cores and the memory of each, its price for an hour, and the share of a cluster's
cores that is at work in stages that workers share."""
TARGETS = (10_000_000, 100_000_000)
_ALONE = 0.75
"""Of its workers' time, the CPU seconds of a run that other work did not hold up."""
SHARED = ("count", "audit", "write")


def _last(facts: dict[str, Any], kind: str) -> dict[str, Any]:
    """The largest run that had the cores to itself, or the largest: stages are in wall seconds."""
    mine = [one for one in facts["runs"] if one["kind"] == kind]
    alone = [one for one in mine if one["cpu"] >= _ALONE * facts["workers"] * one["wall"]]
    return max(alone or mine, key=lambda one: one["rows"])


def growths(facts: dict[str, Any], kind: str) -> dict[str, tuple[float, str]]:
    """The exponent of each stage, and why it is that."""
    fit = facts["exponents"][kind]
    count = fit["stages"]["count"]
    least = 2.0 if kind == "exact" else 1.0
    counting = (least, "as anchors x rows" if kind == "exact" else "not fitted: a row a search")
    if count is not None and kind == "approximate":
        over = f"fitted over {len(fit['fitted'])} sizes, at least 1"
        counting = (max(least, count), over)
    index = (1.5, "rows x lists, and lists go with the root of the rows")
    return {
        "embed": (1.0, "a row at a time"),
        "index": (1.0, "a row at a time") if kind == "exact" else index,
        "count": counting,
        "audit": (1.0, "so many anchors, each against all rows"),
        "write": (0.0, "the cap on triplets is the same"),
        "seal": (0.0, "the cap on triplets is the same"),
    }


def predict(facts: dict[str, Any], kind: str, rows: int, cluster: dict[str, Any]) -> dict[str, Any]:
    """Predict a run of so many rows; seconds of each stage, in all, and what it costs."""
    last, grown = _last(facts, kind), growths(facts, kind)
    times = rows / last["rows"]
    here, cores = facts["workers"], cluster["cores"]
    stages = {}
    for name, seconds in last["stages"].items():
        spread = 1.0
        if name in SHARED:
            spread = max(1.0, cluster["machines"] * cores * cluster["efficiency"] / here)
        elif name == "index":  # FAISS takes all cores of one machine
            spread = max(1.0, cores * cluster["efficiency"] / facts["cores"])
        stages[name] = seconds * times ** grown[name][0] / spread
    total = sum(stages.values())
    vectors = 4.0 * rows * facts["dim"]
    copies = 1 if kind == "exact" else 2
    return {
        "rows": rows,
        "stages": stages,
        "seconds": total,
        "cost": total / 3600 * cluster["machines"] * cluster["price"],
        "memory": copies * vectors + last["memory"] - copies * 4.0 * last["rows"] * facts["dim"],
        "disk": last["disk"] * times,
    }


def describe_model(facts: dict[str, Any], cluster: dict[str, Any]) -> str:
    """Say what 10 and 100 million rows take, and every assumption of it."""
    lines = [
        f"\nmodel: {cluster['machines']} machines of {cluster['cores']} cores and "
        f"{cluster['gigabytes']} GB, {cluster['price']} an hour each"
    ]
    kinds = [kind for kind in ("exact", "approximate") if kind in facts["exponents"]]
    for kind in kinds:
        for rows in TARGETS:
            one = predict(facts, kind, rows, cluster)
            stages = ", ".join(f"{name} {_duration(v)}" for name, v in one["stages"].items() if v)
            fits = one["memory"] <= cluster["gigabytes"] * 1e9
            lines += [
                f"  {kind}, {rows:,} rows: {_duration(one['seconds'])}, cost {one['cost']:,.2f}",
                f"    {stages}",
                f"    memory of each machine {one['memory'] / 1e9:,.0f} GB"
                + ("" if fits else ": MORE THAN IT HAS")
                + f"; disk {one['disk'] / 1e9:,.0f} GB",
            ]
            if not fits and kind == "approximate":
                room = int(cluster["gigabytes"] * 1e9 / 2)
                other = choose_factory(rows, rows, facts["dim"], minutes=0, memory=room)
                lines.append(f"    an index that fits half of it: {other}, which was not measured")
    lines.append("assumed:")
    for kind in kinds:
        last = _last(facts, kind)
        lines.append(f"  {kind}: from the run of {last['rows']:,} rows ({last['factory']});")
        for name, (power, why) in growths(facts, kind).items():
            if last["stages"][name]:
                lines.append(f"    {name} grows as rows^{power:.2f}: {why}")
    efficiency, here = cluster["efficiency"], facts["workers"]
    lines += [
        f"  {', '.join(SHARED)} are shared by all cores of all machines;",
        f"    a core is worth {efficiency:.0%} of one of the {here} workers here",
        "  embed (reading vectors; no model) is done by one process, and seal by few, as here",
        f"  an index is built on one machine, by its {cluster['cores']} cores, at that efficiency",
        "  all machines read vectors and index from a file system that they share, as fast as here",
        "  the exponent of the count holds beyond the sizes it was fitted on; where the search in",
        "    lists outweighs the rest it tends to 1.5 with the same settings",
        "  search settings, and so recall, are those of the largest run: more rows may find less",
        "  of vectors and an approximate index each machine has all in memory; the rest is as here",
        "  disk is in proportion to the rows",
        "  every machine is paid from the beginning to the end",
        "  no machine fails",
    ]
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:,.1f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
