"""How clips travel: each in a request of its own, or as frames of a stream for each source."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Literal, Protocol

from consumer.client.answer import Answer
from consumer.client.async_client import AsyncClient
from consumer.client.encodings import Picture
from consumer.client.stream_messages import StreamOptions
from consumer.errors import ServiceError
from consumer.feeds.window_stream import WindowStream
from consumer.sources.clip import Clip

logger = logging.getLogger(__name__)

TransportKind = Literal["stream", "clips"]

Attempt = Callable[[], Awaitable[Answer]]
"""Sends a clip and returns its answer; may be called again.

Raises ServiceError, ClipDroppedError or ClipStillError.
"""


class Transport(Protocol):
    """The way of the clips of one source."""

    async def prepare(self, clip: Clip) -> Attempt:
        """Prepare a clip for sending. Raises ClipError."""
        ...

    def grow(self, pictures: Sequence[Picture]) -> None:
        """The next clip will begin with ``pictures``, which may be sent now."""
        ...

    async def close(self) -> None:
        """Release the connection."""
        ...


class Posts:
    """Each clip is a request of its own; serves any number of sources."""

    def __init__(self, client: AsyncClient, top_k: int | None, head: str | None, model: str | None = None) -> None:
        self._client = client
        self._top_k, self._head, self._model = top_k, head, model

    async def prepare(self, clip: Clip) -> Attempt:
        """Encode the clip; each attempt sends the same body."""
        body = await self._client.encode(clip.pictures, top_k=self._top_k, head=self._head, model=self._model)
        return functools.partial(self._client.post, body)

    def grow(self, pictures: Sequence[Picture]) -> None:
        """Do nothing: a request has a whole clip."""

    async def close(self) -> None:
        """Do nothing: all sources share the connections."""


class FrameStream:
    """Each frame of a source is sent once on a stream, which is opened when it is needed and again after it was lost.

    ``options`` are those of the stream. ``_turn`` is held by the clip that is being sent, so that frames stay in order.
    """

    def __init__(self, client: AsyncClient, options: StreamOptions, timeout_s: float) -> None:
        self._client, self._options, self._timeout_s = client, options, timeout_s
        self._turn = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._stream: WindowStream | None = None
        self._growing: asyncio.Task[None] | None = None

    async def prepare(self, clip: Clip) -> Attempt:
        """Do nothing in advance: which frames are to be sent is known in the clip's turn."""
        return functools.partial(self._classify, clip)

    def grow(self, pictures: Sequence[Picture]) -> None:
        """Send ``pictures`` ahead of their clip, unless the frames before them are still being sent."""
        if self._stream is not None and not self._turn.locked():
            self._growing = asyncio.create_task(self._send_ahead(pictures), name="send ahead")

    async def close(self) -> None:
        """Close the stream, and log what became of its frames and windows."""
        if self._growing is not None:
            self._growing.cancel()
            await asyncio.wait({self._growing})
        stream = self._stream
        await self._disconnect()
        if stream is not None and stream.ended is not None:
            ended = stream.ended
            fields: dict[str, object] = {"source": self._options.name, "frames": ended.frames, "windows": ended.windows}
            fields |= {f"skipped_{reason}": windows for reason, windows in ended.skipped.items()}
            if ended.still is not None:
                still = ended.still
                fields |= {"still_checked": still.checked, "still_missed": still.missed}
                fields |= {"missed_share_low": round(still.low, 4), "missed_share_high": round(still.high, 4)}
            logger.info("stream ended", extra=fields)

    async def _classify(self, clip: Clip) -> Answer:
        async with self._turn:
            stream = await self._connected(len(clip.pictures))
            answer = await stream.begin(clip.pictures)
        return await answer

    async def _send_ahead(self, pictures: Sequence[Picture]) -> None:
        async with self._turn:
            # What is wrong with the connection is found out, and told, when the clip is sent.
            with contextlib.suppress(ServiceError):
                if self._stream is not None and self._stream.error is None:
                    await self._stream.send_ahead(pictures)

    async def _connected(self, frames: int) -> WindowStream:
        if self._stream is None or self._stream.error is not None:
            await self._disconnect()
            stride = min(self._options.stride or frames, frames)
            options = replace(self._options, stride=stride)
            stream = await self._stack.enter_async_context(self._client.open_stream(options))
            fps = stream.ready.fps
            self._stream = WindowStream(stream, self._client.url, fps, stride, self._timeout_s)
        return self._stream

    async def _disconnect(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()
        await self._stack.aclose()
