"""BentoML: ``Clips`` classifies by itself; ``BatchedClips`` decodes in front of a service that batches."""

from __future__ import annotations

import os

import bentoml
import numpy as np

from tests.latency.rivals.models import decode_frames, load_model, top_predictions
from tests.latency.stand_in_device import LABELS, MAX_BATCH

_TRAFFIC = {"timeout": 60}
_WORKERS = int(os.environ.get("WORKERS", "1"))


@bentoml.service(traffic=_TRAFFIC)
class Clips:
    def __init__(self) -> None:
        self.model = load_model()

    @bentoml.api(route="/api/v1/infer")
    def infer(self, frames: list[str], width: int, height: int, format: str = "BGR") -> dict:
        probabilities = self.model.classify([decode_frames(frames, width, height)])[0]
        return {"predictions": top_predictions(probabilities, self.model.labels)}


@bentoml.service(traffic=_TRAFFIC)
class Model:
    def __init__(self) -> None:
        self.model = load_model()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH)
    def classify(self, clips: np.ndarray) -> np.ndarray:
        return self.model.classify(list(clips))


@bentoml.service(traffic=_TRAFFIC, workers=_WORKERS)
class BatchedClips:
    model = bentoml.depends(Model)

    @bentoml.api(route="/api/v1/infer")
    def infer(self, frames: list[str], width: int, height: int, format: str = "BGR") -> dict:
        clip = decode_frames(frames, width, height)
        rows = self.model.classify(clip[np.newaxis])
        return {"predictions": top_predictions(rows[0], LABELS)}
