"""Bodies as clients write them."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.uint8]


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def raw_body(frames: Frames, pixel_format: str = "RGB", **fields: Any) -> dict[str, Any]:
    """``frames``: uint8 RGB [T, H, W, 3]."""
    ordered = frames if pixel_format == "RGB" else frames[..., ::-1]
    size = {"width": frames.shape[2], "height": frames.shape[1]}
    return {"frames": [text(frame.tobytes()) for frame in ordered], **size, "format": pixel_format, **fields}


def encode(frames: Frames, extension: str, *options: int) -> list[bytes]:
    """Each of ``frames``, uint8 RGB, as an image file; ``extension`` is ``.png`` and the like."""
    encoded = (cv2.imencode(extension, np.ascontiguousarray(frame[..., ::-1]), options) for frame in frames)
    return [content.tobytes() for _, content in encoded]


def image_body(images: Iterable[bytes], **fields: Any) -> dict[str, Any]:
    return {"frames": [text(image) for image in images], **fields}
