"""The system's limit on open files, which is also one on connections."""

from __future__ import annotations

import logging
import resource

from engines.errors import ConfigurationError

_log = logging.getLogger(__name__)

# Descriptors that belong to no client: bundle, logs, event loop, devices, connections that are being refused.
OTHER_DESCRIPTORS = 128


def connections_within_limit(wanted: int, reserved: int = 0) -> int:
    """The number of connections, at most ``wanted``, that the process can have open at once beside ``reserved`` files.

    Most systems allow 1024 descriptors by default, and more when a process asks for them.

    Raises:
        ConfigurationError: so few open files are allowed that no client could connect.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    others = OTHER_DESCRIPTORS + reserved
    needed = wanted + others
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    connections = allowed - others
    if connections < 1:
        raise ConfigurationError(
            f"the process may open {allowed} files, of which it needs {others} for itself",
            help=f"allow at least {needed}, as with ulimit -n {needed}",
        )
    if connections < wanted:
        _log.warning(
            "--max-connections is lowered to fit the limit on open files",
            extra={"max_connections": connections, "asked": wanted, "open_files": allowed},
        )
    return connections
