"""What whoever loads an engine may decide about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MIB = 2**20

Graphs = Literal["whole", "network", "none"]


@dataclass(frozen=True)
class EngineOptions:
    """``threads`` bounds what is taken of the CPU, 0 is every core; the others are for CUDA devices.

    ``device`` is ``cuda:N``, or None for the first. ``max_clip_bytes`` is the largest clip there may be, which each of
    the ``lanes`` (batches at once; 0 is 2 on CUDA, 1 elsewhere) has room for on the device. ``page_locked_bytes`` of
    the host's memory are shared by all clips on their way; 0 where another engine's ``allocate`` is used.
    ``graphs`` is what is launched as a CUDA graph: preprocessing and network, the network alone, or nothing. Lanes
    compute one after the other, unless ``side_by_side``.
    """

    threads: int = 0
    device: str | None = None
    max_clip_bytes: int = 400 * MIB
    page_locked_bytes: int = 1024 * MIB
    lanes: int = 0
    graphs: Graphs = "whole"
    side_by_side: bool = False
