"""Reference clips and the checkpoint's answers; a bundle carries them so that any machine can verify it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from engines.clip import Clip, PixelFormat

FILE_NAME = "reference.npz"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """``probabilities`` float32 [clips, labels] are the checkpoint's answers to ``clips`` in FP32."""

    clips: tuple[Clip, ...]
    probabilities: Floats

    def write(self, path: Path) -> None:
        frames: dict[str, Any] = {f"frames_{index}": clip.frames for index, clip in enumerate(self.clips)}
        formats = np.array([clip.pixel_format for clip in self.clips])
        np.savez_compressed(path, probabilities=self.probabilities, pixel_formats=formats, **frames)

    @classmethod
    def read(cls, path: Path) -> Reference:
        return cls.decode(path.read_bytes())

    @classmethod
    def decode(cls, data: bytes) -> Reference:
        """The reference in the content of its file."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            formats = cast(list[PixelFormat], arrays["pixel_formats"].tolist())
            clips = tuple(Clip(arrays[f"frames_{index}"], name) for index, name in enumerate(formats))
            return cls(clips, arrays["probabilities"])
