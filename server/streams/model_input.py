"""What a model takes, as far as the frames and windows of a stream depend on it."""

from __future__ import annotations

from dataclasses import dataclass

from engines.manifest import Manifest, Preprocessing


@dataclass(frozen=True, slots=True)
class ModelInput:
    """Windows that were made for one model fit another one with an equal input."""

    frames: int
    preprocessing: Preprocessing

    @classmethod
    def of(cls, manifest: Manifest) -> ModelInput:
        return cls(manifest.frames, manifest.preprocessing)

    @property
    def window_bytes(self) -> int:
        """Of the crops of a window."""
        return self.frames * 3 * self.preprocessing.crop**2
