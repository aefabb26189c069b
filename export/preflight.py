"""Checks, before torch is imported, that the named files are there and that this machine can build for the target."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

from engines.device.cuda_driver import FP8_SINCE, CudaDevice, cuda_devices, has_fp8
from engines.errors import ExportError
from engines.runtimes.tensorrt.api import TensorRt
from export.architectures.registry import find_files
from export.bundling.staging import check_replaceable
from export.compilers.calibration import videos_in
from export.compilers.tensorrt import require_tensorrt
from export.progress import stage
from export.settings import ExportSettings

# Target of an RTX plan if neither the user nor this machine's GPU determines one: Ada, the most common RTX cards.
_USUAL_COMPUTE_CAPABILITY = "8.9"


def settled(settings: ExportSettings) -> ExportSettings:
    """``settings`` completed with the compute capabilities that an RTX plan is built for.

    Raises:
        CheckpointError: there is no such checkpoint, or its family is not supported.
        ExportError: this machine cannot build for the target, or something else is where the bundle is to be written.
    """
    if settings.precision == "int8":
        _require_int8()
    if settings.calibration is not None:
        videos_in(settings.calibration)
    with stage("find checkpoint", spinner=False):
        checkpoint = find_files(settings.model, random_weights=settings.random_weights)
    check_replaceable(settings.output_for(checkpoint.model))
    gpu = next(iter(cuda_devices()), None)
    if settings.plan.via == "torch-tensorrt":
        _require_torch_tensorrt(gpu)
    if settings.target == "tensorrt":
        require_tensorrt("tensorrt", gpu)
    if settings.precision == "fp8":
        _check_fp8(settings.plan.compute_capabilities or ((gpu.compute_capability,) if gpu else ()))
    if settings.target != "tensorrt-rtx":
        return settings
    capabilities = settings.plan.compute_capabilities or (gpu.compute_capability if gpu else _USUAL_COMPUTE_CAPABILITY,)
    _check_capabilities(require_tensorrt("tensorrt-rtx", gpu), capabilities)
    return replace(settings, plan=replace(settings.plan, compute_capabilities=capabilities))


def _require_int8() -> None:
    if not importlib.util.find_spec("nncf"):
        raise ExportError("int8 is calibrated with NNCF, which is not installed", help='pip install "nncf>=3,<4"')


def _check_fp8(capabilities: tuple[str, ...]) -> None:
    for capability in capabilities:
        if not has_fp8(capability):
            raise ExportError(
                f"fp8: GPUs of compute capability {capability} do not multiply in FP8; accepted: {FP8_SINCE} and later",
                help="export with --precision fp16",
            )


def _check_capabilities(tensorrt: TensorRt, capabilities: tuple[str, ...]) -> None:
    known = tensorrt.compute_capabilities
    for capability in capabilities:
        if capability not in known:
            raise ExportError(
                f"TensorRT-RTX {tensorrt.version} does not build for compute capability {capability}",
                help=f"it builds for {', '.join(known)}; data-centre GPUs take --target tensorrt",
            )


def _require_torch_tensorrt(gpu: CudaDevice | None) -> None:
    if not importlib.util.find_spec("torch_tensorrt"):
        raise ExportError(
            "torch-tensorrt is not installed", help="run in NVIDIA's PyTorch container (25.10 or later), or drop --via"
        )
    if gpu is None:
        raise ExportError("torch-tensorrt compiles only on a GPU, and this machine has none", help="export there")
