"""Logistic regression on the features of clips, and how far a clip is from those that were taught."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression

from engines.linear_heads.head import Weights
from teaching.coordinates import Coordinates
from teaching.lesson import Floats, Integers, Lesson
from teaching.spectrum import Spectrum

# More cost more time for each clip that is served, and tell little more.
_MOST_DIRECTIONS = 96
_MOST_TAUGHT = 512
# The share of the mean variance in the scatter within the actions, which few clips tell only roughly.
_SHRINKAGE = 0.2
_MOST_STEPS = 1000
_TINY = float(np.finfo(np.float32).tiny)
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Linear:
    """``weight`` float64 [K, D] and ``bias`` [K]: from coordinates to logits, the background's last if there is one."""

    weight: Floats
    bias: Floats


def linear(places: Floats, classes: Integers, count: int, strength: float) -> Linear:
    """Tell ``count`` classes apart by ``places``, float64 [N, D]; a class without clips gets no chance.

    ``strength`` is scikit-learn's C: how much the clips count against weights that are small.
    """
    present = np.unique(classes)
    weight, bias = np.zeros((count, places.shape[1])), np.full(count, -1e3)
    if len(present) == 1:
        bias[present] = 0.0
        return Linear(weight, bias)
    # Classes count alike, however many clips there are of each: a camera does not show them as often as the user did.
    fitted = LogisticRegression(C=strength, max_iter=_MOST_STEPS, tol=_TOLERANCE, class_weight="balanced").fit(
        places, classes
    )
    coefficients, intercepts = np.asarray(fitted.coef_), np.asarray(fitted.intercept_)
    if len(present) == 2:
        # Of two classes, scikit-learn gives only the logit of the second before the first.
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    weight[present], bias[present] = coefficients, intercepts
    return Linear(weight, bias)


@dataclass(frozen=True)
class Nearness:
    """A space in which distances tell how unlike the taught clips of actions a clip is.

    There the clips of an action scatter by about 1 in every direction: what tells clips of one action from each other
    hardly counts, and all else does. ``map`` float64 [d, D] leads there from ``coordinates``.
    ``taught``: float64 [M, d].
    """

    coordinates: Coordinates
    map: Floats
    taught: Floats

    @classmethod
    def of(cls, lesson: Lesson, spectrum: Spectrum, directions: int) -> Nearness:
        """The space of the actions of ``lesson`` with at most ``directions`` dimensions."""
        shown = lesson.part(lesson.shown)
        coordinates = Coordinates.fit(shown.features, spectrum, directions)
        places = coordinates.of(shown.features)
        inside = places.copy()
        for each in np.unique(shown.classes):
            inside[shown.classes == each] -= inside[shown.classes == each].mean(axis=0)
        scatter = inside.T @ inside / len(inside)
        count = len(scatter)
        mean = max(float(np.trace(scatter)) / count, _TINY)
        variances, axes = np.linalg.eigh(scatter * (1 - _SHRINKAGE) + np.eye(count) * (mean * _SHRINKAGE))
        to = (axes / np.sqrt(variances)).T
        kept = np.linspace(0, len(places) - 1, min(len(places), _MOST_TAUGHT)).round().astype(np.int64)
        return cls(coordinates, to, places[kept] @ to.T)

    def distances(self, features: Floats) -> Floats:
        """How far clips with ``features``, float64 [N, F], are from the nearest that was taught: float64 [N]."""
        return np.asarray(cdist(self.coordinates.of(features) @ self.map.T, self.taught).min(axis=1))


def directions_for(clips: int) -> int:
    """How many dimensions ``clips`` clips of actions can fill."""
    return max(1, min(_MOST_DIRECTIONS, clips - 1))


@dataclass(frozen=True)
class Classifier:
    """Logistic regression on the clips of ``lesson`` in their coordinates, ``places`` float64 [N, D]."""

    lesson: Lesson
    coordinates: Coordinates
    places: Floats

    @classmethod
    def of(cls, lesson: Lesson, spectrum: Spectrum) -> Classifier:
        coordinates = Coordinates.fit(lesson.features, spectrum)
        return cls(lesson, coordinates, coordinates.of(lesson.features))

    def linear(self, strength: float) -> Linear:
        """From coordinates to logits, fitted with scikit-learn's C ``strength``."""
        lesson = self.lesson
        return linear(self.places, lesson.classes, len(lesson.labels) + lesson.has_background, strength)


def weights(lesson: Lesson, spectrum: Spectrum, strength: float, directions: int) -> Weights:
    """What the head of ``lesson`` computes with."""
    told = Classifier.of(lesson, spectrum)
    fitted = told.linear(strength)
    weight, bias = told.coordinates.folded(fitted.weight, fitted.bias)
    near = Nearness.of(lesson, spectrum, directions)
    subspace, origin = near.coordinates.folded(near.map, np.zeros(len(near.map)))
    arrays = (weight, bias, subspace, origin, near.taught)
    return Weights(*(np.ascontiguousarray(array, np.float32) for array in arrays))
