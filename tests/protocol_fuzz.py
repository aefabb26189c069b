"""``python -m tests.protocol_fuzz``: 10,000 hostile requests of the Open Inference Protocol against one process."""

from __future__ import annotations

import argparse
import asyncio
import collections
import random
import sys
from pathlib import Path

import aiohttp

from engines.storage.bundle import DEMO
from tests.live_server import LiveServer, serving
from tests.server.hostile_tensors import DOCUMENTED, Attacker
from tests.server.peers import clients, metrics, resident_bytes, small_clips
from tests.server.tensors import TensorRequest, ask, pixels

_FOLDER = Path("/dev/shm")
_CLIENTS = 4
_MOST_GROWTH_BYTES = 300 * 2**20

Statuses = collections.Counter[int | None]


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--requests", type=int, default=10_000)
    flags.add_argument("--seed", type=int, default=24)
    asked = flags.parse_args()
    with serving(DEMO, "--v2-shared-memory") as server:
        statuses = asyncio.run(_fuzz(server, asked.requests, asked.seed))
        code = server.stop()
    errors = [entry for entry in server.log if entry["level"] in ("ERROR", "CRITICAL")]
    print(f"{statuses.total()} actions: " + ", ".join(f"{status} {count}" for status, count in statuses.most_common()))
    print(f"exit code {code}, {len(errors)} errors in the log")
    return 1 if code or errors else 0


async def attack(
    session: aiohttp.ClientSession, rng: random.Random, requests: int, *, key: str, model: str
) -> Statuses:
    """Send ``requests``, of which each must get a documented status; None counts the changes of files."""
    attacker, statuses = Attacker(session, rng, _FOLDER, key, model), Statuses()
    try:
        while statuses.total() - statuses[None] < requests:
            statuses[await attacker.act()] += 1
    finally:
        attacker.clean_up()
    assert {status for status in statuses if status is not None} <= DOCUMENTED, statuses
    return statuses


async def check_unharmed(session: aiohttp.ClientSession, server: LiveServer, sent: TensorRequest, model: str) -> None:
    """The process still answers and holds nothing: no clip, no bytes, and no region after it was unregistered."""
    assert server.process.poll() is None
    async with session.post("/v2/systemsharedmemory/unregister") as response:
        assert response.status == 200
    assert (await ask(session, sent, model)).status == 200
    figures = await metrics(session)
    assert (figures["vjepa_admitted_clips"], figures["vjepa_inflight_bytes"]) == (0, 0)
    links = [link.readlink() for link in Path(f"/proc/{server.process.pid}/fd").iterdir() if link.is_symlink()]
    assert not [link for link in links if str(link).startswith(f"{_FOLDER}/vjepa-test-")]


async def _fuzz(server: LiveServer, requests: int, seed: int) -> Statuses:
    clip = pixels(small_clips(1)[0][None])
    async with clients(server) as session:
        await ask(session, clip, "demo")
        before_bytes = resident_bytes(server)
        counted = await asyncio.gather(
            *(
                attack(
                    session,
                    random.Random(seed + number),
                    requests // _CLIENTS,
                    key=f"vjepa-test-fuzz-{seed}-{number}",
                    model="demo",
                )
                for number in range(_CLIENTS)
            )
        )
        await check_unharmed(session, server, clip, "demo")
    growth_bytes = resident_bytes(server) - before_bytes
    assert growth_bytes < _MOST_GROWTH_BYTES, f"the process has grown by {growth_bytes} bytes"
    return sum(counted, Statuses())


if __name__ == "__main__":
    sys.exit(main())
