"""The reference engine: the lean network as a torch program (.pt2), on a CUDA device or the CPU; no transformers."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.export.passes import move_to_device_pass

from engines.bundle import Bundle
from engines.clip import Clip
from engines.cores import cgroup_cores, usable_cores
from engines.engine import Inference
from engines.errors import BundleDamagedError, EngineError, EngineLostError
from engines.manifest import Manifest, Precision
from engines.preprocessing import CpuPreprocessor

_DTYPES = {"float32": torch.float32, "float16": torch.float16}


class TorchEngine:
    """Runs a ``torch`` bundle in the precision that it was exported in."""

    def __init__(self, bundle: Bundle, *, threads: int = 0) -> None:
        """``threads`` 0 leaves the CPU's number to torch.

        Raises:
            EngineError: torch cannot load the program.
            BundleDamagedError: it is not the one that the manifest describes.
        """
        self._manifest = bundle.manifest
        threads = threads or cgroup_cores() or 0
        if threads:
            torch.set_num_threads(threads)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._dtype = _DTYPES[bundle.manifest.network_input.dtype]
        try:
            program = torch.export.load(bundle.file(".pt2"))
            self._network = move_to_device_pass(program, self._device).module()
        except (RuntimeError, OSError) as error:
            raise EngineError(f"torch cannot load {bundle.path}: {_first_line(error)}") from error
        _check_network(program, bundle)
        self._preprocess = CpuPreprocessor(self._manifest.preprocessing, threads or usable_cores())

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
        return np.empty((self._manifest.frames, height, width, 3), np.uint8)

    def infer(self, clips: Sequence[Clip]) -> Inference:
        started = time.perf_counter()
        network_input = torch.from_numpy(self._preprocess.batch(clips))
        prepared = time.perf_counter()
        try:
            with torch.inference_mode():
                probabilities = self._network(network_input.to(self._device, self._dtype)).cpu().numpy()
        except torch.AcceleratorError as error:  # CUDA's own, after which its context is of no more use
            raise EngineLostError(f"the device is lost: {_first_line(error)}") from error
        except RuntimeError as error:
            raise EngineError(f"torch failed on a batch of {len(clips)}: {_first_line(error)}") from error
        finished = time.perf_counter()
        return Inference(probabilities, (prepared - started) * 1e3, (finished - prepared) * 1e3)

    def close(self) -> None:
        self._preprocess.close()
        del self._network


def _check_network(program: torch.export.ExportedProgram, bundle: Bundle) -> None:
    (output,) = (node.args[0][0] for node in program.graph.nodes if node.op == "output")
    wanted, outputs = len(bundle.manifest.labels), output.meta["val"].shape[-1]
    if outputs != wanted:
        raise BundleDamagedError(
            f"bundle {bundle.path} names {wanted} labels, but its network has {outputs} outputs",
            help="export the model again",
        )


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
