"""Very many clients at once, and clients that connect and leave: all are answered, and nothing stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from engines.storage.bundle import DEMO
from tests.live_server import LiveServer, serving
from tests.server.peers import Peer, clients, encoded, post_head, small_clips, until_metric

AT_ONCE = 2000
LEAVING_S = 3
BODY = encoded(small_clips(1)[0], top_k=1)


@pytest.fixture(autouse=True)
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = AT_ONCE + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"at most {hard} file descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _descriptors(server: LiveServer) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


async def test_2000_clients_at_once_are_all_answered() -> None:
    with serving(DEMO, "--max-connections", str(AT_ONCE + 10)) as server:
        async with clients(server) as session:
            await until_metric(session, "vjepa_connections", lambda count: count == 1)
            before = _descriptors(server)
            statuses = Counter(await asyncio.gather(*(_ask(server) for _ in range(AT_ONCE))))
            assert set(statuses) <= {200, 503}
            assert statuses[200] > 0
            await until_metric(session, "vjepa_connections", lambda count: count == 1)
            assert _descriptors(server) == before


async def _ask(server: LiveServer) -> int | None:
    peer = await Peer.connect(server)
    try:
        await peer.write(post_head(len(BODY)), BODY)
        return await peer.status_or_end()
    finally:
        peer.close()


async def test_clients_that_connect_and_leave_leave_no_descriptor() -> None:
    with serving(DEMO) as server:
        async with clients(server) as session:
            await until_metric(session, "vjepa_connections", lambda count: count == 1)
            before = _descriptors(server)
            left = sum(await asyncio.gather(*(_connect_and_leave(server) for _ in range(20))))
            assert left > 100
            await until_metric(session, "vjepa_connections", lambda count: count == 1)
            assert _descriptors(server) == before


async def _connect_and_leave(server: LiveServer) -> int:
    """Connect, sometimes send a part of a request, and leave; returns how often."""
    place, loop, count = urlsplit(server.url), asyncio.get_running_loop(), 0
    end_s = loop.time() + LEAVING_S
    while loop.time() < end_s:
        with contextlib.suppress(ConnectionError):
            _, writer = await asyncio.open_connection(place.hostname, place.port)
            writer.write(post_head(len(BODY))[: (count % 3) * 20])
            if count % 2:
                writer.transport.abort()
            else:
                writer.close()
        count += 1
    return count
