"""What one request may cost, and how it delays others: refusals, ranges of cached plans, floods beside small requests.

Usage: python benchmarks/bounds.py; needs nothing but what the tests need.
"""

from __future__ import annotations

import gc
import json
import socket
import threading
import time
import zlib
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from statistics import median
from typing import Any

from measuring import alternately, our_server, read, row, server

from service.app import COLLECT_AFTER
from service.errors import Refused
from service.formats.safetensors import check_outline
from service.limits import Limits
from service.plan import make_outline, make_plan
from service.schema.parsing import read_spec

RUNS = 7
SMALL = b'{"seed":1,"layers":[{"type":"linear","name":"fc","in_features":3,"out_features":2}]}'
FIRST_BYTE = "Range: bytes=0-0\r\n"
CLIENTS = 4
ASKED = 60


def listed(template: str, times: int, **more: Any) -> bytes:
    """A specification of `times` layers, each with its number in place of #."""
    layers = ",".join(template.replace("#", str(number)) for number in range(times))
    return (json.dumps({"seed": 1} | more)[:-1] + f', "layers": [{layers}]}}').encode()


def repeated(times: int, seed: int = 1) -> bytes:
    """A specification that repeats a layer of two tensors."""
    linear = {"type": "linear", "name": "fc", "in_features": 2, "out_features": 2}
    layers = [{"type": "repeat", "name": "h", "times": times, "layers": [linear]}]
    return json.dumps({"seed": seed, "layers": layers}).encode()


LINEAR = '{"type":"linear","name":"#","in_features":1#,"out_features":2}'
WRONG = {
    "1.4 million empty objects": listed("{}", 1_390_000),
    "2 million numbers": listed("5", 2_000_000),
    "130,000 empty objects": listed("{}", 130_000),
    "8,000 different layers, the last of them wrong": listed(LINEAR, 8_000)[:-2]
    + b',{"type":"tensor","name":"w","shape":[2],"initializer":"he_normal"}]}',
    "21,000 tensors of one name": listed('{"type":"tensor","name":"w","shape":[1]}', 21_000, initializer="ones"),
    "21,000 names with control characters": listed('{"type":"tensor","name":"#\\u0001","shape":[]}', 21_000),
    "26,000 attentions": listed('{"type":"multihead_attention","name":"#","embed_dim":1#,"num_heads":1}', 26_000),
    "a gru of 16,000 layers and directions": json.dumps(
        {
            "seed": 1,
            "framework": "keras",
            "layers": [
                {
                    "type": "gru",
                    "name": "r",
                    "input_size": 2,
                    "hidden_size": 2,
                    "num_layers": 16_000,
                    "bidirectional": True,
                    "bias_initializer": "torch_default",
                }
            ],
        }
    ).encode(),
}


def refusing() -> None:
    """Processor seconds for refusing the largest requests, in process."""
    gc.set_threshold(COLLECT_AFTER)  # as the server does
    print("\nRefusing the largest requests, processor seconds in process, aim < 1 s")
    for name, raw in WRONG.items():
        row(f"{name}, {len(raw) / 1e6:.1f} MB", f"{alternately({'': partial(_refused, raw)}, 3)['']:.3f} s")


def _refused(raw: bytes) -> float:
    start = time.process_time()
    try:
        outline = make_outline(read_spec(raw))
        check_outline(outline, "expected", Limits())
        outline.expanded()
    except Refused:
        return time.process_time() - start
    raise AssertionError("it should be refused")


def ranges() -> None:
    """One byte of a file of 100,000 tensors, compared with one of a file of a single layer; both plans are cached."""
    print("\nRange: bytes=0-0, the plan kept, milliseconds")
    with server(our_server()) as ours:
        ask = {
            name: partial(_one_byte, ours.port, _path(repeated(times), "?statistics=none"))
            for name, times in (("2 tensors", 1), ("100,000 tensors", 50_000))
        }
        found = alternately(ask, 5 * RUNS)
    for name, taken in found.items():
        row(name, f"{taken * 1e3:.2f} ms", f"{taken / found['2 tensors']:.2f} x", "aim < 5 x")


def _one_byte(port: int, path: str) -> float:
    return read(port, b"", path, FIRST_BYTE).seconds


def _path(spec: bytes, query: str) -> str:
    deflate = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    permalink = urlsafe_b64encode(deflate.compress(make_plan(read_spec(spec)).canonical) + deflate.flush())
    return f"/v1/weights/{permalink.rstrip(b'=').decode()}/model.safetensors{query}"


def floods() -> None:
    """A small POST while other clients keep sending HEAD for 100,000 tensors, each time with another seed."""
    print("\nA small POST beside a flood of HEAD on 100,000 tensors, milliseconds")
    path, seeds = _path(repeated(50_000), "?statistics=none&seed="), count(1)
    with server(our_server()) as ours:
        for clients in (0, 1, CLIENTS):
            with _flood(ours.port, path, seeds, clients):
                taken = sorted(read(ours.port, SMALL).seconds for _ in range(ASKED))
            name = f"{clients} clients that flood" if clients else "alone"
            row(name, f"median {median(taken) * 1e3:.1f} ms", f"p95 {taken[ASKED * 95 // 100] * 1e3:.1f} ms")


@contextmanager
def _flood(port: int, path: str, seeds: Iterator[int], clients: int) -> Iterator[None]:
    over = threading.Event()
    threads = [threading.Thread(target=_ask_on, args=(port, path, seeds, over)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(1 if clients else 0)
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _ask_on(port: int, path: str, seeds: Iterator[int], over: threading.Event) -> None:
    while not over.is_set():
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(
                f"HEAD {path}{next(seeds)} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
            )
            while connection.recv(1 << 16):
                pass


if __name__ == "__main__":
    for part in (refusing, ranges, floods):
        part()
