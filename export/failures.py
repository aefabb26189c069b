"""Explains failures of the machine, such as a full disk, in one line with a remedy."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from engines.errors import ExportError, ServiceError

_NO_MEMORY = ("can't allocate memory", "bad allocation", "bad_alloc", "out of memory")
_NO_SPACE = ("No space left on device", "PytorchStreamWriter failed writing")


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Raise ExportError instead of the errors for a full disk or exhausted memory; other errors pass unchanged."""
    try:
        yield
    except ServiceError:
        raise
    except (OSError, MemoryError, RuntimeError) as error:
        if _is_full(error):
            raise ExportError(
                "the disk is full", help="free some space or choose another --output; the finished stages are kept"
            ) from error
        if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
            raise ExportError(
                "out of memory", help="close other programs, use --no-verify, or export on a larger machine"
            ) from error
        raise


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(words in str(error) for words in _NO_SPACE)
