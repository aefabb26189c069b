"""Cameras that show rendered motions, for ``just demo --page``: each is a stream to the service."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import AsyncIterator

import aiohttp
import cv2
import numpy as np

from export.demo.labels import LABELS
from export.demo.rendering.clips import render_clip

NAMES = ("workbench", "shelf", "window")

# The header of a frame, as docs/streams.md describes it.
_HEADER = struct.Struct("<IdII")
_VERSION = 1
_FPS = 3
# A motion takes eight seconds; the pause after it is long enough that no window holds frames of two motions.
_FRAMES = 24
_PAUSE_S = 1.5
_STRIDE = 4
_SIZE = (240, 320)
_QUALITY = 85


async def run_cameras(url: str, names: tuple[str, ...] = NAMES) -> None:
    """Send motions from one camera for each of ``names``, until it is cancelled or the service ends.

    Raises:
        aiohttp.ClientError: the service does not accept a stream.
    """
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(_run(session, url, name, seed) for seed, name in enumerate(names)))


async def _run(session: aiohttp.ClientSession, url: str, name: str, seed: int) -> None:
    async with session.ws_connect(f"{url}/api/v1/stream") as stream:
        await stream.send_json({"name": name, "fps": _FPS, "stride": _STRIDE})
        reading = asyncio.create_task(_read(stream))
        try:
            async for time_s, jpeg in _frames(seed):
                if reading.done():
                    return
                await stream.send_bytes(_HEADER.pack(_VERSION, time_s, 0, 0) + jpeg)
        finally:
            reading.cancel()


async def _read(stream: aiohttp.ClientWebSocketResponse) -> None:
    """Read the answers, which the page shows, so that the connection does not fill up."""
    async for _ in stream:
        pass


async def _frames(seed: int) -> AsyncIterator[tuple[float, bytes]]:
    """Time in seconds and JPEG of each frame, when it is due, without an end."""
    loop, rng = asyncio.get_running_loop(), np.random.default_rng(seed)
    due_s = loop.time()
    for number in itertools.count():
        jpegs = await asyncio.to_thread(_motion, 1000 * seed + number, str(rng.choice(LABELS)))
        due_s = max(due_s + _PAUSE_S, loop.time())
        for jpeg in jpegs:
            await asyncio.sleep(due_s - loop.time())
            yield due_s, jpeg
            due_s += 1 / _FPS


def _motion(seed: int, label: str) -> list[bytes]:
    frames = render_clip(seed, label, frames=_FRAMES, size=_SIZE).frames[..., ::-1]
    return [cv2.imencode(".jpg", frame, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))[1].tobytes() for frame in frames]
