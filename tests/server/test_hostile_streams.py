"""Clients of streams that break the protocol, lie or flood: each costs its own stream and nothing else."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import aiohttp
import numpy as np
import pytest

from engines.storage.bundle import DEMO
from tests.live_server import LiveServer, serving
from tests.server.peers import Peer, clients, faulty, resident_bytes, until_metric
from tests.server.streams import HEADER, packed, streaming

HELLO = b'{"name": "door"}'
FRAME = packed(0.0, np.zeros((48, 64, 3), np.uint8))
TEXT, BINARY, PING = 1, 2, 9
MIB = 2**20


def _frame(opcode: int, payload: bytes, *, length: int | None = None, first: int = 0x80) -> bytes:
    """A masked WebSocket frame, which says that it is of ``length``."""
    size = len(payload) if length is None else length
    lengths = bytes([0x80 | size]) if size < 126 else struct.pack("!BQ", 0x80 | 127, size)
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes([first | opcode]) + lengths + mask + masked


async def _upgraded(server: LiveServer, *, hello: bool = True) -> Peer:
    peer = await Peer.connect(server)
    key = base64.b64encode(os.urandom(16))
    lines = (b"GET /api/v1/stream HTTP/1.1", b"Host: x", b"Connection: Upgrade", b"Upgrade: websocket")
    await peer.write(b"\r\n".join([*lines, b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + key, b"", b""]))
    await peer.interim()
    if hello:
        await peer.write(_frame(TEXT, HELLO))
        await _message(peer)
    return peer


async def _message(peer: Peer) -> tuple[int, bytes]:
    """Opcode and payload of the next frame of the server."""
    first, size = await peer.body(2)
    if size == 126:
        (size,) = struct.unpack("!H", await peer.body(2))
    elif size == 127:
        (size,) = struct.unpack("!Q", await peer.body(8))
    return first & 0x0F, await peer.body(size)


async def _close_code(peer: Peer) -> int | None:
    """The code with which the server closes; None if the connection ends without one."""
    try:
        async with asyncio.timeout(60):
            while True:
                opcode, payload = await _message(peer)
                if opcode == 8:
                    return int.from_bytes(payload[:2], "big")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with serving(DEMO) as running:
        yield running
        assert running.stop() == 0
    assert not [entry for entry in running.log if entry["level"] in ("ERROR", "CRITICAL")]


@pytest.fixture
async def session(server: LiveServer) -> AsyncIterator[aiohttp.ClientSession]:
    """After the test no stream and no byte of one may be left, and another stream is served."""
    async with clients(server) as opened:
        yield opened
        for gauge in ("vjepa_streams", "vjepa_inflight_bytes"):
            await until_metric(opened, gauge, lambda value: value == 0)
        async with streaming(opened) as client:
            assert client.ready["type"] == "ready"


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(_frame(BINARY, b"", length=100 * MIB), 1009, id="says that it sends 100 MB"),
        pytest.param(_frame(BINARY, FRAME, length=2**63), 1009, id="length with its highest bit"),
        pytest.param(_frame(BINARY, FRAME, first=0xF0), 1002, id="reserved bits"),
        pytest.param(_frame(3, FRAME), 1002, id="reserved opcode"),
        pytest.param(_frame(PING, bytes(126)), 1002, id="ping that is too long"),
        pytest.param(_frame(TEXT, b"\xff\xfe"), 1007, id="text that is not UTF-8"),
        pytest.param(_frame(0, FRAME), 1002, id="continues nothing"),
        pytest.param(_frame(TEXT, b'{"type": "end"}' * 2), 1008, id="text that is no end"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 1002, id="no WebSocket at all"),
    ],
)
async def test_broken_protocol_ends_the_stream(
    server: LiveServer, session: aiohttp.ClientSession, sent: bytes, code: int
) -> None:
    peer = await _upgraded(server)
    await peer.write(sent)
    # None: what the server had not read yet resets the connection, which may take the close message with it.
    assert await _close_code(peer) in (code, None)
    peer.close()


async def test_client_that_tears_a_frame_off_leaves_nothing(server: LiveServer, session: aiohttp.ClientSession) -> None:
    whole = _frame(BINARY, FRAME)
    for length in (1, 3, 12, 200, len(whole) - 1):
        peer = await _upgraded(server)
        await peer.write(whole[:length])
        peer.writer.transport.abort()
    peer = await _upgraded(server, hello=False)
    await peer.write(_frame(TEXT, HELLO)[:7])
    peer.close()


async def test_messages_of_one_byte_are_each_refused_and_the_stream_goes_on(
    server: LiveServer, session: aiohttp.ClientSession
) -> None:
    async with streaming(session, policy="wait") as client:
        before_bytes = resident_bytes(server)

        async def flood() -> None:
            for _ in range(2000):
                await client.socket.send_bytes(b"\1")

        flooding = asyncio.create_task(flood())
        for _ in range(2000):
            assert (await client.next("error"))["status"] == 422
        await flooding
        await client.send([packed(index / 3, np.zeros((48, 64, 3), np.uint8)) for index in range(16)])
        ended = (await client.ended())[-1]
    assert (ended["frames_refused"], ended["predictions"]) == (2000, 1)
    assert resident_bytes(server) - before_bytes < 16 * MIB


async def test_header_that_lies_about_the_size_costs_no_memory(
    server: LiveServer, session: aiohttp.ClientSession
) -> None:
    before_bytes = resident_bytes(server)
    async with streaming(session) as client:
        for width, height in ((16384, 16384), (2**32 - 1, 2**32 - 1), (0, 64), (64, 0)):
            await client.socket.send_bytes(HEADER.pack(1, 0.0, width, height) + bytes(64))
            assert (await client.next("error"))["status"] == 422
        assert (await client.ended())[-1]["frames_refused"] == 4
    assert resident_bytes(server) - before_bytes < 16 * MIB


async def test_flood_of_pings_is_answered_and_bounded(server: LiveServer, session: aiohttp.ClientSession) -> None:
    peer = await _upgraded(server)
    before_bytes = resident_bytes(server)
    flood = b"".join(_frame(PING, b"x" * 100) for _ in range(500))
    for _ in range(10):
        await peer.write(flood)
        for _ in range(500):
            assert (await _message(peer))[0] == 10
    await peer.write(_frame(TEXT, b'{"type": "end"}'))
    assert await _close_code(peer) == 1000
    assert resident_bytes(server) - before_bytes < 16 * MIB
    peer.close()


async def test_client_that_answers_no_ping_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTBEAT_S", "0.1")
    with faulty(DEMO) as server:
        peer = await _upgraded(server)
        assert (await _message(peer))[0] == PING
        assert await _close_code(peer) == 1008
        peer.close()


def _unread(server: LiveServer) -> socket.socket:
    """A client that asks for a stream and reads nothing."""
    place = urlsplit(server.url)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((place.hostname, place.port))
    lines = ("GET /api/v1/stream HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: websocket")
    key = base64.b64encode(bytes(16)).decode()
    head = [*lines, "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", "", ""]
    client.sendall("\r\n".join(head).encode() + _frame(TEXT, HELLO))
    return client


@pytest.mark.parametrize("flood", [_frame(BINARY, b"\1"), _frame(PING, b"x" * 100)], ids=["frames", "pings"])
async def test_client_that_never_reads_is_closed_and_not_buffered(flood: bytes) -> None:
    with serving(DEMO, "--write-timeout-s", "1") as server:
        async with clients(server) as session:
            await until_metric(session, "vjepa_streams", lambda count: count == 0)
            before_bytes = resident_bytes(server)
            client = _unread(server)
            await asyncio.to_thread(_flood, client, flood)
            for gauge in ("vjepa_streams", "vjepa_inflight_bytes"):
                await until_metric(session, gauge, lambda value: value == 0)
            await until_metric(session, "vjepa_connections", lambda count: count == 1)
            assert resident_bytes(server) - before_bytes < 16 * MIB
            client.close()
        assert await asyncio.to_thread(server.stop) == 0
    assert not [entry for entry in server.log if entry["level"] in ("ERROR", "CRITICAL")]


def _flood(client: socket.socket, message: bytes) -> None:
    """Send until the server closes the connection; far more than it may hold."""
    try:
        for _ in range(10_000):
            client.sendall(message * 100)
    except OSError:
        return
    pytest.fail("the server reads for ever")
