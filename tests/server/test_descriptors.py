"""Few open files: the number of connections is lowered to fit, and what cannot be accepted is refused."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import subprocess
import sys
from pathlib import Path

from engines.storage.bundle import DEMO
from server.http.transport.descriptors import OTHER_DESCRIPTORS
from tests.live_server import ROOT, LiveServer, serving
from tests.server.peers import Peer, clients, metrics

HEALTH = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


async def _status(peer: Peer) -> int | None:
    with contextlib.suppress(ConnectionError):
        await peer.write(HEALTH)
    async with asyncio.timeout(20):
        return await peer.status_or_end()


async def test_connections_are_bounded_by_the_limit_on_open_files() -> None:
    with serving(DEMO, most_files=OTHER_DESCRIPTORS + 10) as server:
        (lowered,) = server.entries("--max-connections is lowered to fit the limit on open files")
        assert (lowered["max_connections"], lowered["asked"]) == (10, 1024)
        peers = [await Peer.connect(server) for _ in range(10)]
        assert [await _status(peer) for peer in peers] == [200] * 10
        # A burst of more clients than there are descriptors.
        burst = await asyncio.gather(*(Peer.connect(server) for _ in range(500)))
        assert set(await asyncio.gather(*(_status(peer) for peer in burst))) <= {503, None}
        assert [await _status(peer) for peer in peers] == [200] * 10
        for peer in (*peers, *burst):
            peer.close()


def test_start_with_too_few_open_files_is_refused() -> None:
    command = [sys.executable, "-m", "server", str(DEMO), "--port", "0"]
    limit = resource.RLIMIT_NOFILE, (OTHER_DESCRIPTORS, OTHER_DESCRIPTORS)
    refused = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=False, preexec_fn=lambda: resource.setrlimit(*limit)
    )
    assert refused.returncode == 2
    assert f"may open {OTHER_DESCRIPTORS} files" in refused.stderr
    assert "ulimit -n" in refused.stderr


def _allow_files_beside_those_open(server: LiveServer, count: int) -> None:
    opened = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))
    _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (opened + count, hard))


async def test_without_descriptors_new_clients_get_503_and_the_log_stays_short() -> None:
    with serving(DEMO) as server:
        async with clients(server) as session:
            await metrics(session)
            _allow_files_beside_those_open(server, 3)
            peers = [await Peer.connect(server) for _ in range(40)]
            statuses = [await _status(peer) for peer in peers]
            # A refused client that writes after it was refused may see a reset connection instead of the answer.
            assert statuses[:3] == [200] * 3
            assert set(statuses[3:]) <= {503, None}
            assert statuses.count(503) > 30
            closed = await metrics(session)
            assert closed['vjepa_connections_closed_total{reason="no_descriptor"}'] == 37
            for peer in peers:
                peer.close()
            while (again := await _status(await Peer.connect(server))) != 200:
                assert again in (503, None)
        assert await asyncio.to_thread(server.stop) == 0
    assert len([entry for entry in server.log if entry["level"] in ("ERROR", "PRINTED")]) <= 5
    assert server.entries("no file descriptor is left, so new connections get 503")
