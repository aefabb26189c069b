"""SIGTERM under load: accepted requests are answered, later ones are refused."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from urllib.parse import urlsplit

import aiohttp

from engines.storage.bundle import DEMO
from tests.faulty_server import marked
from tests.live_server import LiveServer
from tests.server.peers import (
    Peer,
    clients,
    encoded,
    faulty,
    post_head,
    send,
    small_clips,
    tell,
    until_metric,
)

FRAMES = small_clips(1)[0]
BODY = encoded(FRAMES)


async def test_sigterm_at_full_load_loses_no_accepted_request() -> None:
    with faulty(DEMO) as server:
        async with clients(server) as session:
            await tell(server, "hold")
            accepted = [asyncio.create_task(send(session, BODY)) for _ in range(30)]
            await until_metric(session, "vjepa_admitted_clips", lambda clips: clips == 30)
            server.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(server.wait_for, "draining")
            with contextlib.suppress(aiohttp.ClientConnectionError):
                assert (await send(session, BODY)).status == 503
            await tell(server, "release")
            answers = await asyncio.gather(*accepted)
        assert [answer.status for answer in answers] == [200] * 30
        assert {answer.headers["Connection"] for answer in answers} == {"close"}
        assert await asyncio.to_thread(server.wait) == 0
    assert server.log[-1]["event"] == "stopped"


async def test_requests_are_accepted_during_the_drain_delay() -> None:
    with faulty(DEMO, "--drain-delay-s", "3") as server:
        peer = await Peer.connect(server)
        server.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(server.wait_for, "draining")
        async with clients(server) as session:
            async with session.get("/health/ready") as ready, session.get("/health") as health:
                assert (ready.status, (await health.json())["status"]) == (503, "draining")
                assert int(ready.headers["Retry-After"]) >= 1
            # Requests are still served, over new and over open connections.
            assert (await send(session, BODY)).status == 200
        await peer.write(post_head(len(BODY)), BODY)
        assert (await peer.answer()).status == 200
        assert await asyncio.to_thread(server.wait) == 0


async def test_drain_ends_after_its_timeout() -> None:
    with faulty(DEMO, "--drain-timeout-s", "1") as server:
        peer = await Peer.connect(server)
        await peer.write(post_head(len(BODY)), BODY[:-1])
        async with clients(server) as session:
            await until_metric(session, "vjepa_inflight_bytes", lambda count: count > 0)
        assert await asyncio.to_thread(server.stop) == 0
        assert await peer.status_or_end() is None
    assert server.entries("requests were cut off")[0]["in_flight"] == 1


async def test_second_sigterm_ends_the_process_at_once() -> None:
    with faulty(DEMO) as server:
        async with clients(server) as session:
            await tell(server, "hold")
            waiting = asyncio.create_task(send(session, encoded(marked(FRAMES, 1))))
            await asyncio.to_thread(server.wait_for, "in engine", 4)
            server.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(server.wait_for, "draining")
            server.process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(server.wait) == -signal.SIGTERM
            with contextlib.suppress(aiohttp.ClientError):
                await waiting
        assert await _is_free(server)


async def _is_free(server: LiveServer) -> bool:
    """Whether the address of the server is free again."""
    place = urlsplit(server.url)
    listener = await asyncio.start_server(lambda *_: None, place.hostname, place.port)
    listener.close()
    return True
