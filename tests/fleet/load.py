"""Clients of a fleet: some post clips one after the other, some watch a stream and connect again when it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import numpy as np

from tests.latency.payloads import Payload, octet_stream, payloads, stand_in_label
from tests.latency.stand_in_device import FRAMES, LABELS, Frames, label_index, mark
from tests.server.streams import packed, streaming

_SIDE_PIXELS = 48
_TIMEOUT = aiohttp.ClientTimeout(120)
_RECONNECT_S = 0.1
# What a client sees when its stream breaks or is refused.
_BROKEN = (aiohttp.ClientError, OSError, TypeError)


@dataclass
class Seen:
    """What the clients have seen since the last fault."""

    clips: int = 0
    failed: list[str] = field(default_factory=list)
    slowest_s: float = 0
    windows: int = 0
    windows_lost: int = 0
    reconnections: int = 0


class Load:
    """Clients that go on until the end; ``seen`` is replaced at each fault."""

    def __init__(self, url: str, *, small_only: bool = False) -> None:
        self._url = url
        self._clips = _small_clips() if small_only else [_usual_clip(), *_small_clips()]
        self.seen = Seen()
        self._ends = asyncio.Event()

    def take(self) -> Seen:
        """What was seen since the last call."""
        seen, self.seen = self.seen, Seen()
        return seen

    async def answered(self, clips: int) -> None:
        """Wait until so many more clips have been answered."""
        wanted = self.seen.clips + clips
        async with asyncio.timeout(120):
            while self.seen.clips < wanted:
                await asyncio.sleep(0.05)

    @contextlib.asynccontextmanager
    async def running(self, posting: int, streaming_: int) -> AsyncIterator[None]:
        """So many clients of both kinds for the block; raises what a client did not expect."""
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(self._url, connector=connector, timeout=_TIMEOUT) as session,
            asyncio.TaskGroup() as group,
        ):
            for number, (payload, label) in zip(range(posting), itertools.cycle(self._clips), strict=False):
                group.create_task(self._post(session, payload, label), name=f"client {number}")
            for number in range(streaming_):
                group.create_task(self._watch(session, number), name=f"stream {number}")
            yield
            self._ends.set()

    async def _post(self, session: aiohttp.ClientSession, payload: Payload, label: str) -> None:
        while not self._ends.is_set():
            began_s = time.monotonic()
            said = await _answer(session, payload)
            seen = self.seen
            seen.clips += 1
            seen.slowest_s = max(seen.slowest_s, time.monotonic() - began_s)
            if said != label:
                seen.failed.append(said)

    async def _watch(self, session: aiohttp.ClientSession, number: int) -> None:
        """Windows one after the other; the one that is under way when the stream breaks is lost."""
        frames, label = marked_clip(100 + number)
        while not self._ends.is_set():
            try:
                async with streaming(session, name=f"camera {number}", fps=3, format="BGR") as stream:
                    await self._windows(stream, frames, label)
            except _BROKEN:
                self.seen.reconnections += 1
                await asyncio.sleep(_RECONNECT_S)

    async def _windows(self, stream: Any, frames: Frames, label: str) -> None:
        for first in itertools.count(step=FRAMES):
            if self._ends.is_set():
                return
            try:
                await stream.send(packed((first + index) / 3, frame) for index, frame in enumerate(frames))
                prediction = await stream.next("prediction")
            except BaseException:
                self.seen.windows_lost += 1
                raise
            self.seen.windows += 1
            if (said := prediction["predictions"][0]["label"]) != label:
                self.seen.failed.append(f"stream: {said}")


def marked_clip(number: int) -> tuple[Frames, str]:
    """BGR uint8 [16, 48, 48, 3], and what a stand-in engine answers to it."""
    frames = np.random.default_rng(number).integers(0, 256, (FRAMES, _SIDE_PIXELS, _SIDE_PIXELS, 3), np.uint8)
    mark(frames, number)
    return frames, LABELS[label_index(frames)]


def _small_clips() -> list[tuple[Payload, str]]:
    return [(octet_stream(frames), label) for frames, label in map(marked_clip, range(7))]


def _usual_clip() -> tuple[Payload, str]:
    """In JSON, which is larger than HAProxy's buffer is by default."""
    return payloads()["json"], stand_in_label()


async def _answer(session: aiohttp.ClientSession, payload: Payload) -> str:
    """The best label, or what went wrong."""
    headers = {"Content-Type": payload.content_type}
    try:
        async with session.post(f"/api/v1/infer{payload.query}", data=payload.body, headers=headers) as answer:
            body = await answer.read()
            if answer.status != 200:
                return f"{answer.status}: {body[:200]!r}"
            return str((await answer.json())["predictions"][0]["label"])
    except (aiohttp.ClientError, OSError) as error:
        return repr(error)
