"""HTTP in several processes: the same service."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from engines.bundle import DEMO
from export.demo.labels import LABELS
from tests.live_server import LiveServer, run_module, serving
from tests.server.http_workers import TWO, ask, peer_of_each
from tests.server.peers import (
    Peer,
    clients,
    confidences,
    encoded,
    faulty,
    metrics,
    post_head,
    send,
    small_clips,
    tell,
    until_metric,
)
from tests.server.requests import encode, image_body

FRAMES = small_clips(4)
BODY = encoded(FRAMES[0])
ALL = len(LABELS)
_JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def two_workers() -> Iterator[LiveServer]:
    with serving(DEMO, *TWO) as server:
        yield server
        assert server.stop() == 0


def _requests() -> dict[str, tuple[str, str, dict[str, Any]]]:
    images = image_body(encode(FRAMES[1], ".png"), clip_id="images")
    infer = ("POST", "/api/v1/infer")
    return {
        "raw": (*infer, {"data": encoded(FRAMES[0], clip_id="raw", top_k=ALL), "headers": _JSON}),
        "images": (*infer, {"json": images}),
        "no JSON": (*infer, {"data": b"{", "headers": _JSON}),
        "other type": (*infer, {"data": b"{"}),
        "no frames": (*infer, {"json": {"frames": []}}),
        "too large": (*infer, {"data": b"{" * (65 * 2**20), "headers": _JSON}),
        "too many pixels": (*infer, {"json": {"frames": [""] * 16, "width": 16384, "height": 16384}}),
        "bad deadline": (*infer, {"data": BODY, "headers": {"X-Deadline-Ms": "soon"} | _JSON}),
        "index": ("GET", "/", {}),
        "health": ("GET", "/health", {}),
        "ready": ("GET", "/health/ready", {}),
        "no such path": ("GET", "/nowhere", {}),
    }


@pytest.mark.parametrize("name", _requests())
async def test_answers_are_those_of_one_process(name: str, live_server: LiveServer, two_workers: LiveServer) -> None:
    method, path, request = _requests()[name]
    answers = []
    for server in (live_server, two_workers):
        async with aiohttp.ClientSession(server.url) as session, session.request(method, path, **request) as response:
            body = await response.json(content_type=None)
            for field in ("timings_ms", "request_id"):
                body.pop(field, None)
            answers.append((response.status, response.content_type, body))
    assert answers[0] == answers[1]


async def test_connections_are_spread_evenly_and_logs_say_who_served(two_workers: LiveServer) -> None:
    async with clients(two_workers) as session:
        await until_metric(session, "vjepa_connections", lambda connections: connections == 1)
    peers = [await Peer.connect(two_workers) for _ in range(8)]
    for index, peer in enumerate(peers):
        head = post_head(len(BODY), f"X-Request-Id: spread-{index}")
        await peer.write(head, BODY)
        assert (await peer.answer()).status == 200
    async with clients(two_workers) as session:
        counted = await metrics(session)
    for peer in peers:
        peer.close()
    await asyncio.to_thread(two_workers.wait_for, "request", 8)
    served = [entry["worker"] for entry in two_workers.log if str(entry.get("request_id")).startswith("spread-")]
    assert collections.Counter(served) == {1: 4, 2: 4}
    open_of_each = [counted[f'vjepa_http_worker_connections{{worker="{worker}"}}'] for worker in (1, 2)]
    assert sum(open_of_each) == counted["vjepa_connections"] == 9
    for worker in (1, 2):
        assert counted[f'vjepa_http_worker_resident_bytes{{worker="{worker}"}}'] > 2**20
        assert counted[f'vjepa_http_worker_cpu_seconds_total{{worker="{worker}"}}'] > 0


async def test_clips_of_all_workers_share_batches(batch_bundle: Path) -> None:
    with faulty(batch_bundle, *TWO) as server:
        peers = await peer_of_each(server)
        async with clients(server) as session:
            alone = [confidences(await ask(peers[0], encoded(frames, top_k=ALL))) for frames in FRAMES]
            await tell(server, "hold")
            plug = asyncio.create_task(send(session, BODY))
            await until_metric(session, "vjepa_admitted_clips", lambda clips: clips == 1)
            await until_metric(session, "vjepa_queue_clips", lambda clips: clips == 0)
            asked = [
                asyncio.create_task(ask(peer, encoded(frames, top_k=ALL)))
                for peer, frames in zip(peers, FRAMES[:2], strict=True)
            ]
            await until_metric(session, "vjepa_queue_clips", lambda clips: clips == 2)
            before = (await metrics(session))["vjepa_batch_clips_count"]
            await tell(server, "release")
            answers = await asyncio.gather(*asked)
            assert (await plug).status == 200
            counted = await metrics(session)
        assert await asyncio.to_thread(server.stop) == 0
    assert [confidences(answer) for answer in answers] == [pytest.approx(one, abs=1e-4) for one in alone[:2]]
    assert server.entries("in engine")[-1]["clips"] == 2
    assert counted["vjepa_batch_clips_count"] == before + 1
    assert {entry["worker"] for entry in server.entries("request")} == {1, 2}


@contextlib.asynccontextmanager
async def _held_clips(server: LiveServer, count: int) -> AsyncIterator[None]:
    """``count`` clips, spread over the workers, are in the service while the block runs."""
    peers = [await Peer.connect(server) for _ in range(count)]
    await tell(server, "hold")
    asked = [asyncio.create_task(ask(peer, BODY)) for peer in peers]
    async with clients(server) as session:
        await until_metric(session, "vjepa_admitted_clips", lambda clips: clips == count)
    yield
    await tell(server, "release")
    assert {answer.status for answer in await asyncio.gather(*asked)} == {200}


async def test_queue_size_is_that_of_all_workers_together() -> None:
    with faulty(DEMO, *TWO, "--queue-size", "3") as server:
        async with _held_clips(server, 3):
            for peer in await peer_of_each(server):
                refused = await ask(peer, BODY)
                assert (refused.status, refused.body["detail"]) == (503, "3 clips are in the service already")
                assert int(refused.headers["Retry-After"]) >= 1


async def test_a_rate_is_that_of_all_workers_together() -> None:
    with serving(DEMO, *TWO, "--rate-limit", "5/hour") as server:
        peers = await peer_of_each(server)
        statuses = [(await ask(peers[number % 2], BODY)).status for number in range(8)]
        assert statuses == [200] * 5 + [429] * 3
        refused = await ask(peers[0], BODY)
        assert int(refused.headers["Retry-After"]) >= 1


async def test_connections_are_bounded_for_all_workers_together() -> None:
    with serving(DEMO, *TWO, "--max-connections", "4") as server:
        peers = [await Peer.connect(server) for _ in range(4)]
        for peer in peers:
            assert (await ask(peer, BODY)).status == 200
        refused = await Peer.connect(server)
        assert (await refused.answer()).status == 503
        peers.pop().close()
        async with asyncio.timeout(60):
            while (await _status_of_new_client(server)) != 200:
                pass


async def _status_of_new_client(server: LiveServer) -> int | None:
    with contextlib.closing(await Peer.connect(server)) as peer:
        with contextlib.suppress(ConnectionError):
            await peer.write(post_head(len(BODY)), BODY)
        return await peer.status_or_end()


def test_what_a_worker_cannot_use_is_one_line(tmp_path: Path) -> None:
    flags = ("--port", "0", "--log-format", "text", *TWO, "--api-key-file", str(tmp_path / "none"))
    refused = run_module("server", str(DEMO), *flags)
    assert refused.returncode == 2
    assert "cannot read the keys" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
