"""Converts packed 8-bit frames of any size to the network's input, on the CPU.

The steps are those of transformers' ``VJEPA2VideoProcessor``: resize the short edge (bilinear, antialiased, rounded
to 8 bits), cut out the centre, scale to [0, 1], normalise each channel by its mean and standard deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from PIL import Image

from engines.clip import Clip
from engines.manifest import Preprocessing

# Above this aspect ratio only the crop is resized, because a full resize of 1 x 16384 pixels needs gigabytes. Up to it
# the whole frame is resized, because Pillow keeps the corners of a crop box in 32 bits, which changes the rounding of
# exact ties (0.8 % of the values differ by 1/255).
MOST_RESIZED_ASPECT = 4


def resized_shape(height: int, width: int, short_edge: int) -> tuple[int, int]:
    """Height and width after the resize; the long edge is truncated, as torchvision does."""
    if height <= width:
        return short_edge, int(short_edge * width / height)
    return int(short_edge * height / width), short_edge


def crop_frame(frame: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """Resize and centre-crop one uint8 frame [H, W, 3] to uint8 [crop, crop, 3]; the channel order is kept."""
    crop = preprocessing.crop
    height, width = resized_shape(frame.shape[0], frame.shape[1], preprocessing.resize)
    top, left = (height - crop) // 2, (width - crop) // 2
    image = Image.fromarray(frame)
    if max(height, width) <= MOST_RESIZED_ASPECT * preprocessing.resize:
        resized = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(resized.crop((left, top, left + crop, top + crop)))
    x, y = image.width / width, image.height / height
    box = (left * x, top * y, (left + crop) * x, (top + crop) * y)
    return np.asarray(image.resize((crop, crop), Image.Resampling.BILINEAR, box))


def crop_clip(frames: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """Resize and centre-crop uint8 frames [T, H, W, 3] to uint8 [T, crop, crop, 3]."""
    return np.stack([crop_frame(frame, preprocessing) for frame in frames])


class CpuPreprocessor:
    """Writes clips of any frame size into the network's input; threads share the frames of a clip."""

    def __init__(self, preprocessing: Preprocessing, threads: int) -> None:
        self._preprocessing = preprocessing
        mean, std = np.array(preprocessing.mean, np.float32), np.array(preprocessing.std, np.float32)
        self._scale = (1 / (255 * std)).reshape(3, 1, 1)
        self._shift = (-mean / std).reshape(3, 1, 1)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="preprocess")

    def __call__(self, clip: Clip, network_input: npt.NDArray[np.float32]) -> None:
        """Fill ``network_input``, float32 [T, 3, crop, crop], channels in RGB order, from ``clip``."""
        step = 1 if clip.pixel_format == "RGB" else -1

        def prepare(index: int) -> None:
            pixels = crop_frame(clip.frames[index], self._preprocessing)
            planes = pixels[..., ::step].transpose(2, 0, 1)
            np.multiply(planes, self._scale, out=network_input[index])
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
