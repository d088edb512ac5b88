"""Counters and gauges in the Prometheus text format, summed over all workers if there are several.

Each process counts in its own memory, and no count is ever written to a file, so a full disk stops neither the counting
nor the service. Workers exchange their counts through the process that started them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import chain
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    values,
)

values.ValueClass = values.MutexValue  # even if the environment asks for mapped files, whose disk may fill up
disable_created_metrics()  # type: ignore[no-untyped-call]  # sums of times are meaningless; the client has no types here

OURS: Final = CollectorRegistry()
REQUESTS: Final = Counter("xavier_requests", "Requests answered.", ["method", "route", "status"], registry=OURS)
SECONDS: Final = Histogram(
    "xavier_request_duration_seconds",
    "Time from the header of a request to the last byte of its answer.",
    ["route"],
    buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300),
    registry=OURS,
)
SENT: Final = Counter("xavier_sent_bytes", "Bytes of answers handed to connections.", registry=OURS)
DRAWN: Final = Counter("xavier_drawn_bytes", "Bytes of weights drawn for answers and statistics.", registry=OURS)
STREAMS: Final = Gauge("xavier_streams_active", "Answers that are being drawn.", registry=OURS)
QUEUE: Final = Gauge("xavier_streams_waiting", "Answers that wait for a place to draw.", registry=OURS)
ABORTED: Final = Counter("xavier_aborted", "Answers that were not read to the end.", ["route"], registry=OURS)
REFUSALS: Final = Counter("xavier_refusals", "Requests refused, by kind of problem.", ["reason"], registry=OURS)
PLANS: Final = Gauge("xavier_plans_active", "Requests that are being planned.", registry=OURS)
PLANS_QUEUE: Final = Gauge("xavier_plans_waiting", "Requests that wait to be planned.", registry=OURS)
UNSHARED: Final = Counter(
    "xavier_budget_storage_failures",
    "Times that Redis did not answer, so that the process counted budgets by itself.",
    registry=OURS,
)

Key = tuple[str, str, tuple[tuple[str, str], ...]]
"""The name of a metric family, the name of one of its samples, and the labels of the sample."""
Counts = Mapping[Key, float]

others: Counts | None = None
"""What the other workers have counted, according to the last report; None if this process serves alone."""


def counted() -> Counts:
    """What this process has counted."""
    return {
        (family.name, sample.name, tuple(sample.labels.items())): sample.value
        for family in OURS.collect()
        for sample in family.samples
    }


def lasting(counts: Counts) -> Counts:
    """The counts that remain when their process has ended: all but gauges."""
    gauges = {family.name for family in OURS.collect() if family.type == "gauge"}
    return {key: value for key, value in counts.items() if key[0] not in gauges}


def summed(*counts: Counts) -> Counts:
    """The sums of the counts of several processes."""
    total: defaultdict[Key, float] = defaultdict(float)
    for key, value in chain.from_iterable(each.items() for each in counts):
        total[key] += value
    return total
