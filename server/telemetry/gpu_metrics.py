"""Memory and utilisation of NVIDIA GPUs, if there are any and the bindings of NVML are installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class GpuCollector(Collector):
    """Reads NVML at each scrape; on a machine without a GPU it does not register itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._nvml = _nvml()
        if self._nvml is not None:
            registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if self._nvml is None:
            return
        used = GaugeMetricFamily("vjepa_gpu_memory_used_bytes", "Device memory in use", labels=["gpu"])
        total = GaugeMetricFamily("vjepa_gpu_memory_total_bytes", "Device memory", labels=["gpu"])
        busy = GaugeMetricFamily(
            "vjepa_gpu_utilization_ratio", "Share of time in which a kernel ran, 0 to 1", labels=["gpu"]
        )
        for index in range(self._nvml.nvmlDeviceGetCount()):
            handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
            used.add_metric([str(index)], memory.used)
            total.add_metric([str(index)], memory.total)
            busy.add_metric([str(index)], self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)
        yield from (used, total, busy)


def _nvml() -> Any:
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
