"""A client that closes its sending half after its request gets its answer; one that has left is noticed."""

from __future__ import annotations

import asyncio

from engines.storage.bundle import DEMO
from tests.faulty_server import marked
from tests.live_server import LiveServer
from tests.server.peers import Peer, clients, encoded, faulty, post_head, small_clips, tell, until_metric

CLIP = small_clips(1)[0]
BODY = encoded(CLIP)
HEALTH = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


async def _half_closed(server: LiveServer, *parts: bytes) -> Peer:
    peer = await Peer.connect(server)
    await peer.write(*parts)
    peer.writer.write_eof()
    return peer


async def test_requests_before_the_end_of_the_stream_are_answered(live_server: LiveServer) -> None:
    peer = await _half_closed(live_server, HEALTH, post_head(len(BODY)), BODY, HEALTH, b"GET /half HTTP/1.1\r\nHo")
    first, classified, last = [await peer.answer() for _ in range(3)]
    assert (first.status, classified.status, last.status) == (200, 200, 200)
    assert classified.body["predictions"]
    assert last.headers["Connection"] == "close"
    assert await peer.rest() == b""


async def test_body_in_chunks_and_http_1_0_are_answered_after_the_end_of_the_stream(live_server: LiveServer) -> None:
    chunked = await _half_closed(live_server, post_head(None), b"%x\r\n" % len(BODY), BODY, b"\r\n0\r\n\r\n")
    assert (await chunked.answer()).status == 200
    old = await _half_closed(live_server, b"GET /health/live HTTP/1.0\r\n\r\n")
    assert (await old.rest()).startswith(b"HTTP/1.0 200")


async def test_end_of_the_stream_in_an_idle_connection_or_an_incomplete_request_closes(
    live_server: LiveServer,
) -> None:
    for sent in (b"", b"\r\n", HEALTH[:-2], post_head(len(BODY)) + BODY[:-1], post_head(None) + b"5\r\nabcde\r\n"):
        assert await (await _half_closed(live_server, sent)).rest() == b""


async def test_half_closed_client_is_answered_late_while_one_that_left_is_counted_as_gone() -> None:
    with faulty(DEMO) as server:
        async with clients(server) as session:
            await tell(server, "hold")
            waiting = await _half_closed(server, post_head(len(BODY)), encoded(CLIP))
            await until_metric(session, "vjepa_admitted_clips", lambda clips: clips == 1)
            leaving = await Peer.connect(server)
            other = encoded(marked(CLIP, 7))
            await leaving.write(post_head(len(other)), other)
            await until_metric(session, "vjepa_admitted_clips", lambda clips: clips == 2)
            leaving.close()
            assert await waiting.interim() == b"HTTP/1.1 100 Continue\r\n\r\n"
            gone = 'vjepa_requests_total{outcome="gone"}'
            await until_metric(session, gone, lambda clients: clients == 1)
            await tell(server, "release")
            assert (await waiting.answer()).status == 200
            assert await waiting.rest() == b""
        assert await asyncio.to_thread(server.stop) == 0
    assert 7 not in [number for entry in server.entries("in engine") for number in entry["numbers"]]
