"""Clients that do not read their answers lose their connection, so that others get its place."""

from __future__ import annotations

import asyncio
import socket
from urllib.parse import urlsplit

from engines.storage.bundle import DEMO
from tests.live_server import LiveServer, serving
from tests.server.peers import Peer, clients, metrics, resident_bytes, until_metric

PLACES = 3
# Answers to them are many times what the buffers of two sockets hold.
REQUESTS = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 2000


def _client_that_never_reads(server: LiveServer) -> socket.socket:
    place = urlsplit(server.url)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((place.hostname, place.port))
    client.setblocking(False)
    client.send(REQUESTS)
    return client


async def test_clients_that_do_not_read_lose_their_connections_in_time() -> None:
    flags = ("--max-connections", str(PLACES + 1), "--write-timeout-s", "1", "--keepalive-timeout-s", "2")
    with serving(DEMO, *flags) as server:
        async with clients(server) as session:
            await metrics(session)
            before_bytes = resident_bytes(server)
            unreading = [_client_that_never_reads(server) for _ in range(PLACES)]
            await until_metric(session, "vjepa_connections", lambda count: count == PLACES + 1)
            series = 'vjepa_connections_closed_total{reason="unread_answer"}'
            async with asyncio.timeout(30):
                await until_metric(session, series, lambda count: count == PLACES)
                await until_metric(session, "vjepa_connections", lambda count: count == 1)
            assert resident_bytes(server) - before_bytes < 8 * 2**20
            peers = [await Peer.connect(server) for _ in range(PLACES)]
            for peer in peers:
                await peer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await peer.answer()).status == 200
                peer.close()
            for client in unreading:
                client.close()
