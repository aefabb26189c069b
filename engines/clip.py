"""A decoded clip: the input of every engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

PixelFormat = Literal["BGR", "RGB"]


@dataclass(frozen=True, slots=True)
class Clip:
    """``frames``: uint8 [T, H, W, 3] of any H and W, contiguous; ``pixel_format``: the order of its channels."""

    frames: npt.NDArray[np.uint8]
    pixel_format: PixelFormat
