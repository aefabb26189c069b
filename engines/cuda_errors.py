"""What a CUDA failure means for the service: one batch, or the whole engine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from engines.errors import EngineError, EngineLostError, first_line

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
            f"{device} is out of memory: {first_line(error)}",
            help="stop what else runs there, or lower --max-clip-mb, or export with a smaller --max-batch",
        ) from error
    except RuntimeError as error:
        if _is_sticky(error):
            raise EngineLostError(f"{device} has failed: {first_line(error)}") from error
        raise EngineError(f"the network failed on {device}: {first_line(error)}") from error


def _is_sticky(error: RuntimeError) -> bool:
    code = getattr(error, "error_code", None)
    return code in _STICKY_CODES or any(words in str(error) for words in _STICKY_WORDS)
