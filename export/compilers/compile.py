"""Compiles the graph of the network for the target; runtimes that load the graph itself need no compilation."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from engines.device.cuda_driver import CudaDevice, cuda_devices
from engines.manifest import Device, Preprocessing, Tensor
from engines.runtimes.tensorrt.api import TensorRt
from engines.runtimes.torch_archive import load_program
from export.compilers.calibration import calibration
from export.compilers.int8 import quantize
from export.compilers.tensorrt import LOG_FILE_NAME, PLAN_FILE_NAME, PlanBuilder, require_tensorrt, timing_cache
from export.compilers.tensorrt_layers import FILE_NAME as LAYERS_FILE_NAME
from export.compilers.tensorrt_layers import attentions_in, fused_attentions_in, write_layer_table
from export.compilers.torch_tensorrt import compile_with_torch_tensorrt
from export.network.graph import ONNX_FILE_NAME, PROGRAM_FILE_NAME
from export.progress import phases, say, stage
from export.settings import ExportSettings, PlanOptions


@dataclass(frozen=True)
class Compiled:
    """The device that the network was compiled for, the versions of the compilers, and their options."""

    device: Device
    built_with: dict[str, str] = field(default_factory=dict)
    options: dict[str, bool | int | str] = field(default_factory=dict)


def compile_network(
    settings: ExportSettings, network_input: Tensor, preprocessing: Preprocessing, directory: Path, cache: Path
) -> Compiled:
    """Compile the graph in ``directory`` and write the result there; the files in ``cache`` outlive the bundle.

    Raises:
        ExportError: the compiler refuses the network.
    """
    if settings.target == "openvino":
        return _compile_openvino(settings, network_input.clip_shape[0], preprocessing, directory)
    gpu = next(iter(cuda_devices()), None)
    if settings.target == "torch":
        return _compile_torch(settings, gpu, network_input, directory)
    tensorrt = require_tensorrt(settings.target, gpu)
    with stage("compile", spinner=False):
        _write_plan(settings, tensorrt, network_input, directory, timing_cache(tensorrt, gpu, cache))
    plan, device = directory / PLAN_FILE_NAME, _plan_device(settings.plan, gpu)
    listed = 0
    # A GPU that the plan is not for cannot load it.
    if gpu is not None and gpu.compute_capability in device.compute_capabilities:
        table = directory / LAYERS_FILE_NAME
        listed = write_layer_table(tensorrt, plan, table, host_code=settings.plan.version_compatible)
    # Layers tell it where a release of TensorRT writes its plans in another form.
    attention = _counted_attention(settings, fused_attentions_in(plan) or listed, directory)
    options = _recorded(settings.plan) | attention
    return Compiled(device, {settings.target: tensorrt.version}, options)


def _compile_openvino(settings: ExportSettings, frames: int, preprocessing: Preprocessing, directory: Path) -> Compiled:
    """Quantize for int8 only, because OpenVINO compiles the ONNX file each time it loads it."""
    from engines.runtimes.openvino import cpu_name

    device = Device(name=cpu_name())
    if settings.precision != "int8":
        return Compiled(device)
    with stage("find clips"):
        clips = calibration(settings.calibration, frames, preprocessing)
    with stage("quantize", spinner=False):
        cost = quantize(directory / ONNX_FILE_NAME, directory, clips, preprocessing)
    for file in directory.glob(f"{ONNX_FILE_NAME}*"):
        file.unlink()
    lost = f"same top-1 in {cost.same_top1} of {cost.clips} clips, probabilities within"
    lost += f" {cost.max_abs_probability_error:.1e}"
    say(f"int8             {lost} (held-out clips, compared with the network before quantization)")
    return Compiled(device, {"nncf": version("nncf")}, {"calibration_clips": len(clips.learned), "held_out": lost})


def _compile_torch(
    settings: ExportSettings, gpu: CudaDevice | None, network_input: Tensor, directory: Path
) -> Compiled:
    device = _device(gpu) if gpu else Device(name="CPU")
    if settings.inductor is None:
        return Compiled(device)
    # Imported here because the import takes a second.
    from export.compilers.inductor import COMPILED_FILE_NAME, compile_with_inductor

    program, package = directory / PROGRAM_FILE_NAME, directory / COMPILED_FILE_NAME
    with stage("compile"):
        target = "cuda:0" if gpu else "cpu"
        options = compile_with_inductor(program, package, target, settings.inductor, network_input)
    program.unlink()
    if "attention" in options:
        say(f"{'attention':<16} {options['attention']} is the fastest kernel here, and is compiled")
    return Compiled(device, options=options)


def _write_plan(
    settings: ExportSettings, tensorrt: TensorRt, network_input: Tensor, directory: Path, timings: Path | None
) -> None:
    plan, options = directory / PLAN_FILE_NAME, settings.plan
    if options.via == "torch-tensorrt":
        program = load_program(directory / PROGRAM_FILE_NAME)
        compile_with_torch_tensorrt(program, plan, network_input, settings.max_batch, options)
        return
    builder = PlanBuilder(tensorrt, options, directory / LOG_FILE_NAME)
    with phases() as bars:
        builder.build(directory / ONNX_FILE_NAME, plan, network_input, settings.max_batch, bars, timings)


def _plan_device(options: PlanOptions, gpu: CudaDevice | None) -> Device:
    if options.compute_capabilities:
        return Device(name="RTX", compute_capabilities=options.compute_capabilities)
    if gpu is None:
        raise AssertionError("TensorRT built a plan without a GPU")
    return _device(gpu)


def _device(gpu: CudaDevice) -> Device:
    return Device(name=gpu.name, compute_capabilities=(gpu.compute_capability,))


def _recorded(options: PlanOptions) -> dict[str, bool | int | str]:
    """The builder's options for the manifest, whose ``device`` already contains the compute capabilities."""
    kept = asdict(options)
    del kept["compute_capabilities"]
    return {name: value for name, value in kept.items() if value is not None}


def _counted_attention(settings: ExportSettings, fused: int, directory: Path) -> dict[str, bool | int | str]:
    """Report how many attentions of the network the plan computes in one kernel each; returns it for the manifest."""
    counted: dict[str, bool | int | str] = {"fused_attentions": fused}
    if settings.needs_onnx:
        counted["attentions"] = attentions = attentions_in(directory / ONNX_FILE_NAME)
        if fused > attentions:
            # The plan contains the network once for each profile: for single clips, and for batches.
            counted["fused_attentions"] = fused = fused // (1 + (settings.max_batch > 1))
    say(f"{'attention':<16} {fused} of {counted.get('attentions', 'unknown')} are one fused kernel each")
    return counted
