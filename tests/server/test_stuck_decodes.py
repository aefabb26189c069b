"""Decodes that outlive their requests stay accounted, and health reports those that do not come back."""

from __future__ import annotations

import asyncio

import aiohttp

from engines.storage.bundle import DEMO
from tests.server.peers import clients, encoded, faulty, metrics, send, small_clips, tell, until_metric

BODY = encoded(small_clips(1)[0])


async def test_a_decode_past_its_deadline_keeps_its_slot_and_its_bytes_until_it_ends() -> None:
    with faulty(DEMO, "--queue-size", "1") as server:
        async with clients(server) as session:
            await tell(server, "withhold")
            assert (await send(session, BODY, {"X-Deadline-Ms": "200"})).status == 504
            held = await metrics(session)
            assert held["vjepa_admitted_clips"] == 1
            assert held["vjepa_inflight_bytes"] >= len(BODY)
            refused = await send(session, BODY)
            assert (refused.status, "Retry-After" in refused.headers) == (503, True)
            await tell(server, "grant")
            await until_metric(session, "vjepa_admitted_clips", lambda clips: clips == 0)
            assert (await metrics(session))["vjepa_inflight_bytes"] == 0
            assert (await send(session, BODY)).status == 200


async def test_health_reports_that_all_decode_threads_are_stuck_and_that_they_have_come_back() -> None:
    with faulty(DEMO, "--decode-threads", "2", "--decode-timeout-ms", "100") as server:
        async with clients(server) as session:
            await tell(server, "withhold")
            requests = [asyncio.create_task(send(session, BODY))]
            await until_metric(session, "vjepa_decodes_stuck", lambda stuck: stuck == 1)
            assert await _health(session) == (200, 200, "healthy")
            requests.append(asyncio.create_task(send(session, BODY)))
            await until_metric(session, "vjepa_decodes_stuck", lambda stuck: stuck == 2)
            assert await _health(session) == (503, 503, "unhealthy")
            async with session.get("/health/ready") as response:
                assert "all 2 decode threads" in (await response.json())["detail"]
            assert (await send(session, BODY)).status == 503
            await tell(server, "grant")
            assert [(await request).status for request in requests] == [200, 200]
            await until_metric(session, "vjepa_decodes_stuck", lambda stuck: stuck == 0)
            assert await _health(session) == (200, 200, "healthy")


async def _health(session: aiohttp.ClientSession) -> tuple[int, int, str]:
    async with session.get("/health/ready") as ready, session.get("/health") as health:
        return ready.status, health.status, (await health.json())["status"]
