"""Ten clients that send costly images beside others, which are answered nearly as fast as without them."""

from __future__ import annotations

import asyncio
import json
import statistics
import warnings

import aiohttp
import numpy as np
import pytest

from engines.storage.bundle import DEMO
from tests.live_server import serving
from tests.server.peers import clients, encoded, send, small_clips
from tests.server.requests import image_body
from tests.server.test_image_bombs import END, PROFILE, SIGNATURE, header, jpeg_of_scans

ATTACKERS = 10
PHASE_S = 5
BODY = encoded(small_clips(1)[0], top_k=1)


def _bombs() -> list[bytes]:
    """Requests of at most 2 MB: too many scans, chunks that inflate to 90 MiB, and as many scans as are accepted."""
    images = [
        jpeg_of_scans(6949, np.zeros((16, 16, 3), np.uint8)),
        SIGNATURE + header(64) + PROFILE * 90 + END,
        jpeg_of_scans(18, np.zeros((1024, 1024, 3), np.uint8)),
    ]
    return [json.dumps(image_body([image] * 16)).encode() for image in images]


@pytest.mark.alone
async def test_others_are_answered_in_time_beside_ten_clients_that_send_costly_images() -> None:
    """Without bounds on what follows from a few bytes, each of these requests took more than 4 s of CPU time."""
    bombs = _bombs()
    assert max(map(len, bombs)) < 2.1e6
    with serving(DEMO) as server:
        async with clients(server) as session:
            await _latencies_ms(session, 1)
            alone_ms = await _latencies_ms(session, PHASE_S)
            attackers = [asyncio.create_task(_attack(session, bombs[index % len(bombs)])) for index in range(ATTACKERS)]
            beside_ms = await _latencies_ms(session, PHASE_S)
            for attacker in attackers:
                attacker.cancel()
            statuses = await asyncio.gather(*attackers)
    assert all(set(sent) <= {400, 504} for sent in statuses)
    assert statistics.median(beside_ms) < 2 * statistics.median(alone_ms)
    ratio = _p99(beside_ms) / _p99(alone_ms)
    assert ratio < 5
    if ratio > 2:
        warnings.warn(f"the 99th percentile was {ratio:.1f} times as long, not 2", stacklevel=1)


async def _latencies_ms(session: aiohttp.ClientSession, seconds: float) -> list[float]:
    """Of clips that are sent one after the other, while the service reports that it is ready."""
    loop, latencies_ms = asyncio.get_running_loop(), []
    end_s = loop.time() + seconds
    while loop.time() < end_s:
        began_s = loop.time()
        assert (await send(session, BODY)).status == 200
        latencies_ms.append((loop.time() - began_s) * 1e3)
        async with session.get("/health/ready") as response:
            assert response.status == 200
    return latencies_ms


def _p99(latencies_ms: list[float]) -> float:
    return statistics.quantiles(latencies_ms, n=100)[-1]


async def _attack(session: aiohttp.ClientSession, bomb: bytes) -> list[int]:
    """A request a second with a deadline of a second, until it is cancelled."""
    statuses: list[int] = []
    try:
        while True:
            statuses.append((await send(session, bomb, {"X-Deadline-Ms": "1000"})).status)
            await asyncio.sleep(1)
    except asyncio.CancelledError:
        return statuses
