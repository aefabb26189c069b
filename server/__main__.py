"""``python -m server [BUNDLE]``: exit code 0 after a stop, 2 for what its user can mend, 1 for a failed engine."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from engines.errors import BundleError, ConfigurationError, ServiceError
from server.allocator import keep_freed_memory
from server.clips.images import configure_image_decoders
from server.config.flags import parse_settings
from server.config.settings import Settings
from server.lifecycle import serve
from server.telemetry.logs import configure_logs


def run(serve: Callable[[Settings], Coroutine[Any, Any, None]]) -> NoReturn:
    """Serve as the command line says, and end the process."""
    code = _exit_code(serve)
    sys.stderr.flush()
    # An interpreter that ends in the usual way waits for its threads, of which one may be in an engine that hangs.
    os._exit(code)


def _exit_code(serve: Callable[[Settings], Coroutine[Any, Any, None]]) -> int:
    settings = parse_settings()
    keep_freed_memory()
    configure_image_decoders()
    configure_logs(settings.log_format, settings.log_level)
    try:
        asyncio.run(serve(settings))
    except ServiceError as error:
        logging.getLogger("server").critical(str(error))
        return 2 if isinstance(error, (BundleError, ConfigurationError)) else 1
    return 0


if __name__ == "__main__":
    run(serve)
