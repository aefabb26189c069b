"""Chooses how a device prepares frames: by one Triton kernel where that works, else by operations of torch."""

from __future__ import annotations

import logging
from typing import Any, Protocol

import numpy as np
import torch

from engines.clip import PixelFormat
from engines.errors import first_line
from engines.manifest import Preprocessing
from engines.preprocessing.device import DevicePreprocessor
from engines.preprocessing.fused import FusedPreprocessor

_log = logging.getLogger(__name__)

# The most that two exact preprocessors differ in FP16; one 8-bit level more makes a difference of 0.017.
_TOLERANCE = 4e-3


class FramePreprocessor(Protocol):
    """Turns frames on the device into the network's input; all lanes of an engine share it."""

    @property
    def workspace_bytes(self) -> int:
        """The most device memory that one call takes for intermediate results."""
        ...

    def tables(self, height: int, width: int, cropped: bool = False) -> Any:
        """What the calls for frames of this size need; kept for the sizes that were used last.

        ``cropped``: the frames are cropped already, so that each pixel stays as it is.
        """
        ...

    def __call__(self, frames: torch.Tensor, pixel_format: PixelFormat, out: torch.Tensor, tables: Any) -> None:
        """Queue work that fills ``out`` [T, 3, crop, crop], in RGB order, from uint8 frames [T, H, W, 3]."""
        ...


def device_preprocessor(preprocessing: Preprocessing, device: torch.device, dtype: torch.dtype) -> FramePreprocessor:
    """The preprocessor for a network on ``device`` that takes ``dtype``; logs which it is.

    On CUDA the kernel is compiled here, and used only if it makes of a frame what torch's operations make of it.
    """
    plain = DevicePreprocessor(preprocessing, device)
    if device.type != "cuda":
        return plain
    try:
        fused = FusedPreprocessor(preprocessing, device)
    except ImportError as error:
        _log.info("preprocessing by operations of torch", extra={"why": first_line(error)})
        return plain
    why_not = _fault(fused, plain, preprocessing.crop, device, dtype)
    if why_not:
        _log.warning("preprocessing by operations of torch", extra={"why": why_not})
        return plain
    _log.info("preprocessing by one kernel")
    return fused


def _fault(
    fused: FusedPreprocessor, plain: DevicePreprocessor, crop: int, device: torch.device, dtype: torch.dtype
) -> str | None:
    """Why the kernel cannot be used: it cannot be compiled here, or its answer is wrong."""
    # The frame shrinks, and its used part ends within a block of the kernel.
    size = 2 * crop + 29, 3 * crop + 7
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)).to(device)
    expected, found = torch.zeros(2, 1, 3, crop, crop, dtype=dtype, device=device)
    plain(frames, "BGR", expected, plain.tables(*size))
    try:
        fused(frames, "BGR", found, fused.tables(*size))
    except torch.OutOfMemoryError:
        raise
    except fused.failures as error:
        return first_line(error)
    off = float((found - expected).abs().max())
    return None if off <= _TOLERANCE else f"the kernel is {off:.2g} off"
