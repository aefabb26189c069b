"""What happens to the instances, one after the other, and what their clients see of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.fleet.haproxy import Proxy
from tests.fleet.instances import Instance
from tests.fleet.load import Load, Seen

POSTING, STREAMING = 8, 6
HEADINGS = "fault        clips  failed   again  slowest s  windows  lost  reconnected"
# Clips that are answered before, between and after the faults.
_CLIPS_BETWEEN = 100


@dataclass
class Injury:
    """What clients saw while one after the other was injured; ``again``: requests that HAProxy sent again."""

    seen: Seen
    again: int

    def row(self, name: str) -> str:
        seen = self.seen
        return (
            f"{name:10}{seen.clips:8}{len(seen.failed):8}{self.again:8}{seen.slowest_s:11.2f}"
            f"{seen.windows:9}{seen.windows_lost:6}{seen.reconnections:13}"
        )


Fault = Callable[[Instance, Proxy], Awaitable[None]]


async def _drain(instance: Instance, proxy: Proxy) -> None:
    await asyncio.to_thread(instance.drain)
    await _restart(instance, proxy)


async def _stop_at_once(instance: Instance, proxy: Proxy) -> None:
    await asyncio.to_thread(instance.stop_at_once)
    await _restart(instance, proxy)


async def _kill(instance: Instance, proxy: Proxy) -> None:
    await asyncio.to_thread(instance.kill)
    await _restart(instance, proxy)


async def _freeze(instance: Instance, proxy: Proxy) -> None:
    instance.freeze()
    await proxy.until(instance, "DOWN")
    instance.thaw()
    await proxy.until(instance, "UP")


async def _swap(instance: Instance, proxy: Proxy) -> None:
    await asyncio.to_thread(instance.swap)


async def _restart(instance: Instance, proxy: Proxy) -> None:
    await proxy.until(instance, "DOWN")
    await asyncio.to_thread(instance.start)
    await proxy.until(instance, "UP")


FAULTS: dict[str, Fault] = {"drain": _drain, "restart": _stop_at_once, "kill": _kill, "freeze": _freeze, "swap": _swap}


async def inject(fleet: Sequence[Instance], proxy: Proxy) -> list[tuple[str, Injury]]:
    """Each fault to each instance while clients are at work; the first entry is without one."""
    for instance in fleet:
        await proxy.until(instance, "UP")
    load = Load(proxy.url)
    injuries: list[tuple[str, Injury]] = []
    async with load.running(POSTING, STREAMING):
        await load.answered(_CLIPS_BETWEEN)
        injuries.append(("none", Injury(load.take(), await proxy.retries())))
        for name, fault in FAULTS.items():
            again = await proxy.retries()
            for instance in fleet:
                await fault(instance, proxy)
                await load.answered(_CLIPS_BETWEEN)
            injuries.append((name, Injury(load.take(), await proxy.retries() - again)))
    return injuries


def complaints(name: str, injury: Injury) -> Iterator[str]:
    """Nothing when all is well. A killed process may take the answers with it that it had begun to send."""
    seen = injury.seen
    if seen.failed and not (name == "kill" and len(seen.failed) <= POSTING):
        yield f"{name}: {len(seen.failed)} of {seen.clips} clips failed: {sorted(set(seen.failed))[:5]}"
    if seen.windows_lost > seen.reconnections:
        yield f"{name}: {seen.windows_lost} windows lost in {seen.reconnections} reconnections"
    if name in ("none", "swap") and seen.reconnections:
        yield f"{name}: {seen.reconnections} streams were closed"
    if not seen.windows:
        yield f"{name}: no window of a stream was answered"
