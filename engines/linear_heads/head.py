"""Answers with the labels of a head, from the features of a clip."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engines.linear_heads.manifest import UNKNOWN, HeadManifest

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class HeadAnswer:
    """``probabilities``: float32 [labels], which sum to 1; the last of ``labels`` is ``unknown``."""

    labels: tuple[str, ...]
    probabilities: Floats

    @property
    def top_label(self) -> str:
        return self.labels[int(self.probabilities.argmax())]


@dataclass(frozen=True)
class Weights:
    """What a head computes with; every array is finite.

    ``weight`` float32 [K, F] and ``bias`` [K]: logits of the actions, and with a background of that too, as the last
    one. ``subspace`` [D, F] and ``origin`` [D]: from features to the space in which distances count. ``taught`` [M, D]:
    the clips that were taught, in that space.
    """

    weight: Floats
    bias: Floats
    subspace: Floats
    origin: Floats
    taught: Floats


class Head:
    """A head in memory. It never changes, so that labels and scores of an answer always belong together."""

    def __init__(self, manifest: HeadManifest, weights: Weights) -> None:
        self.manifest = manifest
        self.labels = (*manifest.labels, UNKNOWN)
        self.feature_count = weights.weight.shape[1]
        self._outputs = len(weights.bias)
        # One product gives the logits and the place in the subspace.
        self._weight = np.concatenate([weights.weight, weights.subspace])
        self._offset = np.concatenate([weights.bias, weights.origin])
        self._taught = weights.taught
        self._taught_squares = (weights.taught**2).sum(axis=1)

    def answer(self, features: Floats) -> HeadAnswer:
        """The answer for the ``features`` of a clip, float32 [F]."""
        logits, familiarity = self.scores(features)
        scaled = logits[: len(self.manifest.labels)] / np.float32(self.manifest.temperature)
        powers = np.exp(scaled - scaled.max())
        unknown = self._unknown(familiarity)
        known = powers * np.float32((1 - unknown) / float(powers.sum()))
        return HeadAnswer(self.labels, np.append(known, np.float32(unknown)))

    def scores(self, features: Floats) -> tuple[Floats, float]:
        """The logits of the actions, and of the background where there is one; and the familiarity of the clip."""
        rejection = self.manifest.rejection
        computed = self._weight @ features + self._offset
        logits, place = computed[: self._outputs], computed[self._outputs :]
        squares = self._taught_squares - 2 * (self._taught @ place)
        distance = math.sqrt(max(0.0, float(squares.min()) + float(place @ place)))
        familiarity = (-distance - rejection.distance_centre) / rejection.distance_scale
        actions = len(self.manifest.labels)
        if len(logits) > actions:
            margin = _log_sum(logits[:actions]) - float(logits[actions])
            familiarity = min(familiarity, (margin - rejection.margin_centre) / rejection.margin_scale)
        return logits, familiarity

    def _unknown(self, familiarity: float) -> float:
        """The confidence of ``unknown``: 0 from the threshold on, and below it between one half and 1.

        So ``unknown`` is the best answer if and only if the clip is less familiar than the threshold.
        """
        below = self.manifest.rejection.threshold - familiarity
        return 1 - 0.5 * math.exp(-below) if below > 0 else 0.0


def _log_sum(logits: Floats) -> float:
    highest = float(logits.max())
    return highest + math.log(float(np.exp(logits - np.float32(highest)).sum()))
