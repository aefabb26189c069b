"""The throughput of a fleet behind its proxy, beside what its instances reach one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from tests.fleet.haproxy import Proxy
from tests.fleet.instances import Instance
from tests.fleet.load import Load

# Two batches of the stand-in device: one that runs and one that waits.
_CLIENTS_OF_EACH = 16


@dataclass(frozen=True)
class Compared:
    """Clips a second of each instance while the others are idle, and of all behind the proxy."""

    alone_per_s: list[float]
    together_per_s: float

    @property
    def ratio(self) -> float:
        return self.together_per_s / sum(self.alone_per_s)


async def compare(fleet: Sequence[Instance], proxy: Proxy, seconds: float) -> Compared:
    for instance in fleet:
        await proxy.until(instance, "UP")
    alone = [await _clips_per_s(instance.server.url, _CLIENTS_OF_EACH, seconds) for instance in fleet]
    return Compared(alone, await _clips_per_s(proxy.url, len(fleet) * _CLIENTS_OF_EACH, seconds))


async def _clips_per_s(url: str, clients: int, seconds: float) -> float:
    load = Load(url, small_only=True)
    async with load.running(clients, 0):
        await load.answered(2 * clients)
        load.take()
        began_s = asyncio.get_running_loop().time()
        await asyncio.sleep(seconds)
        seen, took_s = load.take(), asyncio.get_running_loop().time() - began_s
    if seen.failed:
        raise RuntimeError(f"{len(seen.failed)} clips failed: {seen.failed[0]}")
    return seen.clips / took_s
