"""/metrics: the counters in the Prometheus text format, summed over all workers if there are several."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Metric
from prometheus_client import generate_latest as written
from prometheus_client.samples import Sample
from starlette.responses import Response

from service.api import counters
from service.api.counters import OURS, Counts, counted, summed

router = APIRouter()


@router.get("/metrics", include_in_schema=False)
async def get_metrics() -> Response:
    """All counters; a process that serves alone adds what the Prometheus client measures about it."""
    others = counters.others
    content = written(OURS) + written(REGISTRY) if others is None else written(_Together(others))
    return Response(content, media_type=CONTENT_TYPE_LATEST, headers={"Cache-Control": "no-store"})


class _Together:
    """Our metrics, summed over this process and the others."""

    def __init__(self, of_others: Counts) -> None:
        self._counts = summed(counted(), of_others)

    def collect(self) -> Iterator[Metric]:
        for family in OURS.collect():
            family.samples = [
                Sample(name, dict(labels), value)
                for (of, name, labels), value in self._counts.items()
                if of == family.name
            ]
            yield family
