"""Runs plans of TensorRT and TensorRT-RTX on a CUDA device."""

from __future__ import annotations

import logging
import mmap

import torch

from engines.device.capture_gate import CAPTURES
from engines.device.cuda_driver import CudaDevice, cuda_devices
from engines.device.cuda_errors import explained
from engines.device.device_engine import DeviceEngine
from engines.device.torch_device import torch_device
from engines.errors import BundleUnsupportedError, ConfigurationError, EngineError
from engines.options import EngineOptions
from engines.runtimes.tensorrt.api import TensorRt, TensorRtTarget, load_tensorrt
from engines.runtimes.tensorrt.kernel_cache import kernel_cache
from engines.runtimes.tensorrt.network import network_factory
from engines.runtimes.tensorrt.plan import EXPORT_AGAIN, Plan, checked, mapped
from engines.storage.bundle import Bundle

_log = logging.getLogger(__name__)

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


def open_tensorrt_engine(bundle: Bundle, options: EngineOptions) -> DeviceEngine:
    """Run a plan on the first CUDA device, or on the one that ``options`` name.

    Raises:
        ConfigurationError: the machine has no such device.
        BundleUnsupportedError: no GPU, or the plan is for another GPU or another release of the library.
        BundleDamagedError: the plan does not match the manifest.
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
        with CAPTURES.submitting(long=True), mapped(bundle.file(".plan")) as serialized:
            plan = _load_plan(bundle, tensorrt, serialized)
            cache = kernel_cache(tensorrt, plan.engine, bundle, gpus[device.index].name)
        new_network = network_factory(tensorrt, plan, device, cache, side_by_side=options.side_by_side)
        return DeviceEngine(manifest, device, new_network, options)


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
    if not bundle.manifest.fits(here.compute_capability):
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


def _load_plan(bundle: Bundle, tensorrt: TensorRt, serialized: mmap.mmap) -> Plan:
    cannot_run, objections = tensorrt.objections(serialized)
    if cannot_run:
        raise BundleUnsupportedError(
            f"{tensorrt.target} {tensorrt.version} will not run {bundle.path}: {_told(objections)}",
            help=next((cure for name, (_, cure) in OBJECTIONS.items() if name in objections), EXPORT_AGAIN),
        )
    if objections:
        _log.warning("the plan is not the fastest for this GPU", extra={"why": _told(objections)})
    # Only for bundles that need it, because the plan's own code then runs in this process.
    engine = tensorrt.load_plan(serialized, host_code=bool(bundle.manifest.options.get("version_compatible", False)))
    if engine is None:
        raise EngineError(
            f"{tensorrt.target} {tensorrt.version} cannot load {bundle.path}: {tensorrt.errors}", help=EXPORT_AGAIN
        )
    return checked(tensorrt, engine, bundle)


def _told(objections: tuple[str, ...]) -> str:
    return ", ".join(OBJECTIONS[name][0] if name in OBJECTIONS else name for name in objections) or "it gave no reason"
