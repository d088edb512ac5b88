"""Speed and memory, measured side by side in one run: medians, and their ratios to other contenders.

Usage: python benchmarks/run.py [drawing] [whole] [serving] [memory] [planning]
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import torch
from measuring import (
    GI,
    MI,
    alternately,
    first_byte,
    our_server,
    read,
    read_elsewhere,
    row,
    seconds,
    server,
    tensor_spec,
)
from numpy.typing import NDArray

from service.delivery.memory import keep_freed_memory
from service.formats.safetensors import CHUNK_BYTES
from service.plan import TensorPlan, make_plan
from service.schema.parsing import read_spec
from service.settings import Settings

RUNS = 7
SHAPE = (4096, 16384)
VALUES = SHAPE[0] * SHAPE[1]
TRUNCATED = {"type": "truncated_normal", "std": 0.02}
TORCH = {
    "xavier_uniform": torch.nn.init.xavier_uniform_,
    "xavier_normal": torch.nn.init.xavier_normal_,
    "truncated_normal": torch.nn.init.trunc_normal_,
}
NAMES = map("w{}".format, count())
AIMS = {"xavier_uniform": 4.0, "xavier_normal": 1.2, "truncated_normal": 15.0}


def drawing() -> None:
    """In process: 64 Mi values of F32 on all cores, into memory that is already there, as in torch."""
    keep_freed_memory()
    print(f"\nDrawing in process, {VALUES // MI} Mi values of F32, {Settings().threads} threads, ns a value")
    tensor = torch.empty(SHAPE)
    out = np.empty(VALUES, np.float32)
    with ThreadPoolExecutor(Settings().threads) as pool:
        for name, initialize in TORCH.items():
            initializer = TRUNCATED if name == "truncated_normal" else name
            plan = make_plan(read_spec(tensor_spec(4 * VALUES, initializer)))
            ours = partial(_draw, pool, plan.tensors[0], out)
            theirs = partial(seconds, partial(initialize, tensor))
            found = alternately({"ours": ours, "torch": theirs}, RUNS)
            ratio = found["torch"] / found["ours"]
            row(f"{name}: ours", f"{found['ours'] / VALUES * 1e9:.2f} ns")
            row(f"{name}: torch", f"{found['torch'] / VALUES * 1e9:.2f} ns", f"{ratio:.2f} x", f"aim {AIMS[name]} x")


def _draw(pool: ThreadPoolExecutor, tensor: TensorPlan, out: NDArray[np.float32]) -> float:
    step = CHUNK_BYTES // 4
    fill = lambda first: tensor.fill(first, out[first : first + step])  # noqa: E731 - a lambda is enough
    return seconds(lambda: list(pool.map(fill, range(0, VALUES, step))))


def whole() -> None:
    """Tensors that are drawn whole, and a normal that is not cut at 2 sigma, against torch; one tensor at a time."""
    print("\nDrawing whole, F32, seconds a tensor")
    for size, aim in ((1024, "aim < 5 s"), (2048, "aim < 40 s")):
        tensor = torch.empty(size, size)
        theirs = partial(seconds, partial(torch.nn.init.orthogonal_, tensor))
        found = alternately({"ours": partial(_fresh, size, "orthogonal"), "torch": theirs}, 3)
        ratio = found["torch"] / found["ours"]
        row(f"orthogonal {size} x {size}: ours", f"{found['ours']:.2f} s", "", aim)
        row(f"orthogonal {size} x {size}: torch", f"{found['torch']:.2f} s", f"{ratio:.2f} x")
    tensor = torch.empty(2048, 2048)
    sparse = {"type": "sparse", "sparsity": 0.9}
    cut = {"type": "truncated_normal", "low": 0.5, "high": None}
    contenders = {
        "sparse, ours": partial(_fresh, 2048, sparse),
        "sparse, torch": partial(seconds, partial(torch.nn.init.sparse_, tensor, 0.9)),
        "cut at 0.5 sigma, ours": partial(_fresh, 2048, cut),
        "cut at 0.5 sigma, torch": partial(seconds, partial(torch.nn.init.trunc_normal_, tensor, a=0.5, b=10.0)),
    }
    for name, taken in alternately(contenders, 3).items():
        row(f"{name}, 2048 x 2048", f"{taken:.3f} s")


def _fresh(size: int, initializer: object) -> float:
    """Seconds for one square tensor with a name that was not drawn before."""
    layer = {"type": "tensor", "name": next(NAMES), "shape": [size, size], "initializer": initializer}
    [tensor] = make_plan(read_spec(json.dumps({"seed": 1, "layers": [layer]}).encode())).tensors
    return seconds(partial(tensor.fill, 0, np.empty(size * size, np.float32)))


def serving() -> None:
    """Over HTTP: 1 GiB, reader and server on the same cores, against constant bytes and against torch in process."""
    print("\nOver HTTP, 1 GiB of F32, statistics=none, a reader in a process of its own, GB/s")
    tensor = torch.empty(GI // 4 // SHAPE[1], SHAPE[1])
    constant_server = [sys.executable, str(Path(__file__).parent / "constant.py")]
    with server(our_server()) as ours, server(constant_server) as constant:
        specs = {
            "xavier_uniform": "xavier_uniform",
            "xavier_normal": "xavier_normal",
            "truncated_normal": TRUNCATED,
            "constant": {"type": "constant", "value": 0.5},
        }
        contenders = {
            name: partial(_reading, ours.port, tensor_spec(GI, initializer)) for name, initializer in specs.items()
        }
        contenders["one buffer again and again"] = partial(_reading, constant.port, b"{}")
        contenders["torch uniform in process"] = partial(seconds, partial(TORCH["xavier_uniform"], tensor))
        contenders["torch normal in process"] = partial(seconds, partial(TORCH["xavier_normal"], tensor))
        found = alternately(contenders, RUNS)
    for name, taken in found.items():
        row(name, f"{GI / taken / 1e9:.2f} GB/s")
    for name, other, aim in (
        ("xavier_uniform", "one buffer again and again", 0.5),
        ("xavier_uniform", "constant", 0.5),
        ("xavier_uniform", "torch uniform in process", 1.0),
        ("xavier_normal", "torch normal in process", 0.6),
    ):
        row(f"{name} / {other}", "", f"{found[other] / found[name]:.2f} x", f"aim {aim} x")


def _reading(port: int, body: bytes) -> float:
    return read_elsewhere(port, body).seconds


def memory() -> None:
    """Peak memory and latencies at 8 GiB."""
    print("\nPeak memory of the server, and latencies")
    for size in (1, 8):
        with server(our_server()) as ours:
            row(f"resident after start ({size} GiB to come)", f"{ours.memory('VmRSS'):.0f} MB")
            read_elsewhere(ours.port, tensor_spec(size * GI, "xavier_normal"))
            row(f"peak after {size} GiB of xavier_normal", f"{ours.memory('VmHWM'):.0f} MB", "", "aim < 300 MB")
    with server(our_server()) as ours:
        body = tensor_spec(8 * GI, "xavier_normal")
        permalink = f"/v1/weights/{make_plan(read_spec(body)).permalink}/model.safetensors"
        last = partial(read, ours.port, b"", permalink, f"Range: bytes=-{MI}\r\n")
        found = alternately({"last": lambda: last().seconds, "first": lambda: first_byte(ours.port, body)}, RUNS)
    row("8 GiB: first byte", f"{found['first'] * 1e3:.1f} ms", "", "aim < 50 ms")
    row("8 GiB: the last MiB by Range, whole", f"{found['last'] * 1e3:.1f} ms", "", "aim < 50 ms")


def planning() -> None:
    """Planning 10,000 tensors, in process and over HTTP."""
    print("\nPlanning 10,000 tensors")
    layers = [
        {"type": "linear", "name": f"layer{number}", "in_features": 64 + number, "out_features": 64}
        for number in range(5000)
    ]
    body = json.dumps({"seed": 1, "layers": layers}).encode()
    row("in process", f"{alternately({'': partial(seconds, lambda: make_plan(read_spec(body)))}, RUNS)['']:.2f} s")
    with server(our_server()) as ours:
        over_http = partial(read, ours.port, body, "/v1/plan")
        row(
            "POST /v1/plan, whole answer",
            f"{alternately({'': lambda: over_http().seconds}, RUNS)['']:.2f} s",
            "",
            "aim < 1 s",
        )


if __name__ == "__main__":
    parts = {part.__name__: part for part in (drawing, whole, serving, memory, planning)}
    for name in sys.argv[1:] or parts:
        parts[name]()
