"""``python -m tests.latency.protocol``: CPU time per request of the Open Inference Protocol, beside octet-stream.

One server on the stand-in engine that answers at once; the ways of sending a clip take turns in short rounds, for two
sizes: what a request costs besides its pixels is half of the cost of a small clip in octet-stream. The CPU time of the
server's process is counted, which other programs of the machine hardly change.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from engines.storage.bundle import DEMO
from tests.latency.payloads import bgr_clip
from tests.latency.stand_in_device import Frames
from tests.live_server import LiveServer, serving

PATH = "/v2/models/demo/infer"
OCTET_STREAM, BINARY, SHARED = "octet-stream", "V2 binary", "V2 shared memory"
# How many times as wide and as high as the clip of the other benchmarks.
ENLARGED = (1, 2)
GOALS = {BINARY: 1.15, SHARED: 0.45}

_REGION = "clip"


@dataclass
class Way:
    """A way of sending the clip, and the milliseconds of CPU per request in each round."""

    name: str
    send: Callable[[], None]
    cpu_ms: list[float] = field(default_factory=list)


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    flags.add_argument("--rounds", type=int, default=15)
    flags.add_argument("--requests", type=int, default=30, help="requests of each way in a round")
    asked = flags.parse_args()
    for enlarged in ENLARGED:
        height, width = _clip(enlarged).shape[1:3]
        print(f"{width} x {height} pixels")
        for name, ms, ratio in compared(enlarged, asked.rounds, asked.requests):
            goal = f" (goal: at most {GOALS[name]})" if name in GOALS else ""
            print(f"  {name:18}{ms:8.3f} ms of CPU per request{ratio:8.2f} of octet-stream{goal}")


def compared(enlarged: int, rounds: int, requests: int) -> list[tuple[str, float, float]]:
    """Name, milliseconds of CPU per request in the best round, and their ratio to octet-stream, of each way.

    What else the machine does takes caches from the server, which can only add to its CPU time.
    """
    os.environ["STAND_IN"] = "instant"
    with ExitStack() as stack:
        server = stack.enter_context(serving(DEMO, "--v2-shared-memory", module="tests.latency.stand_in"))
        ways = stack.enter_context(_ways(server, _clip(enlarged)))
        for _ in range(requests):  # warm
            for way in ways:
                way.send()
        for _ in range(rounds):
            for way in ways:
                way.cpu_ms.append(_cpu_ms(server, way.send, requests))
    best_ms = {way.name: min(way.cpu_ms) for way in ways}
    return [(name, ms, ms / best_ms[OCTET_STREAM]) for name, ms in best_ms.items()]


@contextmanager
def _ways(server: LiveServer, frames: Frames) -> Iterator[list[Way]]:
    place = urlsplit(server.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port)
    pixels, octets = frames.tobytes(), "application/octet-stream"
    shared = SharedMemory(create=True, size=frames.nbytes)
    try:
        shared.buf[: frames.nbytes] = frames.data.cast("B")
        asked = json.dumps({"key": shared.name, "byte_size": frames.nbytes})
        _post(connection, f"/v2/systemsharedmemory/region/{_REGION}/register", asked.encode(), {})
        region = {"shared_memory_region": _REGION, "shared_memory_byte_size": frames.nbytes}
        head, in_region = _head(frames, {"binary_data_size": frames.nbytes}), _head(frames, region)
        binary = {"Content-Type": octets, "Inference-Header-Content-Length": str(len(head))}
        body = head + pixels
        path = f"/api/v1/infer?height={frames.shape[1]}&width={frames.shape[2]}"
        yield [
            Way(OCTET_STREAM, lambda: _post(connection, path, pixels, {"Content-Type": octets})),
            Way(BINARY, lambda: _post(connection, PATH, body, binary)),
            Way(SHARED, lambda: _post(connection, PATH, in_region, {"Content-Type": "application/json"})),
        ]
    finally:
        shared.close()
        shared.unlink()


def _clip(enlarged: int) -> Frames:
    return np.ascontiguousarray(bgr_clip().repeat(enlarged, axis=1).repeat(enlarged, axis=2))


def _head(frames: Frames, parameters: dict[str, object]) -> bytes:
    tensor = {"name": "frames", "datatype": "UINT8", "shape": [1, *frames.shape], "parameters": parameters}
    return json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()


def _post(connection: http.client.HTTPConnection, path: str, body: bytes, headers: dict[str, str]) -> None:
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {text[:200]!r}")


def _cpu_ms(server: LiveServer, send: Callable[[], None], requests: int) -> float:
    began_ns = _cpu_ns(server.process.pid)
    for _ in range(requests):
        send()
    return (_cpu_ns(server.process.pid) - began_ns) / requests / 1e6


def _cpu_ns(pid: int) -> int:
    """Nanoseconds that the threads of the process have had a CPU."""
    return sum(int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat"))


if __name__ == "__main__":
    main()
