"""What goes wrong on the machine rather than in the checkpoint, told in one line with a cure."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from engines.errors import ExportError, ServiceError

_NO_MEMORY = ("can't allocate memory", "bad allocation", "bad_alloc", "out of memory")
_NO_SPACE = ("No space left on device", "PytorchStreamWriter failed writing")


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn a full disk and exhausted memory, whoever noticed it, into ExportError; all else passes."""
    try:
        yield
    except ServiceError:
        raise
    except (OSError, MemoryError, RuntimeError) as error:
        if _is_full(error):
            raise ExportError(
                "the disk is full", help="make room, or choose another --output; what is done so far is kept"
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
