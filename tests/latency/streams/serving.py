"""A server for streams as a process of its own, and what it uses of the CPU."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from unittest import mock

import aiohttp
import psutil

from engines.storage.bundle import DEMO
from tests.live_server import LiveServer, serving

FLAGS = ("--max-streams", "1024", "--max-inflight-mb", "8192", "--max-connections", "2048", "--deadline-ms", "600000")


@contextlib.contextmanager
def stand_in(pace: str, *flags: str, crop: int | None = None, turns: str = "fair") -> Iterator[LiveServer]:
    """A server on the stand-in engine of that ``pace``; see ``server.py`` beside this."""
    environment = {"STAND_IN": pace, "TURNS": turns} | ({} if crop is None else {"CROP": str(crop)})
    with (
        mock.patch.dict(os.environ, environment),
        serving(DEMO, *FLAGS, *flags, module="tests.latency.streams.server") as server,
    ):
        yield server


@contextlib.asynccontextmanager
async def asking(server: LiveServer) -> AsyncIterator[aiohttp.ClientSession]:
    """A session without limits of its own."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(server.url, connector=connector, timeout=aiohttp.ClientTimeout(None)) as session:
        yield session


def cpu_s(server: LiveServer) -> float:
    """CPU seconds of the server so far."""
    used = psutil.Process(server.process.pid).cpu_times()
    return float(used.user + used.system)
