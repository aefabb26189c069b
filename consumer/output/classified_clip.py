"""A clip of a source together with the service's answer."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from consumer.client.answer import Answer, Prediction
from consumer.sources.clip import Clip


@dataclass(frozen=True, slots=True)
class ClassifiedClip:
    """A clip's place in its source and its predictions: one line of ``--json``.

    ``start_s`` and ``end_s`` are seconds in the source. ``latency_ms`` is the time from the start of encoding to the
    answer, including waits for a busy service.
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
        """Combine ``clip`` and its ``answer``; times are rounded to 1 ms, the latency to 0.1 ms."""
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

    @classmethod
    def still(cls, source: str, clip: Clip) -> ClassifiedClip:
        """A clip in which nothing moves, without predictions."""
        return cls(source, round(clip.start_s, 3), round(clip.end_s, 3), (), "", "", {}, 0.0)

    def json(self) -> str:
        """The clip as JSON, without a line feed."""
        return msgspec.json.encode(self).decode()
