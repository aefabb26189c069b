"""A stop while streams send: how long after its last answer each of them is closed."""

from __future__ import annotations

import asyncio
import signal
import time

import aiohttp
import numpy as np

from tests.latency.streams.serving import asking, stand_in
from tests.latency.tables import Table
from tests.live_server import LiveServer
from tests.server.streams import packed, streaming

_FPS = 3.0
_SIDE = 64
_MOST_S = 1.0
# By then every stream has had answers.
_RUNS_S = 8.0


def measure(count: int) -> tuple[Table, bool]:
    """The table, and whether all streams were closed with 1001 within a second."""
    with stand_in("gpu") as server:
        ends = asyncio.run(_run(server, count))
        code = server.wait()
    waited_s = sorted(waited for waited, _ in ends)
    right = sum(closed == aiohttp.WSCloseCode.GOING_AWAY for _, closed in ends)
    holds = right == count and waited_s[-1] <= _MOST_S and code == 0
    row = (str(count), str(right), f"{waited_s[-1] * 1e3:.0f}", str(code), "" if holds else "MISSED")
    columns = ("streams", "closed with 1001", "most ms", "exit code", "")
    return Table("SIGTERM while streams send: from a stream's last answer to its close", columns, [row]), holds


async def _run(server: LiveServer, count: int) -> list[tuple[float, int | None]]:
    async with asking(server) as session:
        running = [asyncio.create_task(_end(session, index / count)) for index in range(count)]
        await asyncio.sleep(_RUNS_S)
        signalled_s = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        return [
            (closed_s - max(last_s, signalled_s), code) for last_s, closed_s, code in await asyncio.gather(*running)
        ]


async def _end(session: aiohttp.ClientSession, first_s: float) -> tuple[float, float, int | None]:
    """Times of the last answer and of the close, by the monotonic clock, and the code of the close."""
    frame = np.zeros((_SIDE, _SIDE, 3), np.uint8)
    async with streaming(session, fps=_FPS, stride=1) as client:

        async def send() -> None:
            for index in range(100_000):
                await client.socket.send_bytes(packed(index / _FPS, frame))
                # So that windows are under way from the start, the first one is filled at once.
                await asyncio.sleep(first_s / _FPS if index < 16 else 1 / _FPS)

        sending = asyncio.create_task(send())
        last_s = time.monotonic()
        async for message in client.socket:
            if message.json()["type"] == "prediction":
                last_s = time.monotonic()
        closed_s = time.monotonic()
        sending.cancel()
        await asyncio.wait([sending])
        return last_s, closed_s, client.socket.close_code
