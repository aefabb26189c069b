"""Explains failures of the machine and of the installation, such as a full disk, in one line with a remedy."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from commandline.extras import install_command
from engines.errors import ConfigurationError, ExportError, ServiceError

_NO_MEMORY = ("can't allocate memory", "bad allocation", "bad_alloc", "out of memory")
_NO_SPACE = ("No space left on device", "PytorchStreamWriter failed writing")


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Raise a ServiceError with a remedy for a full disk, exhausted memory or a missing package; others pass unchanged.

    Raises:
        ExportError: the disk or the memory is full, or a directory cannot be written.
        ConfigurationError: a package of the extra ``export`` is not installed.
    """
    try:
        yield
    except ServiceError:
        raise
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{error.name} is not installed, which the export needs", help=install_command("export")
        ) from error
    except PermissionError as error:
        raise ExportError(
            f"cannot write {error.filename}: {error.strerror}", help="run as a user who may write there"
        ) from error
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
