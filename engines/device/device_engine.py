"""The engine for networks on a torch device, independent of the compiler that made them."""

from __future__ import annotations

import itertools
import logging
import queue
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from engines.clip import Clip
from engines.device.capture_gate import CAPTURES
from engines.device.cuda_errors import explained, explained_page_locking
from engines.device.frame_ring import FrameRing, LaneFrames
from engines.device.lane import DTYPES, DeviceNetwork, Lane, LaneGraphs
from engines.device.memory import DeviceMemory
from engines.device.page_locked import PageLockedMemory
from engines.device.timeline import Turn
from engines.engine import DeviceShare, Inference
from engines.errors import ClipTooLargeError, EngineError, first_line
from engines.manifest import Manifest, Precision
from engines.options import MIB, EngineOptions
from engines.preprocessing.choice import device_preprocessor

_log = logging.getLogger(__name__)


class DeviceEngine:
    """Lanes on one device, and the page-locked memory that clips are decoded into.

    Invariant: a lane is either in ``_free_lanes`` or used by exactly one ``infer``.
    """

    def __init__(
        self,
        manifest: Manifest,
        device: torch.device,
        new_network: Callable[[], DeviceNetwork],
        options: EngineOptions,
    ) -> None:
        """Reserve all memory on host and device in advance; raises EngineError."""
        self._manifest, self._device, self._options = manifest, device, options
        self._on_cuda = device.type == "cuda"
        self._memory: PageLockedMemory | None = None
        self._reserved_mib = 0
        self._turns: list[Turn] = []
        self._free_lanes: queue.SimpleQueue[Lane] = queue.SimpleQueue()
        with explained(device):
            for lane in self._new_lanes(new_network):
                self._free_lanes.put(lane)

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    @property
    def device_name(self) -> str:
        return torch.cuda.get_device_name(self._device) if self._on_cuda else "CPU"

    @property
    def precision(self) -> Precision:
        return self._manifest.precision

    @property
    def lanes(self) -> int:
        return self._options.lanes or (2 if self._on_cuda else 1)

    @property
    def compiles_each_batch(self) -> bool:
        return self._on_cuda

    @property
    def share(self) -> DeviceShare | None:
        if not self._on_cuda:
            return None
        return DeviceShare(str(self._device), self._reserved_mib, self._take_turns)

    def allocate(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        shape = (self._manifest.frames, height, width, 3)
        count_bytes = self._manifest.frames * height * width * 3
        if count_bytes > self._most_bytes:
            raise ClipTooLargeError(
                f"a clip of {self._manifest.frames} frames of {height} x {width} has {count_bytes} bytes;"
                f" the engine has room for {self._most_bytes}"
            )
        piece = self._memory.allocate(count_bytes) if self._memory else None
        # When no page-locked memory is free, ordinary memory works too; only its copy to the device is slower.
        return np.empty(shape, np.uint8) if piece is None else piece.reshape(shape)

    def infer(self, clips: Sequence[Clip]) -> Inference:
        for clip in clips:
            if clip.frames.nbytes > self._options.max_clip_bytes:
                raise EngineError(
                    f"a clip has {clip.frames.nbytes} bytes; the lane's room is {self._options.max_clip_bytes}"
                )
        lane = self._free_lanes.get()
        try:
            with explained(self._device):
                return lane.infer(clips)
        finally:
            self._free_lanes.put(lane)

    def close(self) -> None:
        with CAPTURES.submitting():
            while not self._free_lanes.empty():
                self._free_lanes.get()
            self._memory = None
            if self._on_cuda:
                _release_cached_memory()

    @property
    def _most_bytes(self) -> int:
        room = self._options.page_locked_bytes or self._options.max_clip_bytes
        return min(self._options.max_clip_bytes, room)

    def _page_locked_memory(self) -> PageLockedMemory | None:
        if not self._options.page_locked_bytes:
            return None
        with explained_page_locking(self._options.page_locked_bytes):
            return PageLockedMemory(self._options.page_locked_bytes, locked=self._on_cuda)

    def _new_lanes(self, new_network: Callable[[], DeviceNetwork]) -> list[Lane]:
        memory = DeviceMemory(self._device)
        with CAPTURES.submitting(long=True):
            self._memory = self._page_locked_memory()
            with memory.taken_for("network"):
                networks = [new_network() for _ in range(self.lanes)]
            with memory.taken_for("frames"):
                lanes = self._lanes_for(networks)
            if self._on_cuda:
                # The buffers were filled on the current stream, for which no lane waits. A wait for the whole device
                # would also wait for the batches of the engine in service.
                torch.cuda.current_stream(self._device).synchronize()
        if self._on_cuda:
            self._reserve(lanes, memory)
        return lanes

    def _lanes_for(self, networks: Sequence[DeviceNetwork]) -> list[Lane]:
        options, graphs = self._options, LaneGraphs(self._device, self._options.graphs)
        self._turns = [Turn() for _ in (networks if options.side_by_side else networks[:1])]
        dtype = DTYPES[self._manifest.network_input.dtype]
        preprocess = device_preprocessor(self._manifest.preprocessing, self._device, dtype)
        ring = FrameRing(options.ring_bytes if self._on_cuda else 0, self._manifest.preprocessing.crop, self._device)
        return [
            Lane(
                network,
                self._manifest,
                self._device,
                options.max_clip_bytes,
                turn,
                graphs,
                preprocess,
                LaneFrames(ring, self._manifest.max_batch, self._manifest.frames, pinned=self._on_cuda),
            )
            for network, turn in zip(networks, itertools.cycle(self._turns), strict=False)
        ]

    def _take_turns(self) -> None:
        if not self._options.side_by_side:
            for turn in self._turns:
                turn.share(self._device)

    def _reserve(self, lanes: Sequence[Lane], memory: DeviceMemory) -> None:
        with memory.taken_for("work"):
            for lane in lanes:
                lane.reserve()
        self._reserved_mib = sum(memory.taken_mib.values())
        page_locked_mib = self._options.page_locked_bytes // MIB
        extra = {"page_locked_mib": page_locked_mib, **memory.taken_mib, "free_mib": memory.free_mib}
        _log.info("memory reserved", extra={"device": str(self._device), "lanes": len(lanes), **extra})


def _release_cached_memory() -> None:
    """Give freed memory back to the device, so that TensorRT and the next engine can allocate it."""
    try:
        torch.cuda.empty_cache()
    except RuntimeError as error:  # torch asserts that no capture is left behind; the memory then stays cached
        _log.warning("freed device memory stays cached", extra={"why": first_line(error)})
