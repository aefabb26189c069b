"""The latest clips of clients, kept so that a new engine can be compared with the old one before it takes over."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from engines.clip import Clip, PixelFormat
from server.clips.decode_threads import DecodeThreads

# Once there are enough clips, at most one of them is replaced in this time, because each costs some milliseconds.
_REPLACED_EVERY_S = 1.0
# No clip is kept larger than this; networks take far less, and memory stays small with large frames.
_SHORT_EDGE = 512
# JPEGs have at most 65,535 pixels an edge.
_LONG_EDGE = 4096
_JPEG_QUALITY = 95


@dataclass(frozen=True, slots=True)
class _Kept:
    """The frames of a clip as JPEGs, which take a tenth of the memory of their pixels."""

    frames: tuple[npt.NDArray[np.uint8], ...]
    pixel_format: PixelFormat


class RecentClips:
    """At most ``most`` clips, in memory only; both engines of a comparison get the same pixels.

    Invariants: all attributes belong to the event loop. ``_encoding`` is the one clip that is being encoded.
    """

    def __init__(self, most: int, threads: DecodeThreads) -> None:
        self._kept: deque[_Kept] = deque(maxlen=most)
        self._most = most
        self._threads = threads
        self._encoding: asyncio.Task[None] | None = None
        self._latest_s = 0.0

    def keep(self, clip: Clip) -> None:
        """Keep a small copy of ``clip`` instead of the oldest, unless the latest was kept a moment ago."""
        now_s = asyncio.get_running_loop().time()
        full = len(self._kept) == self._most
        if self._encoding is not None or (full and now_s - self._latest_s < _REPLACED_EVERY_S) or not self._most:
            return
        self._latest_s = now_s
        self._encoding = asyncio.create_task(self._encode(clip), name="keep")

    async def clips(self) -> list[Clip]:
        """The kept clips, the oldest first."""
        kept = list(self._kept)
        return [await self._threads.run(_decoded, one) for one in kept]

    async def _encode(self, clip: Clip) -> None:
        try:
            self._kept.append(await self._threads.run(_encoded, clip))
        finally:
            self._encoding = None


def _encoded(clip: Clip) -> _Kept:
    height, width = clip.frames.shape[1:3]
    scale = min(1.0, _SHORT_EDGE / min(height, width), _LONG_EDGE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    frames = clip.frames if scale == 1 else [cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in clip.frames]
    quality = (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY)
    return _Kept(tuple(cv2.imencode(".jpg", frame, quality)[1] for frame in frames), clip.pixel_format)


def _decoded(kept: _Kept) -> Clip:
    frames = [np.asarray(cv2.imdecode(frame, cv2.IMREAD_COLOR), np.uint8) for frame in kept.frames]
    return Clip(np.stack(frames), kept.pixel_format)
