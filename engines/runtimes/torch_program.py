"""Runs the network as a torch program (.pt2) on a CUDA device or the CPU, without transformers.

The program is either traced (torch runs it operation by operation) or compiled by Inductor for one kind of device
(``--inductor`` of the export).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch._inductor import aoti_load_package
from torch.export.passes import move_to_device_pass

from engines.cores import cgroup_cores
from engines.device.capture_gate import CAPTURES
from engines.device.cuda_driver import FP8_SINCE, has_fp8
from engines.device.cuda_errors import explained
from engines.device.device_engine import DeviceEngine
from engines.device.torch_device import compute_capability, torch_device
from engines.errors import BundleUnsupportedError, EngineError, first_line
from engines.options import EngineOptions
from engines.runtimes.torch_archive import load_program
from engines.runtimes.torch_attention import use_fastest_attention
from engines.storage.bundle import Bundle
from engines.storage.outputs import check_outputs

_log = logging.getLogger(__name__)

# Programs of bundles without features return one tensor, the others one for each output.
Program = Callable[[torch.Tensor], torch.Tensor | Sequence[torch.Tensor]]


class TorchNetwork:
    """A program loaded onto a device; its lanes share the weights."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def run(self, pixels: torch.Tensor, outputs: Sequence[torch.Tensor]) -> None:
        found = self._program(pixels)
        for output, computed in zip(outputs, [found] if isinstance(found, torch.Tensor) else found, strict=True):
            output.copy_(computed)


def open_torch_engine(bundle: Bundle, options: EngineOptions) -> DeviceEngine:
    """Run a ``torch`` bundle in the precision that it was exported in, on the first CUDA device if there is one.

    Raises:
        ConfigurationError: the machine has no such device.
        BundleUnsupportedError: the program was compiled for another device or by another torch, or contains Python
            objects.
        EngineError: torch cannot load the program.
        BundleDamagedError: the program does not match the manifest.
    """
    threads = options.threads or cgroup_cores() or 0
    if threads:
        torch.set_num_threads(threads)
    device = torch_device(options.device)
    _compute_fp32_exactly()
    network = TorchNetwork(_load(bundle, device))

    def new_network() -> TorchNetwork:
        """The network of a lane; compiled programs keep state while they run, so lanes side by side need one each."""
        own = options.side_by_side and "inductor" in bundle.manifest.options
        return TorchNetwork(_load(bundle, device)) if own else network

    return DeviceEngine(bundle.manifest, device, new_network, options)


def _compute_fp32_exactly() -> None:
    """Switch TF32 off, which rounds factors to 10 bits; containers may have switched it on for every program.

    These switches are for the whole process, but no engine here wants them otherwise.
    """
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False


def _load(bundle: Bundle, device: torch.device) -> Program:
    load = _load_compiled if "inductor" in bundle.manifest.options else _load_traced
    try:
        with explained(device), CAPTURES.submitting(long=True):
            return load(bundle, device)
    except (EngineError, OSError) as error:
        raise EngineError(f"torch cannot load {bundle.path}: {first_line(error)}") from error


def _load_traced(bundle: Bundle, device: torch.device) -> Program:
    program = load_program(bundle.file(".pt2"))
    check_outputs(bundle, _sizes(program))
    _check_fp8(bundle, compute_capability(device))
    module = move_to_device_pass(program, device).module()
    if device.type == "cuda":
        with torch.inference_mode():
            chosen = use_fastest_attention(module, bundle.manifest.network_input, device)
        _log.info("attention", extra={"kernel": chosen, "device": str(device)})
    return module


def _load_compiled(bundle: Bundle, device: torch.device) -> Program:
    _check_compiled(bundle, device)
    # The loader's synchronisation of threads would disturb graph capture, and no two threads run one program at once.
    return aoti_load_package(
        str(bundle.file(".pt2")), run_single_threaded=True, device_index=-1 if device.index is None else device.index
    )


def _sizes(program: torch.export.ExportedProgram) -> list[int | None]:
    """The values of each output for one clip."""
    (outputs,) = (node.args[0] for node in program.graph.nodes if node.op == "output")
    return [output.meta["val"].shape[-1] for output in outputs]


def _check_fp8(bundle: Bundle, capability: str | None) -> None:
    """Raises BundleUnsupportedError where the GPU (None: the CPU, which emulates FP8) cannot multiply in FP8."""
    if bundle.manifest.precision == "fp8" and capability is not None and not has_fp8(capability):
        raise BundleUnsupportedError(
            f"bundle {bundle.path} is in fp8, which a GPU of compute capability {capability} does not have;"
            f" accepted: {FP8_SINCE} and later",
            help="export the model with --precision fp16",
        )


def _check_compiled(bundle: Bundle, device: torch.device) -> None:
    manifest = bundle.manifest
    built_with = manifest.built_with.get("torch", "")
    if built_with.split("+")[0] != torch.__version__.split("+")[0]:
        raise BundleUnsupportedError(
            f"bundle {bundle.path} was compiled by torch {built_with}, and {torch.__version__} is installed",
            help="export the model again, or without --inductor",
        )
    here = compute_capability(device)
    wanted = manifest.device.compute_capabilities
    if (here,) != (wanted or (None,)):
        raise BundleUnsupportedError(
            f"bundle {bundle.path} was compiled for {manifest.device.name} {' '.join(wanted)}, not for {device}",
            help="export the model again on this machine, or without --inductor",
        )
