"""Options for loading an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MIB = 2**20

Graphs = Literal["whole", "network", "none"]


@dataclass(frozen=True)
class EngineOptions:
    """``threads`` limits the CPU threads; 0 means every core. The options of devices apply to torch only.

    ``device``: ``cuda:N``, ``cpu``, or None for the first CUDA device, else the CPU.
    ``max_clip_bytes``: the largest clip; each lane reserves this much memory on the device.
    ``page_locked_bytes``: host memory shared by all clips in flight; 0 where another engine's ``allocate`` is used.
    ``ring_bytes``: memory on a CUDA device for frames that several clips have, so that each is copied there once.
    ``lanes``: batches in the engine at the same time; 0 means 2 on CUDA, 1 elsewhere.
    ``graphs``: which work is launched as CUDA graphs: preprocessing and network, only the network, or none.
    ``bundle_sha256``: the digests that the content of a bundle may have; empty allows every bundle.
    ``trust_writable_bundles``: load code also from where other users may write.
    ``side_by_side``: the lanes' networks run concurrently; by default they take turns.
    """

    threads: int = 0
    device: str | None = None
    max_clip_bytes: int = 400 * MIB
    page_locked_bytes: int = 1024 * MIB
    ring_bytes: int = 0
    lanes: int = 0
    graphs: Graphs = "whole"
    side_by_side: bool = False
    bundle_sha256: tuple[str, ...] = ()
    trust_writable_bundles: bool = False
