"""The figures of the last hour, taken from the metrics every few seconds and kept in memory."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Iterable

from prometheus_client import CollectorRegistry

EVERY_S = 10.0
_KEPT_S = 3600.0
_MODEL = "model"
_PHASES = ("read", "decode", "queue", "preprocess", "infer", "total")
_REFUSED = ("refused", "rate_limited", "deadline", "failed")
# The share of clips that a percentile leaves out.
_SLOWEST = 0.05

COLUMNS = (
    "time_s",
    "clips_per_s",
    "batch_clips",
    *(f"{phase}_ms" for phase in _PHASES),
    "slowest_ms",
    "queue_clips",
    "inflight_bytes",
    "streams",
    "refused_per_s",
    "cpu_cores",
    "memory_bytes",
)
"""The figures of a row. ``time_s`` is Unix time. ``slowest_ms``: about the total of the slowest twentieth of the clips.

Rates and means are those of the time since the row before; a mean is NaN if there was no clip.
"""

_Values = dict[str, float]


class History:
    """Rows of figures, one for each call of ``sample``, for the last hour.

    Invariants: belongs to the event loop; each row of ``rows`` has a value for each of ``COLUMNS``. ``_marks`` are the
    metrics at the last two rows, with their times.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.rows: deque[tuple[float, ...]] = deque(maxlen=round(_KEPT_S / EVERY_S))
        self._registry = registry
        self._marks = deque([(self._values(), time.monotonic())], maxlen=2)

    async def run(self) -> None:
        """Take a row every ``EVERY_S`` seconds, until it is cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            self.sample()

    def sample(self) -> None:
        """Take a row."""
        self.rows.append(self._since(self._marks[-1]))
        self._marks.append((self._values(), time.monotonic()))

    def current(self) -> tuple[float, ...]:
        """A row for the last ten to twenty seconds, because there may be nothing yet since the last row."""
        return self._since(self._marks[0])

    def _since(self, mark: tuple[_Values, float]) -> tuple[float, ...]:
        before, before_s = mark
        now, now_s = self._values(), time.monotonic()
        grown = {name: value - before.get(name, 0.0) for name, value in now.items()}
        return tuple(_row(now, grown, max(now_s - before_s, 1e-3)))

    def _values(self) -> _Values:
        """The value of each series, under its name and its labels, summed over the models."""
        values: _Values = {}
        for family in self._registry.collect():
            for sample in family.samples:
                labels = (value for name, value in sample.labels.items() if name != _MODEL)
                series = ",".join((sample.name, *labels))
                values[series] = values.get(series, 0.0) + sample.value
        return values


def _row(now: _Values, grown: _Values, passed_s: float) -> Iterable[float]:
    yield time.time()
    yield grown.get("vjepa_batch_clips_sum", 0.0) / passed_s
    yield _mean(grown, "vjepa_batch_clips", "")
    for phase in _PHASES:
        yield 1e3 * _mean(grown, "vjepa_phase_seconds", f",{phase}")
    yield 1e3 * _slowest(grown)
    yield now.get("vjepa_queue_clips", 0.0)
    yield now.get("vjepa_inflight_bytes", 0.0)
    yield now.get("vjepa_streams", 0.0)
    yield sum(grown.get(f"vjepa_requests_total,{outcome}", 0.0) for outcome in _REFUSED) / passed_s
    yield grown.get("process_cpu_seconds_total", math.nan) / passed_s
    yield now.get("process_resident_memory_bytes", math.nan)


def _mean(grown: _Values, name: str, labels: str) -> float:
    count = grown.get(f"{name}_count{labels}", 0.0)
    return grown[f"{name}_sum{labels}"] / count if count else math.nan


def _slowest(grown: _Values) -> float:
    """The seconds within which all but the slowest clips were answered: the upper limit of a bucket."""
    prefix = "vjepa_phase_seconds_bucket,total,"
    counts = {float(name.removeprefix(prefix)): count for name, count in grown.items() if name.startswith(prefix)}
    total = counts.get(math.inf, 0.0)
    wanted = (limit_s for limit_s, count in sorted(counts.items()) if count >= (1 - _SLOWEST) * total)
    limit_s = next(wanted, math.nan) if total else math.nan
    return limit_s if math.isfinite(limit_s) else math.nan
