"""Clients of the stream endpoint: one that does what it should, and the bytes of its messages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
from collections.abc import AsyncIterator, Iterable
from typing import Any

import aiohttp
import numpy as np
import numpy.typing as npt

from export.demo.rendering.clips import render_clip

Frames = npt.NDArray[np.uint8]
HEADER = struct.Struct("<IdII")
END = '{"type": "end"}'
FPS = 3
# A rendered motion, uint8 [16, 48, 64, 3].
MOTION = render_clip(51, size=(48, 64)).frames


def packed(time_s: float, frame: Frames) -> bytes:
    """The message for a frame, uint8 [H, W, 3]."""
    return HEADER.pack(1, time_s, frame.shape[1], frame.shape[0]) + frame.tobytes()


def image(time_s: float, data: bytes) -> bytes:
    """The message for an encoded image."""
    return HEADER.pack(1, time_s, 0, 0) + data


def times(count: int, fps: float = FPS) -> list[float]:
    return [index / fps for index in range(count)]


def frame_messages(frames: Frames, first_s: float = 0.0) -> list[bytes]:
    return [packed(first_s + time_s, frame) for time_s, frame in zip(times(len(frames)), frames, strict=True)]


def of_kind(answers: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [answer for answer in answers if answer["type"] == kind]


def window_confidences(answer: dict[str, Any]) -> dict[str, float]:
    return {prediction["label"]: prediction["confidence"] for prediction in answer["predictions"]}


class StreamClient:
    """A stream after its hello; ``ready`` is the first answer."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, ready: dict[str, Any]) -> None:
        self.socket = socket
        self.ready = ready

    async def send(self, messages: Iterable[bytes]) -> None:
        for message in messages:
            await self.socket.send_bytes(message)

    async def next(self, kind: str) -> dict[str, Any]:
        """The next answer of that kind; answers before it are dropped."""
        async with asyncio.timeout(60):
            while True:
                answer: dict[str, Any] = await self.socket.receive_json()
                if answer["type"] == kind:
                    return answer

    async def rest(self) -> list[dict[str, Any]]:
        """All answers until the service closes the stream."""
        async with asyncio.timeout(60):
            return [json.loads(message.data) async for message in self.socket]

    async def ended(self) -> list[dict[str, Any]]:
        """End the stream, and return the answers that were still to come."""
        await self.socket.send_str(END)
        return await self.rest()


@contextlib.asynccontextmanager
async def streaming(session: aiohttp.ClientSession, **hello: Any) -> AsyncIterator[StreamClient]:
    async with session.ws_connect("/api/v1/stream", max_msg_size=0) as socket:
        await socket.send_json(hello)
        yield StreamClient(socket, await socket.receive_json(timeout=30))
