"""The embedded engine: OpenVINO on the CPU, from the bundle's ONNX file, or for int8 its quantized network."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.clip import Clip
from engines.cores import cgroup_cores, usable_cores
from engines.engine import Inference
from engines.errors import BundleDamagedError, EngineError
from engines.manifest import Manifest, Precision
from engines.preprocessing.cpu import CpuPreprocessor
from engines.storage.bundle import Bundle

# Imported, OpenVINO sends statistics home from a forked process, which it ends with SIGTERM when there is no way out of
# the network; asyncio shares its ear for signals with forks, so the server would take that for its own end.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino as ov  # noqa: E402


class OpenVinoEngine:
    """Runs an ``openvino`` bundle; bf16 bundles run in fp32, which is only more exact, where the CPU has no bf16.

    What int8 bundles leave in floating point runs in the fastest there is.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 0) -> None:
        """``threads`` 0 leaves their number to OpenVINO: one for each physical core, fewer under a container's quota.

        Raises:
            BundleDamagedError: the network is not the one that the manifest describes.
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

    def allocate(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        return np.empty((self._manifest.frames, height, width, 3), np.uint8)

    def infer(self, clips: Sequence[Clip]) -> Inference:
        started = time.perf_counter()
        network_input = self._preprocess.batch(clips)
        prepared = time.perf_counter()
        try:
            probabilities = self._request.infer([network_input], share_inputs=True)[0].copy()
        except RuntimeError as error:
            raise EngineError(f"OpenVINO failed on a batch of {len(clips)}: {_first_line(error)}") from error
        finished = time.perf_counter()
        return Inference(
            probabilities=probabilities,
            preprocess_ms=(prepared - started) * 1e3,
            network_ms=(finished - prepared) * 1e3,
        )

    def close(self) -> None:
        self._preprocess.close()
        del self._request, self._compiled

    def _compile(self, core: ov.Core, bundle: Bundle) -> ov.CompiledModel:
        quantized = self._precision == "int8"
        model = core.read_model(bundle.file(".xml" if quantized else ".onnx"))
        _check_network(model, bundle)
        # A fixed batch lets the CPU plugin plan memory and kernels ahead: 2.3 ms instead of 3.0 for the demo.
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
    return ov.Core()


def cpu_name() -> str:
    """The CPU as OpenVINO names it."""
    return str(_core().get_property("CPU", "FULL_DEVICE_NAME")).strip()


def cpu_precision(wanted: Precision) -> Precision:
    """``wanted`` where the CPU computes in it, else ``fp32``; bf16 takes AMX or AVX512-BF16, int8 every CPU can."""
    return wanted if wanted == "int8" or (wanted == "bf16" and _has_bf16()) else "fp32"


def floats(precision: Precision) -> ov.Type:
    """What a network of ``precision`` computes in where it does not compute in integers."""
    return ov.Type.bf16 if precision != "fp32" and _has_bf16() else ov.Type.f32


def _has_bf16() -> bool:
    return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _check_network(model: ov.Model, bundle: Bundle) -> None:
    wanted = len(bundle.manifest.labels)
    classes = model.output(0).partial_shape[1]
    if classes.is_static and classes.get_length() != wanted:
        raise BundleDamagedError(
            f"bundle {bundle.path} names {wanted} labels, but its network has {classes.get_length()} outputs",
            help="export the model again",
        )


def _first_line(error: RuntimeError) -> str:
    lines = [line for line in str(error).splitlines() if line and not line.startswith("Exception from")]
    return lines[0] if lines else type(error).__name__
