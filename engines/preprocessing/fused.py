"""Converts packed 8-bit frames of any size to the network's input by one launch of a Triton kernel.

The levels equal those of ``preprocessing/device.py``, which launches 20 operations for each piece of a clip and moves
their results through the device's memory.
"""

from __future__ import annotations

import functools
import importlib
import threading
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from engines.clip import PixelFormat
from engines.manifest import Preprocessing
from engines.preprocessing.resampling import Axis, frame_axes

# The number of frame sizes whose tables are cached; the tables for 4K take 20 KB.
_MOST_TABLES = 256
# More warps hide the latency of reads where each takes fewer registers. The kernel needs 128 to keep all in registers.
_MOST_REGISTERS = 128


@dataclass(frozen=True)
class AxisTable:
    """For each resized pixel its first source pixel, int32 [crop], and its weights from there on, int16 [crop, taps].

    The weights are in units of 2**-``fraction_bits``.
    """

    starts: torch.Tensor
    weights: torch.Tensor
    fraction_bits: int


@dataclass(frozen=True)
class FusedTables:
    """How frames of one size are resized and cropped."""

    rows: AxisTable
    columns: AxisTable


class FusedPreprocessor:
    """Turns clips on ``device`` into the network's input by one launch each; several threads may share it."""

    # Nothing in between is stored.
    workspace_bytes = 0

    def __init__(self, preprocessing: Preprocessing, device: torch.device) -> None:
        """Raises ImportError where Triton is not installed."""
        kernel = importlib.import_module("engines.preprocessing.kernel")
        self._kernel, self._preprocessing, self._device = kernel, preprocessing, device
        # What a call raises when the kernel cannot be compiled or launched here.
        self.failures: tuple[type[Exception], ...] = kernel.FAILURES
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self._normal = torch.stack([1 / (255 * std), -mean / std]).to(device)
        crop, height, width = preprocessing.crop, kernel.HEIGHT.value, kernel.WIDTH.value
        self._tiles = -(-crop // width), -(-crop // height)
        self._lock = threading.Lock()
        self._cached = functools.lru_cache(_MOST_TABLES)(self._tables)

    def tables(self, height: int, width: int, cropped: bool = False) -> FusedTables:
        # Two lanes that get a new size together compute its tables once.
        with self._lock:
            return self._cached(height, width, cropped)

    def __call__(self, frames: torch.Tensor, pixel_format: PixelFormat, out: torch.Tensor, tables: FusedTables) -> None:
        """Fill ``out`` [T, 3, crop, crop], channels in RGB order, from uint8 frames [T, H, W, 3] on the device.

        Both are contiguous. ``tables`` must be those for H and W, and must live until the launch has finished, or as
        long as a CUDA graph of it.
        """
        rows, columns = tables.rows, tables.columns
        self._kernel.crop_frames[(*self._tiles, len(frames))](
            frames,
            out,
            self._normal,
            rows.starts,
            rows.weights,
            columns.starts,
            columns.weights,
            rows.weights.shape[1],
            columns.weights.shape[1],
            rows.fraction_bits,
            columns.fraction_bits,
            frames.shape[1],
            frames.shape[2],
            first_channel=0 if pixel_format == "RGB" else 2,
            step=1 if pixel_format == "RGB" else -1,
            crop=self._preprocessing.crop,
            num_warps=4,
            maxnreg=_MOST_REGISTERS,
        )

    def _tables(self, height: int, width: int, cropped: bool) -> FusedTables:
        rows, columns = map(self._axis_table, frame_axes(height, width, self._preprocessing, cropped=cropped))
        return FusedTables(rows, columns)

    def _axis_table(self, axis: Axis) -> AxisTable:
        firsts, weights = _taps(axis.weights)
        starts = torch.from_numpy((firsts + axis.used.start).astype(np.int32))
        taps = torch.from_numpy(weights.astype(np.int16))
        return AxisTable(starts.to(self._device), taps.to(self._device), axis.fraction_bits)


def _taps(matrix: npt.NDArray[np.int32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Of each row of a banded matrix: where it starts, and what it contains from there on, zeros at its end."""
    used = matrix > 0
    firsts = used.argmax(axis=1)
    ends = matrix.shape[1] - used[:, ::-1].argmax(axis=1)
    places = firsts[:, None] + np.arange((ends - firsts).max())
    inside = places < matrix.shape[1]
    values = np.take_along_axis(matrix, np.where(inside, places, 0), axis=1)
    return firsts, np.where(inside, values, 0)
