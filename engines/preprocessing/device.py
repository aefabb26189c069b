"""Converts packed 8-bit frames of any size to the network's input, on the device that runs the network.

The steps are those of ``preprocessing/cpu.py``, and the 8-bit levels are equal. This module splits each weight of 15
bits into two halves, which FP16 represents exactly, so that tensor cores can multiply them with 8-bit pixels. The sums
stay below 2**24 and are exact in FP32, unless frames shrink more than 100 times (then the error is at most 2**-20 of a
level). Integer arithmetic joins the halves.
"""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass

import numpy as np
import torch

from engines.clip import PixelFormat
from engines.manifest import Preprocessing
from engines.preprocessing.resampling import Axis, frame_axes

# The number of frame sizes whose tables are cached; the tables for 1080p take 2 MB.
_MOST_TABLES = 64
_HALF_BITS = 8
# Frames are processed in pieces whose intermediate results fit into this size: a whole clip of small frames, or five
# frames of 4K.
WORKSPACE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Tables:
    """The used part of a frame of one size, and the weights of its columns and rows.

    ``across`` [columns, 2 * crop] and ``down`` [rows, 2 * crop] hold the upper halves, then the lower halves, in units
    of 2**-``across_bits`` and 2**-``down_bits``.
    """

    rows: slice
    columns: slice
    across: torch.Tensor
    down: torch.Tensor
    across_bits: int
    down_bits: int


class DevicePreprocessor:
    """Turns clips on ``device`` into the network's input by operations of torch; several threads may share it."""

    def __init__(self, preprocessing: Preprocessing, device: torch.device) -> None:
        self._preprocessing, self._device = preprocessing, device
        # The type of the factors. CPUs offer no FP16 product with FP32 sums.
        self._dtype = torch.float16 if device.type == "cuda" else torch.float32
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
        self._scale = (1 / (255 * std)).to(device)
        self._shift = (-mean / std).to(device)
        self._lock = threading.Lock()
        self._cached = functools.lru_cache(_MOST_TABLES)(self._tables)

    @property
    def workspace_bytes(self) -> int:
        return WORKSPACE_BYTES

    def tables(self, height: int, width: int, cropped: bool = False) -> Tables:
        # Two lanes that get a new size together compute its tables once.
        with self._lock:
            return self._cached(height, width, cropped)

    def __call__(self, frames: torch.Tensor, pixel_format: PixelFormat, out: torch.Tensor, tables: Tables) -> None:
        """Fill ``out`` [T, 3, crop, crop], channels in RGB order, from uint8 frames [T, H, W, 3] on the device.

        ``tables`` must be those for H and W, and must live until the work has finished or its CUDA graph is dropped.
        """
        piece = max(1, WORKSPACE_BYTES // self._frame_bytes(tables))
        for first in range(0, len(frames), piece):
            some = slice(first, first + piece)
            self._piece(frames[some], pixel_format, out[some], tables)

    def _piece(self, frames: torch.Tensor, pixel_format: PixelFormat, out: torch.Tensor, tables: Tables) -> None:
        crop = self._preprocessing.crop
        pixels = frames[:, tables.rows, tables.columns].permute(0, 3, 1, 2)
        planes = torch.empty(pixels.shape, dtype=self._dtype, device=self._device).copy_(pixels)
        narrow = _levels(self._product(planes, tables.across), tables.across_bits)
        # The transposed copy makes the resize of the rows one matrix product too.
        turned = torch.empty((*pixels.shape[:2], crop, pixels.shape[2]), dtype=self._dtype, device=self._device)
        sums = self._product(turned.copy_(narrow.transpose(-2, -1)), tables.down)
        small = _levels(sums, tables.down_bits).transpose(-2, -1)
        if pixel_format == "BGR":
            small = small.flip(1)
        out.copy_(torch.addcmul(self._shift, small.float(), self._scale))

    def _product(self, planes: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Planes [..., N] times weights [N, 2 * crop], float32 [..., 2 * crop]."""
        rows = planes.flatten(0, -2)
        sums = rows @ weights if self._dtype == torch.float32 else torch.mm(rows, weights, out_dtype=torch.float32)
        return sums.view(*planes.shape[:-1], -1)

    def _frame_bytes(self, tables: Tables) -> int:
        """The bytes of one frame's intermediate results: its planes, and its sums in FP32 and in integers."""
        rows, (columns, sums) = tables.rows.stop - tables.rows.start, tables.across.shape
        return int(3 * rows * (columns * self._dtype.itemsize + sums * (4 + 4)))

    def _tables(self, height: int, width: int, cropped: bool) -> Tables:
        down, across = frame_axes(height, width, self._preprocessing, cropped=cropped)
        rows, columns = _aligned(down.used, height), _aligned(across.used, width)
        halves = self._halves(across, columns), self._halves(down, rows)
        return Tables(rows, columns, *halves, across.fraction_bits, down.fraction_bits)

    def _halves(self, axis: Axis, span: slice) -> torch.Tensor:
        """Upper and lower halves of the weights of the pixels in ``span``, side by side: [span, 2 * crop]."""
        around = ((0, 0), (axis.used.start - span.start, span.stop - axis.used.stop))
        weights = np.pad(axis.weights, around)
        halves = np.concatenate([weights >> _HALF_BITS, weights & (2**_HALF_BITS - 1)])
        return torch.from_numpy(np.ascontiguousarray(halves.T, np.float32)).to(self._device, self._dtype)


def _aligned(span: slice, most: int) -> slice:
    """``span`` widened to multiples of 8, which suit tensor cores, and cut off at ``most``."""
    return slice(span.start // 8 * 8, min(-(-span.stop // 8) * 8, most))


def _levels(sums: torch.Tensor, fraction_bits: int) -> torch.Tensor:
    """8-bit levels, int32, from the sums with the weights' upper and lower halves; a fraction of 0.5 is rounded up."""
    upper, lower = sums.int().chunk(2, -1)
    rounded = upper.bitwise_left_shift_(_HALF_BITS).add_(lower).add_(2 ** (fraction_bits - 1))
    return rounded.bitwise_right_shift_(fraction_bits).clamp_(0, 255)
