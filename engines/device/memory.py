"""Accounts for the device memory that is reserved at start."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from engines.device.capture_gate import CAPTURES
from engines.options import MIB


class DeviceMemory:
    """MiB taken for each purpose, as the device reports them: torch's own figures do not include TensorRT's memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.taken_mib: dict[str, int] = {}

    @contextlib.contextmanager
    def taken_for(self, purpose: str) -> Iterator[None]:
        """Count the memory that the block allocates under ``purpose``."""
        before = self._free_bytes()
        yield
        self.taken_mib[f"{purpose}_mib"] = (before - self._free_bytes()) // MIB

    @property
    def free_mib(self) -> int:
        return self._free_bytes() // MIB

    def _free_bytes(self) -> int:
        if self._device.type != "cuda":
            return 0
        with CAPTURES.submitting():
            return int(torch.cuda.mem_get_info(self._device)[0])
