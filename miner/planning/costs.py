"""How much a job has to do, and what each piece of it costs: for `planning.estimate`."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Costs", "IndexCosts", "Work"]


@dataclass(frozen=True, slots=True)
class Work:
    """How much there is to do.

    Attributes
    ----------
    anchors : int
        Those that have triplets.
    all_anchors, rows, dim : int
    units, unit : int
        Units of the counting pass, and the anchors of one.
    fresh : int
        Rows that go through the model.
    stored : int
        Rows that the store is made of; 0 where it is there.
    triplets : int
        Those that will be written, about.
    parts : int
        Shards that they make.
    audited : int
        Anchors that an approximate run counts exactly too.
    lists : int
        Of an inverted file; 0 without one.
    counted : bool
        Whether an earlier run's count serves.
    """

    anchors: int
    all_anchors: int
    rows: int
    dim: int
    units: int
    unit: int
    fresh: int
    stored: int
    triplets: int
    parts: int
    audited: int = 0
    lists: int = 0
    counted: bool = False


@dataclass(frozen=True, slots=True)
class IndexCosts:
    """What an index of a sample took, in seconds.

    Attributes
    ----------
    rows, lists, probes : int
        Of the sample's index: its rows, its lists, and how many of these a search looks through.
    train, add : float
    truth, tune : float
        Finding the true nearest rows of a few anchors; trying search parameters on them.
    ask : float
        What is asked of the finished index, and saving it.
    """

    rows: int
    lists: int = 0
    probes: int = 1
    train: float = 0.0
    add: float = 0.0
    truth: float = 0.0
    tune: float = 0.0
    ask: float = 0.0


@dataclass(frozen=True, slots=True)
class Costs:
    """What a calibration measured, in seconds of one worker, and in bytes.

    Attributes
    ----------
    rows : int
        The rows of the sample against which anchors were counted.
    start : float
        Finding out what there is, with the check sums of all files.
    read : float
        Reading all data once.
    embed, keep : float
        A row through the model; a row into the store.
    begin : float
        Opening the pass over the sample, and its first anchors.
    count : float
        An anchor, against the rows of the sample.
    count_unit, write_unit : float
        What a unit takes beside its anchors, and beside its triplets: files are flushed to disk.
    search : float
        Of it, what the search in an approximate index takes.
    merge : float
        A hub of a unit, added up.
    write, seal : float
        A triplet as a record; as a row of a shard.
    audit, audit_begin : float
        An anchor counted exactly beside an approximate run; opening the pass for it.
    count_cpu, write_cpu : float
        CPU seconds of an anchor that is counted, of a triplet that is written.
    count_serial, write_serial : float
        Share of that work which workers of one process do one at a time.
    record : float
        Bytes that a unit leaves of an anchor, but for hubs and lists of the rows within reach.
    listed : float
        Bytes of those lists, an anchor: of the sample's rows.
    hub : float
        Bytes of a hub in a unit's file; 0 where there are none.
    seen : float
        The share of all rows that are hubs of `sliced` anchors.
    sliced : int
    shard : float
        Bytes of a row of a shard.
    row : float
        Bytes that ids, texts and relevance take in the store, a row.
    index : IndexCosts
    """

    rows: int
    start: float = 0.0
    read: float = 0.0
    embed: float = 0.0
    keep: float = 0.0
    begin: float = 0.0
    count: float = 0.0
    count_unit: float = 0.0
    write_unit: float = 0.0
    search: float = 0.0
    merge: float = 0.0
    write: float = 0.0
    seal: float = 0.0
    audit: float = 0.0
    audit_begin: float = 0.0
    count_cpu: float = 0.0
    write_cpu: float = 0.0
    count_serial: float = 0.0
    write_serial: float = 0.0
    record: float = 0.0
    listed: float = 0.0
    hub: float = 0.0
    seen: float = 0.0
    sliced: int = 1
    shard: float = 0.0
    row: float = 0.0
    index: IndexCosts = field(default_factory=lambda: IndexCosts(1))
