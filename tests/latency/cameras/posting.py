"""A camera whose clips are sent as requests, for comparison with streams."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp

_FRAMES = 16
_PATH = "/api/v1/infer"


@dataclass
class PostingCamera:
    """Takes ``images`` again and again at ``fps``, and posts the latest 16 every ``stride`` frames.

    One request is in flight; a clip that is due meanwhile is skipped, as is one that the service refuses. Ages are from
    the taking of a clip's last frame to the answer.
    """

    images: Sequence[bytes]
    fps: float
    stride: int
    first_s: float
    ages_ms: list[float] = field(default_factory=list)
    skipped: int = 0

    async def run(self, session: aiohttp.ClientSession, starts_s: float, seconds: float) -> None:
        """Take frames for ``seconds`` from ``starts_s`` on, by the monotonic clock."""
        asking: asyncio.Task[None] | None = None
        for index in range(int(seconds * self.fps)):
            await asyncio.sleep(max(0.0, starts_s + self.first_s + index / self.fps - time.monotonic()))
            taken = index + 1
            if taken < _FRAMES or (taken - _FRAMES) % self.stride:
                continue
            if asking is not None and not asking.done():
                self.skipped += 1
                continue
            images = [self.images[(taken - _FRAMES + frame) % len(self.images)] for frame in range(_FRAMES)]
            asking = asyncio.create_task(self._ask(session, images, time.monotonic()))
        if asking is not None:
            await asking

    async def _ask(self, session: aiohttp.ClientSession, images: Sequence[bytes], taken_s: float) -> None:
        form = aiohttp.FormData()
        for number, image in enumerate(images):
            form.add_field("frames", image, filename=f"{number}.jpg", content_type="image/jpeg")
        async with session.post(_PATH, data=form) as answer:
            await answer.read()
            if answer.ok:
                self.ages_ms.append((time.monotonic() - taken_s) * 1e3)
            else:
                self.skipped += 1
