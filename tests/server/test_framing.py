"""Versions of HTTP, and where a request ends: what is uncertain is refused, and the connection closes."""

from __future__ import annotations

import pytest

from tests.live_server import LiveServer
from tests.server.peers import Peer, encoded, post_head, small_clips

BODY = encoded(small_clips(1)[0])
JSON = "Content-Type: application/json\r\n"
CHUNKED = b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n"


async def _sent(server: LiveServer, *parts: bytes) -> bytes:
    """All that comes until the service closes the connection."""
    peer = await Peer.connect(server)
    await peer.write(*parts)
    try:
        return await peer.rest()
    finally:
        peer.close()


@pytest.mark.parametrize("version", ["2.0", "3.0", "0.9"])
async def test_other_versions_of_http_get_505(live_server: LiveServer, version: str) -> None:
    answer = await _sent(live_server, f"GET /health/live HTTP/{version}\r\nHost: x\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0].split(b" ", 1)[1] == b"505 HTTP Version Not Supported"
    assert head.startswith((b"HTTP/1.1", b"HTTP/1.0"))
    assert b"application/problem+json" in head
    assert b"Version" in body


@pytest.mark.parametrize("length", ["", "Content-Length: 4\r\n"])
async def test_chunks_of_http_1_0_are_refused_and_the_connection_closes(live_server: LiveServer, length: str) -> None:
    head = f"POST /api/v1/infer HTTP/1.0\r\nConnection: keep-alive\r\n{length}Transfer-Encoding: chunked\r\n\r\n"
    answer = await _sent(live_server, head.encode(), CHUNKED)
    assert answer.split(b" ")[1] == b"400"
    assert answer.count(b"HTTP/1.0 ") == 1


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health/live HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"OPTIONS /api/v1/infer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_uncertain_end_is_refused_where_no_body_is_read(live_server: LiveServer, head: bytes) -> None:
    answer = await _sent(live_server, head)
    assert answer.split(b" ")[1] == b"400"
    assert b"Transfer-Encoding" in answer


async def test_http_1_0_closes_unless_the_client_asks_to_keep_the_connection(live_server: LiveServer) -> None:
    kept = await Peer.connect(live_server)
    for _ in range(2):
        await kept.write(b"GET /health/live HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        head = await kept.interim()
        assert head.startswith(b"HTTP/1.0 200")
        assert b"\r\nConnection: keep-alive\r\n" in head
        assert b"chunked" not in head
        await kept.body(_length(head))
    kept.close()
    assert (await _sent(live_server, b"GET /health/live HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.0 200")


async def test_http_1_0_gets_no_interim_answer(live_server: LiveServer) -> None:
    head = f"POST /api/v1/infer HTTP/1.0\r\n{JSON}Expect: 100-continue\r\nContent-Length: {len(BODY)}\r\n\r\n"
    answer = await _sent(live_server, head.encode(), BODY)
    assert answer.split(b" ")[1] == b"200"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /docs/swagger-ui.css HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nExpect: wonders\r\nConnection: close\r\n\r\n",
        b"no HTTP at all\r\n\r\n",
        post_head(0, "Connection: close"),
    ],
)
async def test_no_answer_tells_the_versions_of_python_or_aiohttp(live_server: LiveServer, request_bytes: bytes) -> None:
    answer = await _sent(live_server, request_bytes)
    assert b"\r\nServer: vjepa2-serve\r\n" in answer
    assert b"aiohttp/" not in answer
    assert b"Python/" not in answer


def _length(head: bytes) -> int:
    return int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
