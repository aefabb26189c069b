"""Keeps the kernels that TensorRT-RTX compiles for a plan on the first run, so that the next start need not wait."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from engines.runtimes.tensorrt.api import TensorRt
from engines.storage.bundle import Bundle

if TYPE_CHECKING:
    import tensorrt_rtx as trt


_log = logging.getLogger(__name__)


class KernelCache:
    """The kernels of one plan, shared by its execution contexts, and their file.

    The library refuses a file of another release, GPU or driver, and a damaged one; it is then written anew.
    """

    def __init__(self, plan: trt.ICudaEngine, files: list[Path]) -> None:
        """``files``: where the kernels may be kept, the best place first."""
        self.kernels = plan.create_runtime_config().create_runtime_cache()
        self._files, self._lock = files, threading.Lock()
        self._kept = self._read()

    def save(self) -> None:
        """Write the kernels to the first place that can be written, if there are new ones."""
        with self._lock:
            content = bytes(memoryview(self.kernels.serialize()))
            digest = hashlib.sha256(content).digest()
            if digest == self._kept:
                return
            self._kept = digest
            for file in self._files:
                with contextlib.suppress(OSError):
                    _write(file, content)
                    return
            _log.warning("kernels cannot be kept, so each start compiles them", extra={"tried": str(self._files)})

    def _read(self) -> bytes | None:
        """The digest of the file that was loaded."""
        for file in self._files:
            with contextlib.suppress(OSError):
                content = file.read_bytes()
                if self.kernels.deserialize(content):
                    return hashlib.sha256(content).digest()
        return None


def kernel_cache(tensorrt: TensorRt, plan: trt.ICudaEngine, bundle: Bundle, gpu: str) -> KernelCache | None:
    """The cache of ``bundle`` on ``gpu``, beside the bundle or in the user's cache; None if the plan holds kernels."""
    if tensorrt.target == "tensorrt":
        return None
    name = f".kernels-{tensorrt.version}-{gpu.replace(' ', '-')}"
    # A container's user may have no home, and nothing can be written below this device.
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path(os.environ.get("HOME", os.devnull), ".cache"))
    return KernelCache(plan, [bundle.path / name, user / "vjepa2-server" / f"{bundle.manifest.digest}{name}"])


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f"{file.name}.{os.getpid()}.partial")
    aside.write_bytes(content)
    aside.replace(file)
