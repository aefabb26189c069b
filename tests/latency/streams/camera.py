"""A camera that sends frames at its pace, and measures how old the answers are."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp

from tests.server.streams import END, HEADER, streaming


@dataclass
class Camera:
    """Sends ``images`` again and again at ``fps``; the first frame ``first_s`` after the start.

    ``width`` and ``height`` are 0 for encoded images. Ages are from the sending of a window's last frame to the answer.
    """

    images: Sequence[bytes]
    fps: float
    stride: int
    first_s: float
    width: int = 0
    height: int = 0
    weight: float = 1.0
    ages_ms: list[float] = field(default_factory=list)
    answered_s: list[float] = field(default_factory=list)
    skipped: int = 0

    async def run(self, session: aiohttp.ClientSession, starts_s: float, seconds: float) -> None:
        """Send for ``seconds`` from ``starts_s`` on, by the monotonic clock."""
        hello = {"fps": self.fps, "stride": self.stride, "top_k": 1, "weight": self.weight}
        async with streaming(session, **hello) as client:
            sent_s: dict[int, float] = {}
            async with asyncio.TaskGroup() as group:
                group.create_task(self._send(client.socket, sent_s, starts_s, seconds))
                group.create_task(self._read(client.socket, sent_s))

    async def _send(
        self, socket: aiohttp.ClientWebSocketResponse, sent_s: dict[int, float], starts_s: float, seconds: float
    ) -> None:
        for index in range(int(seconds * self.fps)):
            due_s = starts_s + self.first_s + index / self.fps
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            header = HEADER.pack(1, index / self.fps, self.width, self.height)
            sent_s[index] = time.monotonic()
            await socket.send_bytes(header + self.images[index % len(self.images)])
        await socket.send_str(END)

    async def _read(self, socket: aiohttp.ClientWebSocketResponse, sent_s: dict[int, float]) -> None:
        async for message in socket:
            now_s, answer = time.monotonic(), json.loads(message.data)
            if answer["type"] == "prediction":
                last = min(round(answer["end_s"] * self.fps) - 1, max(sent_s))
                self.ages_ms.append((now_s - sent_s[last]) * 1e3)
                self.answered_s.append(now_s)
            elif answer["type"] == "skipped":
                self.skipped += 1
            elif answer["type"] == "error":
                raise RuntimeError(answer["detail"])


async def run_all(session: aiohttp.ClientSession, cameras: Sequence[Camera], seconds: float) -> float:
    """Run all at once; returns when they began to send, by the monotonic clock."""
    starts_s = time.monotonic() + 1 + len(cameras) / 100
    await asyncio.gather(*(camera.run(session, starts_s, seconds) for camera in cameras))
    return starts_s
