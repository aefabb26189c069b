"""``python -m server.healthcheck``: exit code 0 if the service on ``VJEPA_PORT`` of this machine is healthy, else 1.

It is the health check of the containers, which contain no curl. It imports nothing of the service, so that it is cheap.
"""

from __future__ import annotations

import http.client
import os
import sys

_TIMEOUT_S = 3


def main() -> int:
    """Ask ``/health`` and return the exit code."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("VJEPA_PORT", "8000")), timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        print(answer.read().decode(errors="replace"))
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer: {error}")
        return 1
    finally:
        connection.close()
    return 0 if answer.status == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main())
