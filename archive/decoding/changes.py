"""How much the picture changes from each frame of a window to the next."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# The mean of a block hides the noise of a camera, and shows the movement of a small object.
_BLOCK_PX = 8


def changes(frames: npt.NDArray[np.uint8]) -> tuple[float, ...]:
    """For uint8 [T, H, W, 3], T - 1 numbers: the largest change of a block of 8 x 8 pixels, in levels from 0 to 255."""
    count, height, width, channels = frames.shape
    rows, columns = height // _BLOCK_PX, width // _BLOCK_PX
    whole = frames[:, : rows * _BLOCK_PX, : columns * _BLOCK_PX]
    blocks = whole.reshape(count, rows, _BLOCK_PX, columns, _BLOCK_PX * channels).mean(axis=(2, 4), dtype=np.float32)
    return tuple(np.abs(np.diff(blocks, axis=0)).max(axis=(1, 2)).round(2).tolist())
