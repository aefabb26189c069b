"""A small picture of a stream about every second, for those who watch; it is kept in memory only."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from engines.clip import PixelFormat

_EVERY_S = 1.0
# The shorter side of a picture. It is a third of that of a usual camera's preview, and its JPEG has about 10 kB.
_SHORT_EDGE_PIXELS = 180
_QUALITY = 70
# The longest side that a picture may have, relative to its shorter one.
_MOST_ASPECT = 4


@dataclass(frozen=True, slots=True)
class Picture:
    """``taken_s`` is Unix time; ``width`` and ``height`` are those of the JPEG, in pixels."""

    jpeg: bytes
    width: int
    height: int
    taken_s: float


class Pictures:
    """Keeps the latest picture of one stream while ``wanted`` says that somebody watches.

    Invariants: ``due`` and ``forget`` belong to the event loop; ``take`` is called in a decode thread, and replaces
    ``latest`` as a whole.
    """

    def __init__(self, wanted: Callable[[], bool]) -> None:
        self.latest: Picture | None = None
        self._wanted = wanted
        self._next_s = 0.0

    def due(self) -> bool:
        """Whether the next frame is to be pictured; True at most once in a second."""
        now_s = time.monotonic()
        if now_s < self._next_s or not self._wanted():
            return False
        self._next_s = now_s + _EVERY_S
        return True

    def take(self, pixels: npt.NDArray[np.uint8], pixel_format: PixelFormat) -> None:
        """Picture a frame, uint8 [H, W, 3]."""
        self.latest = picture_of(pixels, pixel_format)

    def forget(self) -> None:
        self.latest = None


def picture_of(pixels: npt.NDArray[np.uint8], pixel_format: PixelFormat) -> Picture | None:
    """A small JPEG of a frame, uint8 [H, W, 3]; None for a strip, in which nothing could be seen."""
    height, width = pixels.shape[:2]
    short = min(height, width)
    if max(height, width) > _MOST_ASPECT * short:
        return None
    scale = min(1.0, _SHORT_EDGE_PIXELS / short)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = pixels if scale == 1.0 else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(small), quality=_QUALITY, colorspace=pixel_format)
    return Picture(jpeg, *size, time.time())
