"""A clip small enough to be read in a document: a bright square that moves up."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

_SIDE_PIXELS = 32
_SQUARE_PIXELS = 8


def example_frames(count: int) -> list[str]:
    """``count`` PNG images of 32 x 32 pixels in base64."""
    return [base64.b64encode(_png(index / max(1, count - 1))).decode() for index in range(count)]


def _png(progress: float) -> bytes:
    """The frame at ``progress`` of the clip, 0 to 1."""
    pixels = np.zeros((_SIDE_PIXELS, _SIDE_PIXELS), np.uint8)
    top = round((1 - progress) * (_SIDE_PIXELS - _SQUARE_PIXELS))
    left = (_SIDE_PIXELS - _SQUARE_PIXELS) // 2
    pixels[top : top + _SQUARE_PIXELS, left : left + _SQUARE_PIXELS] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).convert("1").save(file, "PNG", optimize=True)
    return file.getvalue()
