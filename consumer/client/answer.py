"""The service's answer for one clip."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

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
    """The predictions for one clip, best first; ``timings_ms`` gives the service's time per phase in milliseconds.

    ``head``: the head that was asked for by its name, whose labels the predictions have. ``heads``: the predictions of
    each head, if ``all`` were asked for.
    """

    predictions: tuple[Prediction, ...]
    clip_id: Text
    model: Text
    timings_ms: dict[str, float]
    head: Text | None = None
    heads: dict[str, tuple[Prediction, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # When msgspec decodes an answer, it turns this ValueError into its ValidationError.
        # A pretrained encoder has only what its heads say.
        if not self.predictions and not self.heads:
            raise ValueError("no predictions")


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """The features of one clip, float32 ``[dim]``; embeddings of the same ``sha256`` can be compared."""

    embedding: NDArray[np.float32]
    clip_id: str
    model: str
    sha256: str
    timings_ms: dict[str, float]
