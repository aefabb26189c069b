"""Memory, CPU time and connections of each HTTP worker process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from server.http_workers.worker import Worker

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class WorkerCollector(Collector):
    """Read from ``/proc`` when it is scraped; ``process_*`` are of the engine process."""

    def __init__(self, workers: Callable[[], Iterable[Worker]]) -> None:
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        memory = GaugeMetricFamily("vjepa_http_worker_resident_bytes", "Resident memory", labels=["worker"])
        cpu = CounterMetricFamily("vjepa_http_worker_cpu_seconds", "User and system CPU time", labels=["worker"])
        clients = GaugeMetricFamily("vjepa_http_worker_connections", "Open connections", labels=["worker"])
        for worker in self._workers():
            name = str(worker.number)
            clients.add_metric([name], worker.link.clients)
            try:
                memory.add_metric([name], _resident_bytes(worker.pid))
                cpu.add_metric([name], _cpu_s(worker.pid))
            except OSError:  # it has just ended
                continue
        yield from (memory, cpu, clients)


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def _cpu_s(pid: int) -> float:
    """The program's name, which may hold anything, is in parentheses before the figures."""
    figures = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(figures[11]) + int(figures[12])) / _TICKS_PER_S
