"""The answer: what the service says about a clip."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label and its softmax probability over all labels, 0 to 1."""

    label: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The service's predictions for one clip, best first; ``timings_ms`` is where the service spent its time."""

    predictions: tuple[Prediction, ...]
    clip_id: str
    model: str
    timings_ms: dict[str, float]

    def __post_init__(self) -> None:
        # msgspec turns this into its ValidationError when it reads an answer.
        if not self.predictions:
            raise ValueError("no predictions")
