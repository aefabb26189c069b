"""Converts decoded frames into pictures: upright, in RGB, shrunk."""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""One frame's pixels: uint8 ``[height, width, 3]``, contiguous."""

# swscale's bilinear scaling is antialiased and comes closest to the model's own resizing: from 1080p, its mean
# difference to Pillow is 1.3 grey levels, that of area averaging 3.5.
SCALING = Interpolation.BILINEAR


class PictureMaker:
    """Converts the frames of one stream into pictures of one size.

    The short edge is at most ``short_edge_px`` (0: no limit). The first frame sets the size; if the size of the
    stream changes, later frames are scaled to the size of the first.
    """

    def __init__(self, short_edge_px: int) -> None:
        self._short_edge_px = short_edge_px
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None
        self._last: tuple[av.VideoFrame, Picture] | None = None

    def make(self, frame: av.VideoFrame) -> Picture:
        """Shrink ``frame`` (never enlarge it), turn it upright and convert it to RGB."""
        if self._last is None or self._last[0] is not frame:
            self._last = frame, self._convert(frame)
        return self._last[1]

    def _convert(self, frame: av.VideoFrame) -> Picture:
        width, height = self._size = self._size or self._fit(frame)
        # One thread: a picture takes only 2 ms, and the other cores are needed for decoding.
        small = self._reformatter.reformat(frame, width, height, "rgb24", interpolation=SCALING, threads=1)
        upright = np.rot90(small.to_ndarray(), round(frame.rotation / 90))
        return np.ascontiguousarray(upright, dtype=np.uint8)

    def _fit(self, frame: av.VideoFrame) -> tuple[int, int]:
        short_px = min(frame.width, frame.height)
        if not 0 < self._short_edge_px < short_px:
            return frame.width, frame.height
        # Rounded down like the model's preprocessing, so that the server need not resize again.
        return frame.width * self._short_edge_px // short_px, frame.height * self._short_edge_px // short_px
