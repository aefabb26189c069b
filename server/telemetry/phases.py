"""The duration of each phase of a clip, used by the answer, the log, the metrics and the traces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engines.engine import Inference


@dataclass(slots=True, kw_only=True)
class ClipTimes:
    """Milliseconds of each phase, in the order of the phases.

    ``preprocess_ms`` and ``infer_ms`` are those of the whole batch; ``total_ms`` is the time from the first byte of the
    request to its answer.
    """

    read_ms: float = 0.0
    decode_ms: float = 0.0
    queue_ms: float = 0.0
    preprocess_ms: float = 0.0
    infer_ms: float = 0.0
    total_ms: float = 0.0

    @classmethod
    def in_batch(cls, inference: Inference, *, queued_ms: float) -> ClipTimes:
        """The times of a clip that was queued for ``queued_ms``; waiting for the batch before also counts as queue."""
        return cls(
            queue_ms=queued_ms + inference.wait_ms,
            preprocess_ms=inference.preprocess_ms,
            infer_ms=inference.network_ms,
        )

    def phases(self) -> Iterator[tuple[str, float]]:
        """Name and milliseconds of each phase, rounded to microseconds."""
        return ((name.removesuffix("_ms"), round(getattr(self, name), 3)) for name in self.__slots__)
