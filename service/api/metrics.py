"""Counters and gauges of this process, in the Prometheus text format; of all workers where there are several.

With several workers `PROMETHEUS_MULTIPROC_DIR` must be set before this module is imported; `xavier serve` does so.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client import generate_latest as written
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from starlette.responses import Response

REQUESTS: Final = Counter("xavier_requests", "Requests answered.", ["method", "route", "status"])
SECONDS: Final = Histogram(
    "xavier_request_duration_seconds",
    "From the header of a request to the last byte of its answer.",
    ["route"],
    buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300),
)
SENT: Final = Counter("xavier_sent_bytes", "Bytes of answers handed to connections.")
DRAWN: Final = Counter("xavier_drawn_bytes", "Bytes of weights drawn for answers and statistics.")
STREAMS: Final = Gauge("xavier_streams_active", "Answers that draw now.", multiprocess_mode="livesum")
QUEUE: Final = Gauge("xavier_streams_waiting", "Answers that wait for a place to draw.", multiprocess_mode="livesum")
PLANS: Final = Gauge("xavier_plans_active", "Requests that are planned now.", multiprocess_mode="livesum")
PLANS_QUEUE: Final = Gauge("xavier_plans_waiting", "Requests that wait to be planned.", multiprocess_mode="livesum")
ABORTED: Final = Counter("xavier_aborted", "Answers that were not taken to the end.", ["route"])
REFUSALS: Final = Counter("xavier_refusals", "Requests refused, by the kind of problem.", ["reason"])
UNSHARED: Final = Counter(
    "xavier_budget_storage_failures", "Times that Redis did not answer, so that a process counted budgets by itself."
)

router = APIRouter()


@router.get("/metrics", include_in_schema=False)
async def get_metrics() -> Response:
    """Everything above, and what the Prometheus client says of the process."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        _forget_the_dead(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the client has no types here
    return Response(written(registry), media_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})


def _forget_the_dead(folder: Path) -> None:
    """A worker that was killed left its gauges as they stood; what it counted stays."""
    for pid in {int(file.stem.rpartition("_")[2]) for file in folder.glob("gauge_live*.db")}:
        try:
            os.kill(pid, 0)  # asks whether it is there
        except ProcessLookupError:
            with suppress(FileNotFoundError):  # another worker was quicker
                mark_process_dead(pid)  # type: ignore[no-untyped-call]  # the client has no types here
