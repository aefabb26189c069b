"""The memory of clips that are in the service is bounded and given back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from engines.storage.bundle import DEMO
from tests.live_server import LiveServer
from tests.server.peers import Peer, clients, faulty, metrics, tell, until_metric
from tests.server.requests import ENCODINGS, Frames, Sent

CLIENTS = 32
MIB = 2**20
BESIDES_CLIPS_BYTES = 350 * 10**6


@pytest.fixture(scope="module")
def frames() -> Frames:
    """Noise, uint8 [16, 240, 240, 3]: 2.6 MiB of pixels, and about as much as PNG images."""
    return np.random.default_rng(0).integers(0, 256, (16, 240, 240, 3), np.uint8)


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_32_clips_at_once_take_at_most_twice_their_pixels(frames: Frames, encoding: str) -> None:
    """All clips are in the service at the same time; the memory of an idle server is allowed for."""
    sent = ENCODINGS[encoding](frames)
    with faulty(DEMO) as server:
        async with clients(server) as session:
            await tell(server, "hold")
            asking = [asyncio.create_task(_ask(server, sent)) for _ in range(CLIENTS)]
            await until_metric(session, "vjepa_admitted_clips", lambda clips: clips == CLIENTS)
            assert (await metrics(session))["vjepa_inflight_bytes"] >= CLIENTS * frames.nbytes
            await tell(server, "release")
            assert await asyncio.gather(*asking) == [200] * CLIENTS
            await until_metric(session, "vjepa_inflight_bytes", lambda held: held == 0)
        assert peak_bytes(server) <= CLIENTS * 2 * frames.nbytes + BESIDES_CLIPS_BYTES


async def _ask(server: LiveServer, sent: Sent) -> int:
    peer = await Peer.connect(server)
    await peer.write(sent.head(), sent.body)
    answer = await peer.answer()
    peer.close()
    return answer.status


def peak_bytes(server: LiveServer) -> int:
    """The peak of the resident memory of the server's process."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
