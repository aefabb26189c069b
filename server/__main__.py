"""``python -m server [BUNDLE]``: exit code 0 after a stop, 2 for what its user can mend, 1 for a failed engine."""

from __future__ import annotations

import asyncio
import logging
import sys

from engines.errors import BundleError, ConfigurationError, ServiceError
from server.app import serve
from server.logs import configure_logs
from server.settings import parse_settings


def main() -> int:
    settings = parse_settings()
    configure_logs(settings.log_format, settings.log_level)
    try:
        asyncio.run(serve(settings))
    except ServiceError as error:
        logging.getLogger("server").critical(str(error))
        return 2 if isinstance(error, (BundleError, ConfigurationError)) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
