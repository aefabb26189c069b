"""What heads say of clips of videos that they were not taught: the base of every figure of a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax
from sklearn.model_selection import StratifiedGroupKFold

from teaching.lesson import Floats, Integers, Lesson
from teaching.model import Classifier, Nearness, directions_for
from teaching.spectrum import Spectrum

STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
"""What scikit-learn's C is chosen from, for features that each deviate by about 1."""

_MOST_FOLDS = 8
_FEWEST_FOLDS = 2


@dataclass(frozen=True)
class HeldOut:
    """Of N clips, each said by a head that was taught the videos of the other folds.

    ``logits``: float64 [N, K], with a background [N, K + 1]. ``distances``: float64 [N], to the nearest clip that was
    taught. ``folds``: int64 [N]. ``strength`` and ``directions`` are
    those of the heads.
    """

    lesson: Lesson
    logits: Floats
    distances: Floats
    folds: Integers
    strength: float
    directions: int

    @property
    def margins(self) -> Floats | None:
        """Float64 [N]: how far the actions are before the background, in nats; None without a background."""
        count = len(self.lesson.labels)
        if not self.lesson.has_background:
            return None
        return np.asarray(np.logaddexp.reduce(self.logits[:, :count], axis=1) - self.logits[:, count])


def hold_out(
    lesson: Lesson, spectrum: Spectrum, on_fold: Callable[[int, int], None] = lambda done, of: None
) -> HeldOut:
    """Let heads judge the clips of videos that they were not taught, with the best strength.

    Every class needs clips of two videos. ``on_fold`` is told how many folds of how many are done.
    """
    folds = _folds(lesson)
    count = int(folds.max()) + 1
    # Distances grow with the dimensions, so all folds have as many as the smallest can fill, and the head later too.
    directions = directions_for(min(int((lesson.shown & (folds != fold)).sum()) for fold in range(count)))
    logits = np.zeros((len(STRENGTHS), len(folds), len(lesson.labels) + lesson.has_background))
    distances = np.zeros(len(folds))
    for fold in range(count):
        out = folds == fold
        taught, features = lesson.part(~out), lesson.features[out]
        distances[out] = Nearness.of(taught, spectrum, directions).distances(features)
        classifier = Classifier.of(taught, spectrum)
        places = classifier.coordinates.of(features)
        for index, strength in enumerate(STRENGTHS):
            fitted = classifier.linear(strength)
            logits[index, out] = places @ fitted.weight.T + fitted.bias
        on_fold(fold + 1, count)
    best = min(range(len(STRENGTHS)), key=lambda index: _loss(logits[index], lesson.classes))
    return HeldOut(lesson, logits[best], distances, folds, STRENGTHS[best], directions)


def _folds(lesson: Lesson) -> Integers:
    """Int64 [N]: the fold of each clip. The clips of a video are in one fold; each fold has a share of each class."""
    classes = np.unique(lesson.classes)
    fewest = min(lesson.videos_of(int(each)) for each in classes)
    count = max(_FEWEST_FOLDS, min(_MOST_FOLDS, fewest))
    folds = np.zeros(len(lesson.classes), np.int64)
    for fold, (_, out) in enumerate(_splits(lesson, count)):
        folds[out] = fold
    return folds


def _splits(lesson: Lesson, count: int) -> Iterator[tuple[Integers, Integers]]:
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=0)
    yield from splitter.split(lesson.features, lesson.classes, lesson.videos)


def _loss(logits: Floats, classes: Integers) -> float:
    """The mean log loss of the classes, each of which counts alike."""
    losses = -log_softmax(logits, axis=1)[np.arange(len(classes)), classes]
    return float(np.mean([losses[classes == each].mean() for each in np.unique(classes)]))
