"""Counts and times of the model in service, as the statistics extension of the Open Inference Protocol has them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from engines.engine import Inference
from server.telemetry.phases import ClipTimes


@dataclass(slots=True)
class Total:
    """How often something was done, and the nanoseconds that it took together."""

    count: int = 0
    ns: int = 0

    def add(self, ms: float) -> None:
        self.count += 1
        self.ns += max(0, round(ms * 1e6))


@dataclass(slots=True)
class BatchTotals:
    """The batches of one size."""

    compute_input: Total = field(default_factory=Total)
    compute_infer: Total = field(default_factory=Total)
    compute_output: Total = field(default_factory=Total)


class Statistics:
    """What was classified since the start of the process, by every way of asking. Used by the event loop only.

    ``success`` and the phases count requests, and windows of streams. The phases of a request of several clips are
    those of the clip that was answered last. ``inferences`` counts clips, and ``batches`` the batches of each size.
    """

    def __init__(self) -> None:
        self.success, self.fail, self.queue = Total(), Total(), Total()
        self.compute_input, self.compute_infer, self.compute_output = Total(), Total(), Total()
        self.inferences = 0
        self.last_inference_ms = 0
        self.batches: dict[int, BatchTotals] = {}

    @property
    def executions(self) -> int:
        return sum(totals.compute_infer.count for totals in self.batches.values())

    def succeeded(self, clips: Sequence[ClipTimes]) -> None:
        """Count a request whose ``clips`` were answered."""
        times = max(clips, key=lambda one: one.queue_ms + one.preprocess_ms + one.infer_ms)
        input_ms = times.decode_ms + times.preprocess_ms
        self.success.add(times.total_ms)
        self.queue.add(times.queue_ms)
        self.compute_input.add(input_ms)
        self.compute_infer.add(times.infer_ms)
        self.compute_output.add(times.total_ms - times.read_ms - input_ms - times.queue_ms - times.infer_ms)
        self.inferences += len(clips)
        self.last_inference_ms = int(time.time() * 1e3)

    @contextlib.contextmanager
    def failing(self, elapsed_ms: Callable[[], float]) -> Iterator[None]:
        """Count a request as failed if the block raises; ``elapsed_ms`` tells how long it has taken."""
        try:
            yield
        except BaseException:
            self.fail.add(elapsed_ms())
            raise

    def executed(self, clips: int, inference: Inference) -> None:
        """Count a batch of ``clips``."""
        totals = self.batches.setdefault(clips, BatchTotals())
        totals.compute_input.add(inference.preprocess_ms)
        totals.compute_infer.add(inference.network_ms)
        totals.compute_output.add(0)
