"""A clip of a source together with the service's answer."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from consumer.client.answer import Answer, Prediction
from consumer.sources.clip import Clip


@dataclass(frozen=True, slots=True)
class ClassifiedClip:
    """One line of ``--json``.

    ``start_s`` and ``end_s`` are the clip's span in the source; ``latency_ms`` is from the clip being ready to the
    answer being read, waits for a busy service included.
    """

    source: str
    start_s: float
    end_s: float
    predictions: tuple[Prediction, ...]
    clip_id: str
    model: str
    timings_ms: dict[str, float]
    latency_ms: float

    @classmethod
    def of(cls, source: str, clip: Clip, answer: Answer, latency_ms: float) -> ClassifiedClip:
        """Put together what was sent and what came back; times are rounded to the millisecond, latency to 0.1 ms."""
        return cls(
            source=source,
            start_s=round(clip.start_s, 3),
            end_s=round(clip.end_s, 3),
            predictions=answer.predictions,
            clip_id=answer.clip_id,
            model=answer.model,
            timings_ms=answer.timings_ms,
            latency_ms=round(latency_ms, 1),
        )

    def json_line(self) -> str:
        """The line, with its line feed."""
        return msgspec.json.encode(self).decode() + "\n"
