"""Reference clips and the checkpoint's answers; a bundle carries them so that any machine can verify it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import numpy.typing as npt

from engines.clip import Clip, PixelFormat

FILE_NAME = "reference.npz"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """``probabilities`` float32 [clips, labels] are the checkpoint's answers to ``clips`` in FP32.

    ``labels`` are the checkpoint's, in the order of the probabilities; empty in bundles of format 2. ``features``:
    float32 [clips, F], the checkpoint's; None in bundles without features.
    """

    clips: tuple[Clip, ...]
    probabilities: Floats
    labels: tuple[str, ...] = ()
    features: Floats | None = None

    def write(self, path: Path) -> None:
        arrays: dict[str, Any] = {f"frames_{index}": clip.frames for index, clip in enumerate(self.clips)}
        arrays["pixel_formats"] = np.array([clip.pixel_format for clip in self.clips])
        # As UTF-8 JSON, because arrays of text drop trailing NUL characters.
        arrays["labels"] = np.frombuffer(msgspec.json.encode(self.labels), np.uint8)
        if self.features is not None:
            arrays["features"] = self.features
        np.savez_compressed(path, probabilities=self.probabilities, **arrays)

    @classmethod
    def read(cls, path: Path) -> Reference:
        return cls.decode(path.read_bytes())

    @classmethod
    def decode(cls, data: bytes) -> Reference:
        """The reference in the content of its file."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            formats = cast(list[PixelFormat], arrays["pixel_formats"].tolist())
            clips = tuple(Clip(arrays[f"frames_{index}"], name) for index, name in enumerate(formats))
            labels = arrays["labels"].tobytes() if "labels" in arrays else b"[]"
            features = arrays.get("features")
            return cls(clips, arrays["probabilities"], msgspec.json.decode(labels, type=tuple[str, ...]), features)
