"""Measures how well a checkpoint recognises the motions: confusion matrix, recall per class, and targets."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from transformers import VJEPA2ForVideoClassification

from export.demo.labels import LABELS
from export.demo.rendering import photo_clips
from export.demo.training import checkpoint, dataset

LEAST_ACCURACY = 0.97
LEAST_RECALL = 0.92
LEAST_PHOTO_ACCURACY = 0.85
_BATCH = 50
_PHOTO_SEED = 7

LabelledClip = tuple[npt.NDArray[np.uint8], int]


@dataclass(frozen=True)
class Evaluation:
    """``confusion`` [labels, labels] counts clips by true (row) and predicted (column) label.

    ``confidence`` is the mean probability of the predicted label, which should be near the accuracy.
    """

    confusion: npt.NDArray[np.int64]
    confidence: float

    @property
    def clips(self) -> int:
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def recalls(self) -> npt.NDArray[np.float64]:
        """Share of the clips of each label that were recognised [labels]; 1 for labels without clips."""
        totals = self.confusion.sum(axis=1)
        return np.asarray(np.where(totals > 0, np.diag(self.confusion) / np.maximum(totals, 1), 1.0))

    def table(self) -> str:
        """Return a text with the recall of each label and the confusion matrix, columns in the order of the rows."""
        width = max(len(label) for label in LABELS)
        header = f"{'':{width + 4}}recall  " + "".join(f"{column:5d}" for column in range(1, len(LABELS) + 1))
        lines = [header]
        for row, (label, recall) in enumerate(zip(LABELS, self.recalls, strict=True)):
            counts = "".join(f"{count:5d}" if count else "    ." for count in self.confusion[row])
            lines.append(f"{row + 1:2d}  {label:{width}}  {recall:5.1%}  {counts}")
        lines.append(f"{self.clips} clips: accuracy {self.accuracy:.1%}, mean confidence {self.confidence:.1%}")
        return "\n".join(lines)

    def shortfalls(self) -> list[str]:
        """What misses the targets for held-out clips, one line each; empty when all are met."""
        missed = [
            f"{label}: recall {recall:.1%} is below {LEAST_RECALL:.0%}"
            for label, recall in zip(LABELS, self.recalls, strict=True)
            if recall < LEAST_RECALL
        ]
        if self.accuracy < LEAST_ACCURACY:
            missed.append(f"accuracy {self.accuracy:.1%} is below {LEAST_ACCURACY:.0%}")
        return missed


def _batches(clips: Iterable[LabelledClip]) -> Iterator[list[LabelledClip]]:
    remaining = iter(clips)
    while batch := list(itertools.islice(remaining, _BATCH)):
        yield batch


@torch.no_grad()
def probabilities(model: VJEPA2ForVideoClassification, clips: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the probabilities float32 [N, labels] for preprocessed clips uint8 [N, 16, 3, 64, 64]."""
    inputs = checkpoint.normalise(torch.from_numpy(clips).float().div_(255.0))
    return np.asarray(model(inputs).logits.softmax(dim=1), np.float32)


def evaluate(model: VJEPA2ForVideoClassification, clips: Iterable[LabelledClip]) -> Evaluation:
    """Evaluate ``model`` on one or more preprocessed clips uint8 [16, 3, 64, 64] with their label indices."""
    confusion = np.zeros((len(LABELS), len(LABELS)), np.int64)
    confidences: list[float] = []
    for batch in _batches(clips):
        predicted = probabilities(model, np.stack([frames for frames, _ in batch]))
        np.add.at(confusion, ([label for _, label in batch], predicted.argmax(axis=1)), 1)
        confidences.extend(predicted.max(axis=1).tolist())
    return Evaluation(confusion, float(np.mean(confidences)))


def _photo_clips(
    photos: photo_clips.Photos, variant: photo_clips.Variant, number: int, count: int
) -> Iterator[LabelledClip]:
    for index in range(count):
        rng, label = np.random.default_rng([_PHOTO_SEED, number, index]), index % len(LABELS)
        yield dataset.preprocess(photo_clips.photo_clip(rng, photos, LABELS[label], variant)), label


def photo_evaluations(
    model: VJEPA2ForVideoClassification, directory: Path, count: int
) -> Iterator[tuple[str, Evaluation]]:
    """Yield the name and the result of each photo clip variant, on ``count`` clips of each.

    Raises ValueError if ``directory`` has no photographs or no videos.
    """
    photos = photo_clips.load_photos(directory)
    for number, variant in enumerate(photo_clips.VARIANTS):
        yield variant.name, evaluate(model, _photo_clips(photos, variant, number, count))
