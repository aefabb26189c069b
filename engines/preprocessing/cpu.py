"""Converts packed 8-bit frames of any size to the network's input, on the CPU.

The steps are those of transformers' ``VJEPA2VideoProcessor``: resize the short edge (bilinear, antialiased, rounded
to 8 bits), cut out the centre, scale to [0, 1], normalise each channel by its mean and standard deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from engines.clip import Clip
from engines.manifest import Preprocessing
from engines.preprocessing.resize import MIDDLE, counted_levels, cropped_levels, unresized_crop


def crop_frame(frame: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """Resize and centre-crop one uint8 frame [H, W, 3] to uint8 [crop, crop, 3]; the channel order is kept."""
    if min(frame.shape[:2]) == preprocessing.resize:
        return unresized_crop(frame, preprocessing).copy()
    return (cropped_levels(frame, preprocessing) + MIDDLE).astype(np.uint8).transpose(1, 2, 0)


def crop_clip(frames: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """Resize and centre-crop uint8 frames [T, H, W, 3] to uint8 [T, crop, crop, 3]."""
    return np.stack([crop_frame(frame, preprocessing) for frame in frames])


class CpuPreprocessor:
    """Writes clips of any frame size into the network's input; threads share the frames of a clip."""

    def __init__(self, preprocessing: Preprocessing, threads: int) -> None:
        self._preprocessing = preprocessing
        mean, std = (np.array(values).reshape(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
        self._scale = np.float32(1 / (255 * std))
        self._shift = np.float32((MIDDLE / 255 - mean) / std)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="preprocess")

    def __call__(self, clip: Clip, network_input: npt.NDArray[np.float32]) -> None:
        """Fill ``network_input``, float32 [T, 3, crop, crop], channels in RGB order, from ``clip``."""
        step = 1 if clip.pixel_format == "RGB" else -1

        def prepare(index: int) -> None:
            frame = clip.frames[index]
            levels = counted_levels(frame) if clip.cropped else cropped_levels(frame, self._preprocessing)
            np.multiply(levels[::step], self._scale, out=network_input[index], casting="same_kind")
            network_input[index] += self._shift

        list(self._pool.map(prepare, range(len(clip.frames))))

    def batch(self, clips: Sequence[Clip]) -> npt.NDArray[np.float32]:
        """The network's input for ``clips``, float32 [N, T, 3, crop, crop]."""
        crop = self._preprocessing.crop
        network_input = np.empty((len(clips), len(clips[0].frames), 3, crop, crop), np.float32)
        for clip, planes in zip(clips, network_input, strict=True):
            self(clip, planes)
        return network_input

    def close(self) -> None:
        self._pool.shutdown()
