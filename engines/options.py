"""What whoever loads an engine may decide about it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

MIB = 2**20


@dataclass(frozen=True)
class EngineOptions:
    """``threads`` bounds what is taken of the CPU, 0 is every core; the others are for CUDA devices.

    ``device`` is ``cuda:N``, or None for the first. ``max_clip_bytes`` is the largest clip there may be, which each of
    the ``lanes`` has room for on the device; ``page_locked_bytes`` of the host's memory are shared by all clips on
    their way, or ``clips_memory``, uint8 [bytes], where whoever loads the engine puts the clips itself. ``graphs``
    launches the network as one CUDA graph.
    """

    threads: int = 0
    device: str | None = None
    max_clip_bytes: int = 400 * MIB
    page_locked_bytes: int = 1024 * MIB
    lanes: int = 1
    graphs: bool = True
    clips_memory: npt.NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)
