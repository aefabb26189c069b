"""From packed 8-bit frames of any size to what the network reads, on the device that runs it.

The same steps as ``preprocessing`` and, but for some tall frames, level for level the same result: Pillow sums 8-bit
pixels times 22-bit weights in integers. Here the weights are split into two halves of 11 bits, so every product and
every sum of a matrix product in FP32 is exact, and put together again in integers.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from engines.clip import PixelFormat
from engines.preprocessing import Preprocessing, resized_shape
from engines.resampling import PRECISION_BITS, resample_weights, used_span

# Frame sizes whose tables are kept; those of 1080p take 6 MB.
_MOST_TABLES = 64
_HALF_BITS = PRECISION_BITS // 2


@dataclass(frozen=True)
class Tables:
    """For one frame size: what of a frame is used, and the weights of its columns and rows.

    ``across`` [columns, 2 * crop] and ``down`` [2 * crop, rows], float32: upper halves, then lower halves.
    """

    rows: slice
    columns: slice
    across: torch.Tensor
    down: torch.Tensor


class DevicePreprocessor:
    """Turns clips on ``device`` into the network's input; a handful of launches, and nothing waits for the host."""

    def __init__(self, preprocessing: Preprocessing, device: torch.device) -> None:
        self._preprocessing, self._device = preprocessing, device
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
        self._scale = (1 / (255 * std)).to(device)
        self._shift = (-mean / std).to(device)
        self._cached_tables = functools.lru_cache(_MOST_TABLES)(self._tables)

    def __call__(self, frames: torch.Tensor, pixel_format: PixelFormat, out: torch.Tensor) -> None:
        """Fill ``out`` [T, 3, crop, crop], channels in RGB order, from uint8 frames [T, H, W, 3] on the device."""
        tables = self._cached_tables(*frames.shape[1:3])
        planes = frames[:, tables.rows, tables.columns].permute(0, 3, 1, 2).float()
        pixels = _levels(tables.down @ _levels(planes @ tables.across, -1), -2)
        if pixel_format == "BGR":
            pixels = pixels.flip(1)
        out.copy_(torch.addcmul(self._shift, pixels, self._scale))

    def _tables(self, height: int, width: int) -> Tables:
        tall, wide = resized_shape(height, width, self._preprocessing.resize)
        crop = self._preprocessing.crop
        down = resample_weights(height, tall, (tall - crop) // 2, crop)
        across = resample_weights(width, wide, (wide - crop) // 2, crop)
        rows, columns = used_span(down), used_span(across)
        return Tables(rows, columns, self._halves(across[:, columns]).T, self._halves(down[:, rows]))

    def _halves(self, weights: npt.NDArray[np.int32]) -> torch.Tensor:
        """Upper and lower halves of int32 weights [crop, N], one after the other: float32 [2 * crop, N]."""
        halves = np.concatenate([weights >> _HALF_BITS, weights & (2**_HALF_BITS - 1)])
        return torch.from_numpy(halves.astype(np.float32)).to(self._device)


def _levels(sums: torch.Tensor, dim: int) -> torch.Tensor:
    """8-bit levels from the sums with the weights' upper and lower halves, rounded as Pillow does."""
    upper, lower = sums.int().chunk(2, dim)
    scaled: torch.Tensor = (upper << _HALF_BITS) + lower + 2 ** (PRECISION_BITS - 1)
    return (scaled >> PRECISION_BITS).clamp_(0, 255).float()
