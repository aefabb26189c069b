"""Plans of TensorRT and TensorRT-RTX on a CUDA device."""

from __future__ import annotations

from typing import Any

import torch

from engines.bundle import Bundle
from engines.cuda_device import CudaDevice, cuda_devices
from engines.device_engine import DeviceEngine
from engines.errors import BundleUnsupportedError, EngineError
from engines.manifest import Manifest
from engines.options import EngineOptions
from engines.tensorrt_api import TensorRt, TensorRtTarget, load_tensorrt
from engines.torch_runtime import torch_device


class TensorRtNetwork:
    """An execution context of its own for each lane, over one plan; device memory for intermediate results comes with
    it."""

    def __init__(self, tensorrt: TensorRt, plan: Any, manifest: Manifest) -> None:
        self._context = tensorrt.execution_context(plan)
        if self._context is None:
            raise EngineError(
                f"{tensorrt.target} has no memory for an execution context", help="export with a smaller --max-batch"
            )
        self._input, self._output = manifest.network_input.name, manifest.network_output.name

    def run(self, pixels: torch.Tensor, probabilities: torch.Tensor) -> None:
        context = self._context
        context.set_input_shape(self._input, tuple(pixels.shape))
        context.set_tensor_address(self._input, pixels.data_ptr())
        context.set_tensor_address(self._output, probabilities.data_ptr())
        if not context.execute_async_v3(torch.cuda.current_stream().cuda_stream):
            raise RuntimeError("TensorRT refused to run the network")


def open_tensorrt_engine(bundle: Bundle, options: EngineOptions) -> DeviceEngine:
    """Run a plan on the first CUDA device, or on the one that ``options`` name.

    Raises:
        BundleUnsupportedError: no GPU, another GPU than the plan is for, another release of the library.
        EngineError: the library is missing or cannot load the plan.
    """
    manifest = bundle.manifest
    target: TensorRtTarget = "tensorrt-rtx" if manifest.target == "tensorrt-rtx" else "tensorrt"
    _check_gpu(bundle, cuda_devices())
    tensorrt = load_tensorrt(target)
    _check_version(bundle, tensorrt)
    device = torch_device(options.device)
    # A plan belongs to the device that is current when it is loaded.
    with torch.cuda.device(device):
        plan = _load_plan(bundle, tensorrt)
        return DeviceEngine(manifest, device, lambda: TensorRtNetwork(tensorrt, plan, manifest), options)


def _check_gpu(bundle: Bundle, gpus: list[CudaDevice]) -> None:
    wanted = bundle.manifest.device
    if not gpus:
        raise BundleUnsupportedError(
            f"bundle {bundle.path} is a plan for {_gpu(wanted.name, wanted.compute_capabilities)},"
            " and this machine has no CUDA device",
            help="serve it there, or export the model again with --target openvino",
        )
    here = gpus[0]
    compatible = bundle.manifest.options.get("hardware_compatible", False)
    if not compatible and wanted.compute_capabilities and here.compute_capability not in wanted.compute_capabilities:
        raise BundleUnsupportedError(
            f"bundle {bundle.path} is a plan for {_gpu(wanted.name, wanted.compute_capabilities)}, and this machine has"
            f" {_gpu(here.name, (here.compute_capability,))}",
            help="export the model again on this machine",
        )


def _gpu(name: str, capabilities: tuple[str, ...]) -> str:
    return f"{name} (compute capability {', '.join(capabilities)})" if capabilities else name


def _check_version(bundle: Bundle, tensorrt: TensorRt) -> None:
    built_with = bundle.manifest.built_with.get(tensorrt.target, "")
    compatible = bool(bundle.manifest.options.get("version_compatible", False))
    same = built_with.split(".")[: 1 if compatible else 3] == tensorrt.version.split(".")[: 1 if compatible else 3]
    if not same:
        raise BundleUnsupportedError(
            f"bundle {bundle.path} was built with {tensorrt.target} {built_with}, and {tensorrt.version} is installed",
            help="export the model again, or install the version that it was built with",
        )


def _load_plan(bundle: Bundle, tensorrt: TensorRt) -> Any:
    plan = tensorrt.load_plan(bundle.file(".plan").read_bytes())
    if plan is None:
        raise EngineError(
            f"{tensorrt.target} {tensorrt.version} cannot load {bundle.path}: {tensorrt.last_error}",
            help="export the model again on this machine",
        )
    return plan
