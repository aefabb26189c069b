"""The embedded engine: OpenVINO on the CPU, from the bundle's ONNX file or, for int8, its quantized network."""

from __future__ import annotations

import functools
import importlib
import sys
import time
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engines.clip import Clip
from engines.cores import cgroup_cores, usable_cores
from engines.engine import DeviceShare, Inference, no_probabilities
from engines.errors import EngineError
from engines.manifest import Manifest, Precision
from engines.preprocessing.cpu import CpuPreprocessor
from engines.storage.bundle import Bundle
from engines.storage.outputs import check_outputs

if TYPE_CHECKING:
    import openvino as ov


def load_openvino() -> ModuleType:
    """Import OpenVINO and keep its telemetry from starting, for the whole process; no other code may import it first.

    The telemetry forks a process and ends it with SIGTERM where there is no network. A forked process shares asyncio's
    wake-up descriptor for signals, so the server would receive that SIGTERM as its own.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return importlib.import_module("openvino")


class OpenVinoEngine:
    """Runs an ``openvino`` bundle; a bf16 bundle runs in fp32, which is more exact, on a CPU without bf16.

    The layers that an int8 bundle keeps in floating point run in the fastest floating-point type of the CPU.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 0) -> None:
        """With ``threads`` 0, OpenVINO uses one thread for each physical core, or fewer under a container's quota.

        Raises:
            BundleDamagedError: the network does not match the manifest.
            EngineError: OpenVINO cannot load it.
        """
        self._manifest = bundle.manifest
        self._threads = threads or cgroup_cores() or 0
        self._precision = cpu_precision(bundle.manifest.precision)
        self._device_name = cpu_name()
        try:
            self._compiled = self._compile(_core(), bundle)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO cannot load {bundle.path}: {_first_line(error)}") from error
        self._request = self._compiled.create_infer_request()
        self._preprocess = CpuPreprocessor(self._manifest.preprocessing, self._threads or usable_cores())

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    @property
    def device_name(self) -> str:
        return self._device_name

    @property
    def precision(self) -> Precision:
        return self._precision

    @property
    def lanes(self) -> int:
        return 1

    @property
    def compiles_each_batch(self) -> bool:
        return False

    @property
    def share(self) -> DeviceShare | None:
        return None

    def allocate(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        return np.empty((self._manifest.frames, height, width, 3), np.uint8)

    def infer(self, clips: Sequence[Clip]) -> Inference:
        started = time.perf_counter()
        network_input = self._preprocess.batch(clips)
        prepared = time.perf_counter()
        try:
            answers = [answer.copy() for answer in self._request.infer([network_input], share_inputs=True).values()]
        except RuntimeError as error:
            raise EngineError(f"OpenVINO failed on a batch of {len(clips)}: {_first_line(error)}") from error
        finished = time.perf_counter()
        return Inference(
            probabilities=answers.pop(0) if self._manifest.network_output else no_probabilities(len(clips)),
            features=answers.pop(0) if self._manifest.features else None,
            preprocess_ms=(prepared - started) * 1e3,
            network_ms=(finished - prepared) * 1e3,
        )

    def close(self) -> None:
        self._preprocess.close()
        del self._request, self._compiled

    def _compile(self, core: ov.Core, bundle: Bundle) -> ov.CompiledModel:
        ov = load_openvino()
        quantized = self._precision == "int8"
        model = core.read_model(bundle.file(".xml" if quantized else ".onnx"))
        check_outputs(bundle, _sizes(model))
        # With a fixed batch, the CPU plugin plans memory and kernels in advance: 2.3 ms instead of 3.0 for the demo.
        most = self._manifest.max_batch
        batch = ov.Dimension(1) if most == 1 else ov.Dimension(1, most)
        model.reshape({0: ov.PartialShape([batch, *self._manifest.network_input.clip_shape])})
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": floats(self._precision),
        }
        if self._threads:
            options["INFERENCE_NUM_THREADS"] = min(self._threads, usable_cores())
        return core.compile_model(model, "CPU", options)


@functools.cache
def _core() -> ov.Core:
    return load_openvino().Core()


def cpu_name() -> str:
    """OpenVINO's name for the CPU."""
    return str(_core().get_property("CPU", "FULL_DEVICE_NAME")).strip()


def cpu_precision(wanted: Precision) -> Precision:
    """``wanted`` if the CPU supports it, else ``fp32``; bf16 needs AMX or AVX512-BF16, int8 runs on every CPU."""
    return wanted if wanted == "int8" or (wanted == "bf16" and _has_bf16()) else "fp32"


def floats(precision: Precision) -> ov.Type:
    """The floating-point type of a network of ``precision``, also for those layers of int8 that are not quantized."""
    ov = load_openvino()
    return ov.Type.bf16 if precision != "fp32" and _has_bf16() else ov.Type.f32


def _has_bf16() -> bool:
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _sizes(model: ov.Model) -> list[int | None]:
    """The values of each output for one clip."""
    shapes = [output.partial_shape for output in model.outputs]
    return [shape[1].get_length() if shape[1].is_static else None for shape in shapes]


def _first_line(error: RuntimeError) -> str:
    lines = [line for line in str(error).splitlines() if line and not line.startswith("Exception from")]
    return lines[0] if lines else type(error).__name__
