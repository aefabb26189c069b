"""FastAPI and uvicorn, as one writes it first: a pydantic model, base64, numpy.

``def``, so that FastAPI runs it in its thread pool, as its documentation says for work that blocks.
"""

from __future__ import annotations

from typing import Literal

from fastapi import FastAPI
from pydantic import BaseModel

from tests.latency.rivals.models import decode_frames, load_model, top_predictions


class Clip(BaseModel):
    frames: list[str]
    width: int
    height: int
    format: Literal["BGR"] = "BGR"


class Prediction(BaseModel):
    label: str
    confidence: float


class Answer(BaseModel):
    predictions: list[Prediction]


app = FastAPI()
model = load_model()


@app.post("/api/v1/infer")
def infer(clip: Clip) -> Answer:
    frames = decode_frames(clip.frames, clip.width, clip.height)
    probabilities = model.classify([frames])[0]
    return Answer.model_validate({"predictions": top_predictions(probabilities, model.labels)})
