"""Where our server says that a request's time went: what its histograms of phases grew by."""

from __future__ import annotations

import http.client
import re

# In the order of a request's way; ``total`` is all of it, ``preprocess`` and ``infer`` are the engine's.
PHASES = ("read", "decode", "queue", "preprocess", "infer")
TOTAL = "total"

_SAMPLE = re.compile(r'^vjepa_phase_seconds_(sum|count)\{model="[^"]*",phase="(\w+)"\} (\S+)$', re.MULTILINE)

Sums = dict[tuple[str, str], float]


def phase_sums(place: tuple[str, int]) -> Sums:
    """``("sum" or "count", phase)`` -> seconds or requests since the server was started."""
    connection = http.client.HTTPConnection(*place, timeout=60)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return {(what, phase): float(value) for what, phase, value in _SAMPLE.findall(text)}


def means_ms(before: Sums, after: Sums) -> dict[str, float]:
    """Mean milliseconds of every phase of the requests between the two."""
    return {
        phase: (after["sum", phase] - before["sum", phase]) / (after["count", phase] - before["count", phase]) * 1e3
        for phase in (*PHASES, TOTAL)
    }
