"""The picture: a decoded frame as the pixels that are sent."""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from consumer.client.encodings import Picture

# swscale's bilinear widens with the shrinking (it is antialiased) and comes closest to the model's own resizing:
# 1.3 grey levels off Pillow's on average from 1080p, against 3.5 for area averaging.
SCALING = Interpolation.BILINEAR


class PictureMaker:
    """Makes pictures of one stream's frames, all of one size: short edge at most ``short_edge_px`` (0: as they are).

    The first frame sets the size; should the stream change its own half way, later frames are fitted to that.
    """

    def __init__(self, short_edge_px: int) -> None:
        self._short_edge_px = short_edge_px
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None
        self._last: tuple[av.VideoFrame, Picture] | None = None

    def make(self, frame: av.VideoFrame) -> Picture:
        """Shrink (never enlarge) ``frame``, turn it upright and convert it to RGB, in one pass over its pixels."""
        if self._last is None or self._last[0] is not frame:
            self._last = frame, self._convert(frame)
        return self._last[1]

    def _convert(self, frame: av.VideoFrame) -> Picture:
        width, height = self._size = self._size or self._fit(frame)
        # One thread: a picture takes 2 ms, and the other cores have decoding or other cameras to do.
        small = self._reformatter.reformat(frame, width, height, "rgb24", interpolation=SCALING, threads=1)
        upright = np.rot90(small.to_ndarray(), round(frame.rotation / 90))
        return np.ascontiguousarray(upright, dtype=np.uint8)

    def _fit(self, frame: av.VideoFrame) -> tuple[int, int]:
        short_px = min(frame.width, frame.height)
        if not 0 < self._short_edge_px < short_px:
            return frame.width, frame.height
        # Truncated as the model's preprocessing does, so that the server finds nothing left to resize.
        return frame.width * self._short_edge_px // short_px, frame.height * self._short_edge_px // short_px
