"""The ratios that benchmarks are judged by: our server in units of what was measured beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.latency.measurements import Case, Figure, Measurements
from tests.latency.payloads import CLIP_BYTES

OURS = "vjepa2-serve"
OURS_INT8 = f"{OURS} int8"
FASTAPI = "FastAPI"
FLOOR = "floor"
BEST_RIVAL = "best rival"
TRANSFORMERS = {dtype: f"FastAPI + transformers {dtype}" for dtype in ("fp32", "bf16")}


@dataclass(frozen=True)
class Comparison:
    """``ours``, with ``payload``, against ``other``'s ``other_payload``; ``limit`` is what must hold, if anything."""

    scenario: str
    payload: str
    figure: Figure
    clients: int
    other: str
    other_payload: str = "json"
    limit: float | None = None
    ours: str = OURS

    @property
    def name(self) -> str:
        """As baselines know it."""
        other = self.other if self.other_payload == self.payload else f"{self.other}'s {self.other_payload}"
        payload = self.payload + self.ours.removeprefix(OURS)
        return f"{self.scenario}: {payload} / {other}, {self.figure}, {told_clients(self.clients)}"


@dataclass(frozen=True)
class Ratio:
    """``more_is_better`` tells which way is worse; ``limit`` must hold, if there is one."""

    name: str
    value: float
    more_is_better: bool
    limit: float | None = None

    @property
    def scenario(self) -> str:
        return self.name.partition(":")[0]

    @property
    def holds(self) -> bool:
        if self.limit is None:
            return True
        return self.value >= self.limit if self.more_is_better else self.value <= self.limit


# So many JSON clips at once may take twice their pixels and what an idle server takes.
MEMORY = Case("memory", OURS, "json", 32)
MEMORY_RATIO = f"memory: peak / (2 x {MEMORY.clients} clips + 350 MB), json, {MEMORY.clients} clients"
_MOST_BYTES = 2 * MEMORY.clients * CLIP_BYTES + 350_000_000

_PAYLOADS = ("json", "octet-stream", "multipart")
_INSTANT_LIMITS = {"json": 0.45, "octet-stream": 0.25, "multipart": 0.35}
_GPU_LIMITS = {"json": 1.5, "octet-stream": 2.5, "multipart": None}

COMPARISONS = (
    *(Comparison("instant", name, "p50", 1, FASTAPI, limit=_INSTANT_LIMITS[name]) for name in _PAYLOADS),
    *(Comparison("instant", name, "CPU ms", 1, FASTAPI) for name in _PAYLOADS),
    *(Comparison("instant", name, "p50", 1, FLOOR, other_payload=name) for name in ("json", "octet-stream")),
    *(Comparison("instant", name, "requests/s", 16, FASTAPI) for name in _PAYLOADS),
    *(Comparison("gpu", name, "p50", 1, FASTAPI, limit=0.5) for name in _PAYLOADS),
    *(Comparison("gpu", name, "requests/s", 16, FASTAPI) for name in _PAYLOADS),
    *(Comparison("gpu", name, "requests/s", 16, BEST_RIVAL, limit=_GPU_LIMITS[name]) for name in _PAYLOADS),
    Comparison("demo", "json", "p50", 1, TRANSFORMERS["fp32"]),
    Comparison("demo", "json", "requests/s", 4, TRANSFORMERS["fp32"]),
    Comparison("vitl", "json", "p50", 1, TRANSFORMERS["bf16"], limit=0.75),
    Comparison("vitl", "json", "p50", 1, TRANSFORMERS["fp32"], limit=0.25),
    Comparison("vitl", "json", "p50", 1, TRANSFORMERS["bf16"], ours=OURS_INT8),
    Comparison("vitl", "json", "p50", 1, TRANSFORMERS["fp32"], limit=0.25, ours=OURS_INT8),
)


def told_clients(clients: int) -> str:
    return "1 client" if clients == 1 else f"{clients} clients"


def ratios(measured: Measurements) -> Iterator[Ratio]:
    """Every comparison of which both sides were measured."""
    for comparison in COMPARISONS:
        ours = Case(comparison.scenario, comparison.ours, comparison.payload, comparison.clients)
        other = _other(comparison, measured)
        if ours in measured and other is not None and other in measured:
            value = measured.ratio(ours, other, comparison.figure)
            yield Ratio(comparison.name, value, comparison.figure == "requests/s", comparison.limit)
    if MEMORY in measured:
        yield Ratio(MEMORY_RATIO, measured.server(MEMORY).peak_bytes / _MOST_BYTES, False, limit=1)


def best_rival(measured: Measurements, scenario: str, clients: int) -> str | None:
    """Who of the others does most requests per second; None where only FastAPI was measured."""
    cases = [
        case for case in measured if (case.scenario, case.clients) == (scenario, clients) and is_rival(case.server)
    ]
    if all(case.server == FASTAPI for case in cases):
        return None
    return max(cases, key=lambda case: measured.figure(case, "requests/s")).server


def is_rival(server: str) -> bool:
    return server != FLOOR and not server.startswith(OURS)


def _other(comparison: Comparison, measured: Measurements) -> Case | None:
    server: str | None = comparison.other
    if server == BEST_RIVAL:
        server = best_rival(measured, comparison.scenario, comparison.clients)
    return Case(comparison.scenario, server, comparison.other_payload, comparison.clients) if server else None
