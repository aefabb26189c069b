"""Translates CUDA errors: some fail one batch only, others make the whole engine unusable."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from engines.errors import EngineError, EngineLostError, MemoryShortError, first_line
from engines.options import MIB

# Error numbers of the CUDA runtime. After one of these errors, every further call fails.
LOST: dict[int, str] = {
    46: "it is taken by another process, or has been taken away",
    101: "it is not there any more",
    214: "its memory has an error that cannot be corrected",
    220: "its NVLink has an error that cannot be corrected",
    700: "illegal memory access",
    702: "a kernel ran for too long",
    709: "its context is gone",
    710: "an assertion failed in a kernel",
    714: "hardware stack error",
    715: "illegal instruction",
    716: "misaligned address",
    717: "a kernel used an address space that is not its own",
    718: "invalid program counter",
    719: "a kernel could not be launched or died",
    721: "an error was contained, at the price of the context",
    999: "the driver does not know what happened",
}
_OUT_OF_MEMORY = 2
# These errors come from the machine's setup. Every batch fails with them, but the device is not broken.
_UNFIT: dict[int, tuple[str, str]] = {
    35: ("the driver is older than the CUDA that this torch was built for", "update the driver, or install torch"),
    100: ("the driver sees no device", "look at nvidia-smi and at CUDA_VISIBLE_DEVICES"),
    209: ("the network has no kernels for this compute capability", "export the model again on this machine"),
    222: ("the network's kernels were made by a newer CUDA than the driver knows", "update the driver"),
    803: ("the driver's parts are of different releases", "reboot, or reinstall the driver"),
    804: ("this CUDA needs a newer driver, or a data-centre GPU", "update the driver"),
}
# These texts identify a lost device when torch gives no error number.
_LOST_WORDS = ("illegal memory access", "illegal instruction", "misaligned address", "unspecified launch failure")


@contextlib.contextmanager
def explained(device: torch.device) -> Iterator[None]:
    """Turn torch's errors in the block into EngineError, or into EngineLostError when the device is unusable."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise _out_of_memory(device, error) from error
    except RuntimeError as error:
        raise _explained(device, error) from error


@contextlib.contextmanager
def explained_page_locking(size_bytes: int) -> Iterator[None]:
    """Turn a failure to page-lock ``size_bytes`` of host memory into EngineError."""
    try:
        yield
    except RuntimeError as error:
        raise MemoryShortError(
            f"{size_bytes // MIB} MiB of the host's memory cannot be page-locked: {first_line(error)}",
            help="lower --max-inflight-mb, or give the container more memory (docker run --ulimit memlock=-1)",
        ) from error


def _explained(device: torch.device, error: RuntimeError) -> EngineError:
    code = getattr(error, "error_code", None)
    if code == _OUT_OF_MEMORY:
        return _out_of_memory(device, error)
    if code in LOST or any(words in str(error) for words in _LOST_WORDS):
        meaning = f" ({LOST[code]})" if code in LOST else ""
        return EngineLostError(f"{device} has failed{meaning}: {first_line(error)}")
    if code in _UNFIT:
        what, cure = _UNFIT[code]
        return EngineError(f"{device} cannot run the network: {what}: {first_line(error)}", help=cure)
    return EngineError(f"the network failed on {device}: {first_line(error)}")


def _out_of_memory(device: torch.device, error: RuntimeError) -> EngineError:
    return MemoryShortError(
        f"{device} is out of memory: {first_line(error)}",
        help="stop what else runs there, or lower --max-clip-mb, or take --lanes 1, or export with a smaller"
        " --max-batch",
    )
