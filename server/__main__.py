"""``python -m server [BUNDLE ...]``: exit code 0 after a stop, 2 for what the user can fix, 1 if the engine failed."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from engines.errors import BundleError, ConfigurationError, ServiceError
from server.clips.images import configure_image_decoders
from server.config.flags import parse_settings
from server.config.settings import MIB, Settings
from server.lifecycle import serve
from server.telemetry.logs import configure_logs

# From glibc's <malloc.h>.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_MALLOC_ENVIRONMENT = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")
# glibc allocates blocks above this size by mmap and gives them back to the kernel at once.
_MAX_KEPT_BLOCK_BYTES = 32 * MIB
# glibc keeps at most this many free bytes at the end of a heap.
_MAX_KEPT_HEAP_BYTES = 64 * MIB


def run(serve: Callable[[Settings], Coroutine[Any, Any, None]]) -> NoReturn:
    """Serve with the settings of the command line, and end the process."""
    code = _exit_code(serve)
    logging.shutdown()
    # The usual end of the interpreter waits for all threads, and one of them may be in an engine that hangs.
    os._exit(code)


def _exit_code(serve: Callable[[Settings], Coroutine[Any, Any, None]]) -> int:
    settings = parse_settings()
    _keep_freed_memory()
    configure_image_decoders()
    configure_logs(settings.log_format, settings.log_level)
    if settings.bundle_reason is not None:
        chosen = {"bundle": str(settings.models[0].path), "reason": settings.bundle_reason}
        logging.getLogger("server").info("bundle chosen", extra=chosen)
    try:
        asyncio.run(serve(settings))
    except ServiceError as error:
        logging.getLogger("server").critical(str(error))
        return 2 if isinstance(error, (BundleError, ConfigurationError)) else 1
    except Exception:
        logging.getLogger("server").critical("crashed", exc_info=True)
        return 1
    return 0


def _keep_freed_memory() -> None:
    """Let glibc keep the memory of clips for the next clips, unless the environment configures its allocator.

    By default glibc returns memory of a few MB to the kernel after every two or three clips and gets it back page by
    page, zeroed: with 8 clients that are 700 page faults per clip in JSON, a third of the CPU time of the clip.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or any(name in os.environ for name in _MALLOC_ENVIRONMENT):
        return
    mallopt(_M_MMAP_THRESHOLD, _MAX_KEPT_BLOCK_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _MAX_KEPT_HEAP_BYTES)


if __name__ == "__main__":
    run(serve)
