"""Any replica serves any part: the bytes do not depend on the process or its threads; for workers, see tests/cli."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.api.servers import Server
from tests.api.specs import EVERY_LAYER


@pytest.fixture(scope="module")
def replicas(client: httpx.Client, impatient: Server) -> Iterator[list[httpx.Client]]:
    """Clients of two servers: one with a thread for each processor, and one with a single thread."""
    with impatient.client(limits=httpx.Limits(max_keepalive_connections=0)) as other:
        yield [client, other]


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 10**9), max_size=6), turns=st.lists(st.integers(0, 1), min_size=7, max_size=7))
def test_any_partition_over_any_replicas_is_the_whole(
    replicas: list[httpx.Client], cuts: list[int], turns: list[int]
) -> None:
    path = replicas[0].post("/v1/plan", json=EVERY_LAYER).json()["permalink"]
    whole = replicas[0].get(path).content
    places = [0, *sorted(cut % len(whole) for cut in cuts), len(whole)]

    parts = [
        replicas[turn].get(path, headers={"Range": f"bytes={start}-{stop - 1}"}).content
        for (start, stop), turn in zip(pairwise(places), turns, strict=False)
        if start < stop
    ]

    assert b"".join(parts) == whole


def test_the_specification_reaches_every_replica_by_its_address_alone(replicas: list[httpx.Client]) -> None:
    path = replicas[0].post("/v1/plan", json=EVERY_LAYER).json()["permalink"]
    tags = {replica.head(path).headers["etag"] for replica in replicas}

    assert len(tags) == 1
