"""What a CUDA failure means for the service: one batch, or the whole engine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from engines.errors import EngineError, EngineLostError

# Errors after which every further call in the process fails, as the CUDA runtime numbers them: uncorrectable ECC,
# illegal address, launch time-out, assertion, hardware stack, illegal instruction, misaligned or invalid address,
# invalid program counter, launch failure; and as torch words them where it gives no number.
_STICKY_CODES = frozenset({214, 700, 702, 710, 714, 715, 716, 717, 718, 719})
_STICKY_WORDS = ("illegal memory access", "illegal instruction", "misaligned address", "unspecified launch failure")


@contextlib.contextmanager
def explained(device: torch.device) -> Iterator[None]:
    """Turn torch's errors in the block into EngineError, or into EngineLostError when the device is of no more use."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise EngineError(
            f"{device} is out of memory: {_first_line(error)}",
            help="stop what else runs there, or lower --lanes, --max-clip-mb or the bundle's --max-batch",
        ) from error
    except RuntimeError as error:
        if _is_sticky(error):
            raise EngineLostError(f"{device} has failed: {_first_line(error)}") from error
        raise EngineError(f"the network failed on {device}: {_first_line(error)}") from error


def _is_sticky(error: RuntimeError) -> bool:
    code = getattr(error, "error_code", None)
    return code in _STICKY_CODES or any(words in str(error) for words in _STICKY_WORDS)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
