"""``python -m tests.soak``: steady load for a long time, with bad requests and clients that leave; nothing may grow.

Prints what it saw; exits with 1 and says so when something is not as it should be.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import random
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from engines.storage.bundle import DEMO
from tests.latency.load import ask
from tests.live_server import LiveServer, serving
from tests.server.peers import Peer, clients, encoded, metrics, post_head, small_clips, until_metric

LOAD = 0.8
BAD = 0.05
LEAVING = 0.05
# Far fewer than the service admits. A machine that gets slower than it was when measured gets fewer requests, so that a
# refusal is always a fault.
MOST_AT_ONCE = 24
PATIENT = ("--deadline-ms", "60000")
MOST_GROWTH_BYTES = 4 * 2**20
PAGE_BYTES = 4096


@dataclass
class Soak:
    """What was sent, what came back, and what the process held meanwhile."""

    per_s: float
    sent: int = 0
    left: int = 0
    statuses: collections.Counter[int] = field(default_factory=collections.Counter)
    held: list[dict[str, int]] = field(default_factory=list)
    counted: dict[str, float] = field(default_factory=dict)
    descriptors_before: int = 0
    descriptors_after: int = 0

    @property
    def under_way(self) -> int:
        """Requests without an answer whose clients have not left."""
        return self.sent - self.left - self.statuses.total()

    def complaints(self) -> Iterator[str]:
        """Nothing when all is well."""
        outcomes = {
            series: value for series, value in self.counted.items() if series.startswith("vjepa_requests_total")
        }
        if (received := self.counted["vjepa_requests_received_total"]) != sum(outcomes.values()):
            yield f"{received:.0f} requests received, but {outcomes} ended"
        if not self.sent - self.left <= received <= self.sent:
            yield f"{self.sent} requests sent, {self.left} of them by clients that left, but {received:.0f} received"
        if self.under_way:
            yield f"{self.sent} requests sent, but only {self.statuses} answered and {self.left} left"
        if unexpected := set(self.statuses) - {200, 400, 422}:
            yield f"answers of {unexpected}"
        if self.statuses[200] < 0.85 * self.sent:
            yield f"only {self.statuses[200]} of {self.sent} answered with 200"
        if self.descriptors_after != self.descriptors_before:
            yield f"{self.descriptors_before} file descriptors before, {self.descriptors_after} after"
        for what, most in (("resident_bytes", MOST_GROWTH_BYTES), ("threads", 0)):
            if (growth := self.growth(what)) > most:
                yield f"{what} grew by {growth:.0f}"

    def growth(self, what: str) -> float:
        """Median of the last third of the time, less that of the second tenth."""
        values = [sample[what] for sample in self.held]
        tenth = max(1, len(values) // 10)
        return statistics.median(values[-len(values) // 3 :]) - statistics.median(values[tenth : 2 * tenth + 1])


async def soak(server: LiveServer, seconds: float, seed: int = 0) -> Soak:
    """Load ``server`` at ``LOAD`` of its capacity, which is measured first, and no faster than it answers."""
    rng = random.Random(seed)
    bodies = [encoded(frames) for frames in small_clips(8)]
    capacity = (await ask(server, bodies[0], 4, 3)).clips_per_s
    async with clients(server) as session:
        before = await metrics(session)
        result = Soak(per_s=LOAD * capacity)
        result.descriptors_before = await _descriptors_at_rest(server, session)
        await _load(server, result, bodies, rng, seconds)
        result.descriptors_after = await _descriptors_at_rest(server, session)
        after = await metrics(session)
    result.counted = {series: value - before.get(series, 0) for series, value in after.items()}
    return result


async def _load(server: LiveServer, result: Soak, bodies: list[bytes], rng: random.Random, seconds: float) -> None:
    began_s = time.monotonic()
    sampled_s = began_s
    async with asyncio.TaskGroup() as group:
        while (now_s := time.monotonic()) < began_s + seconds:
            due = int((now_s - began_s) * result.per_s) - result.sent
            for _ in range(min(due, MOST_AT_ONCE - result.under_way)):
                result.sent += 1
                group.create_task(_request(server, result, rng.choice(bodies), rng))
            if now_s - sampled_s >= seconds / 100:
                sampled_s = now_s
                result.held.append(_held(server))
            await asyncio.sleep(0.5 / result.per_s)


async def _request(server: LiveServer, result: Soak, body: bytes, rng: random.Random) -> None:
    """On a connection of its own: a good request, a bad one, or one whose client leaves at some point of its way."""
    fate = rng.random()
    peer = await Peer.connect(server)
    if fate < BAD:
        body = body[: rng.randrange(len(body))]
    await peer.write(post_head(len(body)), body)
    if fate > 1 - LEAVING:
        await asyncio.sleep(rng.random() * 0.02)
        result.left += 1
    else:
        result.statuses[(await peer.answer()).status] += 1
    peer.close()


async def _descriptors_at_rest(server: LiveServer, session: aiohttp.ClientSession) -> int:
    """Open file descriptors once nothing but the connection that asks is there."""
    for gauge, rest in (("vjepa_admitted_clips", 0), ("vjepa_inflight_bytes", 0), ("vjepa_connections", 1)):
        await until_metric(session, gauge, lambda value, rest=rest: value == rest)
    return len(list((_process(server) / "fd").iterdir()))


def _held(server: LiveServer) -> dict[str, int]:
    process = _process(server)
    pages = int((process / "statm").read_text().split()[1])
    return {"resident_bytes": pages * PAGE_BYTES, "threads": len(list((process / "task").iterdir()))}


def _process(server: LiveServer) -> Path:
    """Its directory in ``/proc``."""
    return Path(f"/proc/{server.process.pid}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="just soak", description="Steady load for a long time; nothing may grow.")
    parser.add_argument("--minutes", type=float, default=20, help="(default: 20)")
    flags = parser.parse_args()
    with serving(DEMO, "--log-level", "info", *PATIENT) as server:
        result = asyncio.run(soak(server, flags.minutes * 60))
        code = server.stop()
    complaints = [*result.complaints(), *([f"exit code {code}"] if code else [])]
    print(f"{result.sent} requests, at most {result.per_s:.0f} a second; {dict(result.statuses)}, {result.left} left")
    print(f"file descriptors: {result.descriptors_before} before, {result.descriptors_after} after")
    for what, first in result.held[0].items():
        print(f"{what}: {first} at first, {result.held[-1][what]} at last, growth {result.growth(what):.0f}")
    for complaint in complaints:
        print(f"not as it should be: {complaint}")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
