"""Runs plans of TensorRT and TensorRT-RTX on a CUDA device."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NoReturn

import torch

from engines.device.cuda_driver import CudaDevice, cuda_devices
from engines.device.cuda_errors import explained
from engines.device.device_engine import DeviceEngine
from engines.device.torch_device import torch_device
from engines.errors import BundleUnsupportedError, ConfigurationError, EngineError
from engines.manifest import Manifest
from engines.options import EngineOptions
from engines.runtimes.tensorrt.api import TensorRt, TensorRtTarget, load_tensorrt
from engines.runtimes.tensorrt.errors import ErrorLog
from engines.storage.bundle import Bundle

if TYPE_CHECKING:
    import tensorrt_rtx as trt

_log = logging.getLogger(__name__)

EXPORT_AGAIN = "export the model again on this machine"
# For each diagnostic by which RTX rejects a plan: its meaning and the cure.
OBJECTIONS = {
    "VERSION_MISMATCH": ("it was built by another release", "install the release that it was built with"),
    "UNSUPPORTED_CC": ("it is not for this GPU's compute capability", EXPORT_AGAIN),
    "OLD_CUDA_DRIVER": ("the driver is too old for it", "update the driver"),
    "OLD_CUDA_RUNTIME": ("the CUDA runtime is too old for it", "install a newer CUDA runtime"),
    "INSUFFICIENT_GPU_MEMORY": ("the GPU has too little memory for it", "export with a smaller --max-batch"),
    "MALFORMED_ENGINE": ("it is not a whole plan", EXPORT_AGAIN),
    "CUDA_ERROR": ("CUDA does not work", "look at nvidia-smi, and update the driver"),
}


class TensorRtNetwork:
    """One lane's execution context of a shared plan; the context owns device memory for intermediate results."""

    def __init__(self, tensorrt: TensorRt, plan: trt.ICudaEngine, manifest: Manifest) -> None:
        self._errors = ErrorLog()
        tensorrt.errors.clear()
        context = tensorrt.execution_context(plan, self._errors)
        if context is None:
            raise EngineError(
                f"{tensorrt.target} has no memory for an execution context: {tensorrt.errors}",
                help="take --lanes 1, or export with a smaller --max-batch",
            )
        self._context, self._target = context, tensorrt.target
        self._input, self._output = manifest.network_input.name, manifest.network_output.name

    def run(self, pixels: torch.Tensor, probabilities: torch.Tensor) -> None:
        context, stream = self._context, torch.cuda.current_stream()
        self._errors.clear()
        started = (
            context.set_input_shape(self._input, tuple(pixels.shape))
            and context.set_tensor_address(self._input, pixels.data_ptr())
            and context.set_tensor_address(self._output, probabilities.data_ptr())
            and context.execute_async_v3(stream.cuda_stream)
        )
        if not started:
            self._fail(stream)

    def _fail(self, stream: torch.cuda.Stream) -> NoReturn:
        if not torch.cuda.is_current_stream_capturing():
            stream.synchronize()  # raises torch's numbered error if the device has failed
        kind = torch.OutOfMemoryError if self._errors.out_of_memory else RuntimeError
        raise kind(f"{self._target} refused to run the network: {self._errors}")


def open_tensorrt_engine(bundle: Bundle, options: EngineOptions) -> DeviceEngine:
    """Run a plan on the first CUDA device, or on the one that ``options`` name.

    Raises:
        ConfigurationError: the machine has no such device.
        BundleUnsupportedError: no GPU, or the plan is for another GPU or another release of the library.
        EngineError: the library is missing or cannot load the plan.
    """
    manifest = bundle.manifest
    target: TensorRtTarget = "tensorrt-rtx" if manifest.target == "tensorrt-rtx" else "tensorrt"
    gpus = cuda_devices()
    _check_any_gpu(bundle, gpus)
    device = torch_device(options.device or "cuda:0")
    if device.type != "cuda":
        raise ConfigurationError(f"a {target} plan cannot run on {device}", help="leave out --device")
    _check_gpu(bundle, gpus[device.index])
    tensorrt = load_tensorrt(target)
    _check_version(bundle, tensorrt)
    # A plan is bound to the device that is current when it is loaded.
    with torch.cuda.device(device), explained(device):
        plan = _load_plan(bundle, tensorrt)
        return DeviceEngine(manifest, device, lambda: TensorRtNetwork(tensorrt, plan, manifest), options)


def _check_any_gpu(bundle: Bundle, gpus: list[CudaDevice]) -> None:
    wanted = bundle.manifest.device
    if not gpus:
        raise BundleUnsupportedError(
            f"bundle {bundle.path} is a plan for {_gpu(wanted.name, wanted.compute_capabilities)},"
            " and this machine has no CUDA device",
            help="serve it there, or export the model again with --target openvino",
        )


def _check_gpu(bundle: Bundle, here: CudaDevice) -> None:
    wanted = bundle.manifest.device
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


def _load_plan(bundle: Bundle, tensorrt: TensorRt) -> trt.ICudaEngine:
    serialized = bundle.file(".plan").read_bytes()
    cannot_run, objections = tensorrt.objections(serialized)
    if cannot_run:
        raise BundleUnsupportedError(
            f"{tensorrt.target} {tensorrt.version} will not run {bundle.path}: {_told(objections)}",
            help=next((cure for name, (_, cure) in OBJECTIONS.items() if name in objections), EXPORT_AGAIN),
        )
    if objections:
        _log.warning("the plan is not the fastest for this GPU", extra={"why": _told(objections)})
    plan = tensorrt.load_plan(serialized)
    if plan is None:
        raise EngineError(
            f"{tensorrt.target} {tensorrt.version} cannot load {bundle.path}: {tensorrt.errors}", help=EXPORT_AGAIN
        )
    return plan


def _told(objections: tuple[str, ...]) -> str:
    return ", ".join(OBJECTIONS[name][0] if name in OBJECTIONS else name for name in objections) or "it gave no reason"
