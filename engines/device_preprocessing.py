"""From packed 8-bit frames of any size to what the network reads, on the device that runs it.

The same steps as ``preprocessing``, within 1/255 of it: two products with banded matrices, rows then columns, which
tensor cores eat. The second also takes the interleaved channels apart and puts them into RGB order.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from engines.clip import PixelFormat
from engines.preprocessing import Preprocessing, resized_shape
from engines.resampling import resample_weights, used_span

# Frame sizes whose tables are kept; those of 1080p take 10 MB.
_MOST_TABLES = 64


@dataclass(frozen=True)
class Tables:
    """For one frame size and channel order: what of a frame is used, and the matrices for its rows and columns.

    ``down`` [crop, rows] and ``across`` [columns * 3, 3 * crop].
    """

    rows: slice
    columns: slice
    down: torch.Tensor
    across: torch.Tensor


class DevicePreprocessor:
    """Turns clips on ``device`` into the network's input; a handful of launches, nothing is allocated on the host."""

    def __init__(self, preprocessing: Preprocessing, device: torch.device, dtype: torch.dtype) -> None:
        """``dtype`` is the network input's. Resizing computes in FP16 on CUDA and in FP32 on a CPU."""
        self._preprocessing, self._device, self._dtype = preprocessing, device, dtype
        self._compute = torch.float16 if device.type == "cuda" else torch.float32
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
        self._scale = (1 / (255 * std)).to(device)
        self._shift = (-mean / std).to(device)
        self._cached_tables = functools.lru_cache(_MOST_TABLES)(self._tables)

    def __call__(self, frames: torch.Tensor, pixel_format: PixelFormat, out: torch.Tensor) -> None:
        """Fill ``out`` [T, 3, crop, crop], channels in RGB order, from uint8 frames [T, H, W, 3] on the device."""
        count, height, width = frames.shape[:3]
        tables, crop = self._cached_tables(height, width, pixel_format), self._preprocessing.crop
        used = frames[:, tables.rows, tables.columns].to(self._compute)
        resized = tables.down @ used.flatten(2) @ tables.across
        # Rounded to 8 bits as Pillow does.
        pixels = resized.float().round_().clamp_(0, 255).view(count, crop, 3, crop).transpose(1, 2)
        out.copy_(torch.addcmul(self._shift, pixels, self._scale))

    def _tables(self, height: int, width: int, pixel_format: PixelFormat) -> Tables:
        tall, wide = resized_shape(height, width, self._preprocessing.resize)
        crop = self._preprocessing.crop
        down = resample_weights(height, tall, (tall - crop) // 2, crop)
        across = resample_weights(width, wide, (wide - crop) // 2, crop)
        rows, columns = used_span(down), used_span(across)
        # Channel c of a used pixel goes to plane c, or to plane 2 - c when blue comes first.
        planes = np.eye(3, dtype=np.float32)[:: 1 if pixel_format == "RGB" else -1]
        apart = np.einsum("xw,cp->wcpx", across[:, columns], planes).reshape(-1, 3 * crop)
        return Tables(rows, columns, self._matrix(down[:, rows]), self._matrix(apart))

    def _matrix(self, weights: npt.NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(weights)).to(self._device, self._compute)
