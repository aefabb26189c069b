"""The service's answer for one clip."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label and its softmax probability over all labels (0 to 1)."""

    label: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The predictions for one clip, best first; ``timings_ms`` gives the service's time per phase in milliseconds."""

    predictions: tuple[Prediction, ...]
    clip_id: str
    model: str
    timings_ms: dict[str, float]

    def __post_init__(self) -> None:
        # When msgspec decodes an answer, it turns this ValueError into its ValidationError.
        if not self.predictions:
            raise ValueError("no predictions")
