"""The lean network as a torch program (.pt2), on a CUDA device or the CPU; no transformers is needed."""

from __future__ import annotations

import torch
from torch.export.passes import move_to_device_pass

from engines.bundle import Bundle
from engines.cores import cgroup_cores
from engines.device_engine import DeviceEngine
from engines.errors import BundleDamagedError, ConfigurationError, EngineError, first_line
from engines.options import EngineOptions


class TorchNetwork:
    """A program loaded onto a device; its lanes share the weights."""

    def __init__(self, program: torch.nn.Module) -> None:
        self._program = program

    def run(self, pixels: torch.Tensor, probabilities: torch.Tensor) -> None:
        probabilities.copy_(self._program(pixels))


def open_torch_engine(bundle: Bundle, options: EngineOptions) -> DeviceEngine:
    """Run a ``torch`` bundle in the precision that it was exported in, on the first CUDA device if there is one.

    Raises:
        ConfigurationError: there is no such device.
        EngineError: torch cannot load the program.
        BundleDamagedError: it is not the one that the manifest describes.
    """
    threads = options.threads or cgroup_cores() or 0
    if threads:
        torch.set_num_threads(threads)
    device = torch_device(options.device)
    try:
        program = torch.export.load(bundle.file(".pt2"))
    except (RuntimeError, OSError) as error:
        raise EngineError(f"torch cannot load {bundle.path}: {first_line(error)}") from error
    _check_network(program, bundle)
    network = TorchNetwork(move_to_device_pass(program, device).module())
    return DeviceEngine(bundle.manifest, device, lambda: network, options)


def torch_device(name: str | None) -> torch.device:
    """``name``, ``cuda:1`` for instance; by default the first CUDA device, or the CPU where there is none."""
    if name is None:
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigurationError(f"{name!r} is no device", help="cuda:0, cuda:1, ... or cpu") from None
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise ConfigurationError(f"there is no {name}: torch sees {count} CUDA devices", help="leave out --device")
    return device


def _check_network(program: torch.export.ExportedProgram, bundle: Bundle) -> None:
    (output,) = (node.args[0][0] for node in program.graph.nodes if node.op == "output")
    wanted, outputs = len(bundle.manifest.labels), output.meta["val"].shape[-1]
    if outputs != wanted:
        raise BundleDamagedError(
            f"bundle {bundle.path} names {wanted} labels, but its network has {outputs} outputs",
            help="export the model again",
        )
