"""HTTP in several processes, as the tests see it: the workers' processes and a client of each."""

from __future__ import annotations

import contextlib
import os
import select

from tests.live_server import LiveServer
from tests.server.conftest import Answer
from tests.server.peers import Peer, post_head

TWO = ("--http-workers", "2")
SERVES = "http worker serves"


def pids(server: LiveServer) -> dict[int, int]:
    """Of each worker, the newest process."""
    return {entry["worker"]: entry["pid"] for entry in server.entries(SERVES)}


def wait_for_end(pid: int) -> None:
    """Until the process has ended; fails when it does not."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        ended, _, _ = select.select([descriptor], [], [], 60)
        os.close(descriptor)
        assert ended, f"{pid} does not end"


async def ask(peer: Peer, body: bytes) -> Answer:
    await peer.write(post_head(len(body)), body)
    return await peer.answer()


async def peer_of_each(server: LiveServer) -> list[Peer]:
    """Two clients, which are handed to a worker each."""
    return [await Peer.connect(server), await Peer.connect(server)]
