"""Where one request's time went; travels with it to its answer, its log line and the metrics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from server.batching.clip_queue import Classified
from server.clips.infer_request import TimingsMs


@dataclass(slots=True)
class PhasesMs:
    """Milliseconds; ``infer`` is the network alone, ``total`` runs from the request's first byte to its answer."""

    read: float = 0.0
    decode: float = 0.0
    queue: float = 0.0
    preprocess: float = 0.0
    infer: float = 0.0
    total: float = 0.0

    def classified(self, classified: Classified) -> None:
        self.queue, self.preprocess, self.infer = classified.queue_ms, classified.preprocess_ms, classified.network_ms

    def of_clip(self) -> Iterator[tuple[str, float]]:
        """Name and milliseconds of every phase, rounded to the microsecond."""
        return ((name, round(getattr(self, name), 3)) for name in self.__slots__)

    def timings(self) -> TimingsMs:
        """As the answer tells them: preprocessing is part of ``infer``, reading of ``total`` only."""
        infer = self.preprocess + self.infer
        return TimingsMs(round(self.decode, 3), round(self.queue, 3), round(infer, 3), round(self.total, 3))
