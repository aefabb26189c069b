"""What the server knows of an engine, whichever runtime is behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from engines.clip import Clip
from engines.manifest import Manifest, Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """``probabilities``: float32 [N, labels], each row sums to 1; and where the time of the batch went.

    ``features``: float32 [N, F]; None where the bundle was exported without features. A pretrained encoder has features
    and no labels.

    ``copy_ms`` is the part of ``preprocess_ms`` in which frames were copied to the device. ``wait_ms`` is the time for
    which the batch was ready, but the network of the batch before was still running.
    """

    probabilities: npt.NDArray[np.float32]
    preprocess_ms: float
    network_ms: float
    copy_ms: float = 0.0
    wait_ms: float = 0.0
    features: npt.NDArray[np.float32] | None = None


def no_probabilities(clips: int) -> npt.NDArray[np.float32]:
    """Float32 [clips, 0]: the probabilities of a network without labels."""
    return np.zeros((clips, 0), np.float32)


@dataclass(frozen=True, slots=True)
class DeviceShare:
    """The part that an engine has of a ``device`` on which other engines may be: its memory, and its turns.

    ``take_turns`` is called once, before the engine serves: from then on no two networks of engines that take turns
    are on the device at once.
    """

    device: str
    reserved_mib: int
    take_turns: Callable[[], None]


class Model(Protocol):
    """What a front needs to know of a loaded bundle: what it is, and the memory that its clips are written into."""

    @property
    def manifest(self) -> Manifest: ...

    @property
    def device_name(self) -> str: ...

    @property
    def precision(self) -> Precision:
        """What the network really computes in on this device: ``fp32``, ``bf16``, ``fp16`` or ``int8``."""
        ...

    def allocate(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        """Uninitialised uint8 [T, height, width, 3] that the engine reads fastest; freed with its last reference.

        Raises:
            ClipTooLargeError: the engine has no memory for a clip of this size.
        """
        ...


class Engine(Model, Protocol):
    """A loaded bundle. ``infer`` blocks, so at most ``lanes`` threads call it at a time, off the event loop."""

    @property
    def lanes(self) -> int:
        """How many batches it takes at once; with more than one, the next is prepared while one computes."""
        ...

    @property
    def compiles_each_batch(self) -> bool:
        """Whether the first runs of a batch size take long, so that all sizes must be run before clients wait."""
        ...

    @property
    def share(self) -> DeviceShare | None:
        """None on a CPU, whose cores all engines use as they need them."""
        ...

    def infer(self, clips: Sequence[Clip]) -> Inference:
        """Classify 1 to ``manifest.max_batch`` clips, whose sizes may differ.

        Raises:
            EngineError: the runtime failed on this batch.
            EngineLostError: it will fail on every other batch too; only a new process helps.
        """
        ...

    def close(self) -> None:
        """Free device and memory; the engine is not used afterwards."""
        ...
