"""A decoded clip: the input of every engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

PixelFormat = Literal["BGR", "RGB"]


class FrameKey:
    """Stands for a frame that several clips have; an engine may keep the frame on its device while the key lives."""

    __slots__ = ("__weakref__",)


@dataclass(frozen=True, slots=True)
class Clip:
    """``frames``: uint8 [T, H, W, 3] of any H and W, contiguous; ``pixel_format``: the order of its channels.

    ``cropped``: the frames are uint8 [T, crop, crop, 3] already, resized and cropped by ``crop_frame``. ``keys``: one
    for each frame, if other clips have the same frames; equal keys stand for equal pixels.
    """

    frames: npt.NDArray[np.uint8]
    pixel_format: PixelFormat
    cropped: bool = False
    keys: tuple[FrameKey, ...] = ()
