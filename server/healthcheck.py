"""``python -m server.healthcheck``: exit code 0 when the service on ``VJEPA_PORT`` of this machine takes work.

For containers, which have no curl. It imports nothing of the service, so that it costs next to nothing.
"""

from __future__ import annotations

import http.client
import os
import sys

_TIMEOUT_S = 3


def main() -> int:
    """1 when it does not take work or does not answer."""
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
