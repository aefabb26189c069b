"""The engine of networks that run on a torch device, whichever compiler made them."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from engines.clip import Clip
from engines.cuda_errors import explained
from engines.engine import Inference
from engines.errors import TooLargeError
from engines.lane import DeviceNetwork, Lane
from engines.manifest import Manifest, Precision
from engines.options import MIB, EngineOptions
from engines.page_locked import PageLock, PageLockedMemory

_log = logging.getLogger(__name__)


class DeviceEngine:
    """Lanes on one device, and the page-locked memory that clips are decoded into; as many batches at once as lanes."""

    def __init__(
        self,
        manifest: Manifest,
        device: torch.device,
        new_network: Callable[[], DeviceNetwork],
        options: EngineOptions,
    ) -> None:
        self._manifest, self._device, self._options = manifest, device, options
        on_cuda = device.type == "cuda"
        self._memory: PageLockedMemory | None = None
        self._lock: PageLock | None = None
        with explained(device):
            if on_cuda and options.clips_memory is not None:
                self._lock = PageLock(options.clips_memory)
            elif on_cuda:
                self._memory = PageLockedMemory(options.page_locked_bytes, locked=True)
            lanes = [
                Lane(new_network(), manifest, device, options.max_clip_bytes, graphs=options.graphs)
                for _ in range(options.lanes if on_cuda else 1)
            ]
        self._lanes: queue.SimpleQueue[Lane] = queue.SimpleQueue()
        for lane in lanes:
            self._lanes.put(lane)
        if on_cuda:
            _log.info("memory reserved", extra=self._reserved())

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    @property
    def device_name(self) -> str:
        return torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "CPU"

    @property
    def precision(self) -> Precision:
        return self._manifest.precision

    def allocate(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        shape = (self._manifest.frames, height, width, 3)
        count_bytes = self._manifest.frames * height * width * 3
        if self._memory is None:
            return np.empty(shape, np.uint8)
        most = min(self._options.max_clip_bytes, self._memory.size_bytes)
        if count_bytes > most:
            raise TooLargeError(
                f"a clip of {self._manifest.frames} frames of {height} x {width} has {count_bytes} bytes;"
                f" the engine has room for {most}"
            )
        piece = self._memory.allocate(count_bytes)
        # While the memory is full, ordinary memory does too; it is copied up more slowly.
        return np.empty(shape, np.uint8) if piece is None else piece.reshape(shape)

    def infer(self, clips: Sequence[Clip]) -> Inference:
        lane = self._lanes.get()
        try:
            with explained(self._device):
                return lane.infer(clips)
        finally:
            self._lanes.put(lane)

    def close(self) -> None:
        while not self._lanes.empty():
            self._lanes.get()
        self._memory = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _reserved(self) -> dict[str, int]:
        return {
            "page_locked_mib": self._page_locked_bytes() // MIB,
            "frames_on_device_mib": self._options.lanes * self._options.max_clip_bytes // MIB,
            "device_in_use_mib": torch.cuda.memory_allocated(self._device) // MIB,
        }

    def _page_locked_bytes(self) -> int:
        shared = self._options.clips_memory
        return self._options.page_locked_bytes if shared is None else shared.nbytes
