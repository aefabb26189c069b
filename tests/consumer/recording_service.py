"""A service that remembers what it was sent, and answers as the test has it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from tests.consumer.stream_peer import StreamPeer
from tests.consumer.videos import number_of

FRAMES = 8
CROP = 224


def answer(label: str = "a", confidence: float = 0.9, clip_id: str = "1") -> web.Response:
    predictions = [{"label": label, "confidence": confidence}]
    return web.json_response({"predictions": predictions, "clip_id": clip_id, "model": "m", "timings_ms": {}})


@dataclass
class Received:
    """A clip as it came: the frames, uint8 [T, H, W, 3], RGB, and the request's query and headers."""

    frames: NDArray[np.uint8]
    query: dict[str, str]
    headers: dict[str, str]

    @property
    def numbers(self) -> list[int]:
        return [number_of(frame) for frame in self.frames]


@dataclass
class RecordingService:
    """Takes octet-streams; ``reply`` answers after the clip has been noted, ``ready`` the readiness probe.

    With ``streams``, it takes frames of packed pixels on streams, too; ``reply`` answers each window then.
    """

    reply: Callable[[Received], Awaitable[web.StreamResponse]] | None = None
    model: dict[str, object] = field(default_factory=lambda: {"name": "m", "frames": FRAMES, "crop": CROP})
    ready: Callable[[], web.Response] = lambda: web.json_response({"status": "ready"})
    received: list[Received] = field(default_factory=list)
    streams: bool = False
    peers: list[StreamPeer] = field(default_factory=list)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    def application(self) -> web.Application:
        app = web.Application(client_max_size=2**28)
        app.router.add_get("/", self._index)
        app.router.add_get("/health/ready", self._ready)
        app.router.add_post("/api/v1/infer", self._infer)
        if self.streams:
            app.router.add_get("/api/v1/streams", self._index)
            app.router.add_get("/api/v1/stream", self._stream)
        return app

    async def clips(self, count: int) -> list[Received]:
        """What was received, once that is so many."""
        try:
            async with asyncio.timeout(90), self._news:
                await self._news.wait_for(lambda: len(self.received) >= count)
        except TimeoutError:
            raise AssertionError(f"only {len(self.received)} clips came") from None
        return self.received

    async def _index(self, request: web.Request) -> web.Response:
        return web.json_response({"model": self.model})

    async def _ready(self, request: web.Request) -> web.Response:
        return self.ready()

    async def _infer(self, request: web.Request) -> web.StreamResponse:
        query = dict(request.query)
        pixels = np.frombuffer(await request.read(), np.uint8)
        frames = pixels.reshape(-1, int(query["height"]), int(query["width"]), 3)
        return await self._note(Received(frames, query, dict(request.headers)))

    async def _note(self, clip: Received) -> web.StreamResponse:
        async with self._news:
            self.received.append(clip)
            self._news.notify_all()
        return await self.reply(clip) if self.reply else answer(clip_id=clip.query["clip_id"])

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        async def classify(window: int, frames: NDArray[np.uint8]) -> web.StreamResponse:
            return await self._note(Received(frames, {"clip_id": f"s-{window}"}, dict(request.headers)))

        peer = StreamPeer(classify, lambda: int(str(self.model["frames"])), lambda: str(self.model["name"]))
        self.peers.append(peer)
        return await peer.serve(request)
