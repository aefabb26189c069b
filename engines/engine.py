"""What the server knows of an engine, whichever runtime is behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from engines.clip import Clip
from engines.manifest import Manifest, Precision


@dataclass(frozen=True, slots=True)
class Inference:
    """``probabilities``: float32 [N, labels], each row sums to 1; and where the time went, in milliseconds.

    ``copy_ms`` is the part of ``preprocess_ms`` in which frames were copied up; in ``wait_ms`` all was ready,
    and the network of the batch before was not through.
    """

    probabilities: npt.NDArray[np.float32]
    preprocess_ms: float
    network_ms: float
    copy_ms: float = 0.0
    wait_ms: float = 0.0


class Engine(Protocol):
    """A loaded bundle. ``infer`` blocks, so it is called off the event loop, by at most ``lanes`` threads at a time."""

    @property
    def manifest(self) -> Manifest: ...

    @property
    def device_name(self) -> str: ...

    @property
    def precision(self) -> Precision:
        """What the network really computes in on this device: ``fp32``, ``bf16``, ``fp16`` or ``int8``."""
        ...

    @property
    def lanes(self) -> int:
        """How many batches it takes at once; with more than one, the next is prepared while one computes."""
        ...

    def allocate(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        """Uninitialised uint8 [T, height, width, 3] that the engine reads fastest; freed with its last reference."""
        ...

    def infer(self, clips: Sequence[Clip]) -> Inference:
        """Classify 1 to ``manifest.max_batch`` clips, whose sizes may differ.

        Raises:
            EngineError: the runtime failed on this batch.
            EngineLostError: it will fail on every other one too; the process is not worth keeping.
        """
        ...

    def close(self) -> None:
        """Give back device and memory; the engine is not used afterwards."""
        ...
