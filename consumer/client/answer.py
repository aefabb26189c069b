"""The service's answer for one clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

Text = Annotated[str, Meta(max_length=1000)]
"""A text of the service, which goes into logs, events and names of files."""

# A softmax in single precision may exceed 1 by its rounding.
Confidence = Annotated[float, Meta(ge=0.0, le=1.001)]


@dataclass(frozen=True, slots=True)
class Prediction:
    """A label and its softmax probability over all labels (0 to 1)."""

    label: Text
    confidence: Confidence


@dataclass(frozen=True, slots=True)
class Answer:
    """The predictions for one clip, best first; ``timings_ms`` gives the service's time per phase in milliseconds."""

    predictions: tuple[Prediction, ...]
    clip_id: Text
    model: Text
    timings_ms: dict[str, float]

    def __post_init__(self) -> None:
        # When msgspec decodes an answer, it turns this ValueError into its ValidationError.
        if not self.predictions:
            raise ValueError("no predictions")
