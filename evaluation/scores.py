"""How right a subject is on labelled videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.answering import Answered
from evaluation.calibration import Calibration, calibration
from evaluation.labelled import LabelledVideo
from evaluation.proportion import Proportion, proportion
from evaluation.subject import Subject

_TOP = 5


@dataclass(frozen=True, slots=True)
class Scores:
    """The answers of a subject for N videos, and what they are worth.

    ``shown`` and ``best``: int64 [N], the label that a video shows and the best answer. ``confidence``: float32 [N], of
    the best answer. ``top5`` is None where there are so few labels that it would say nothing. ``confusion``: int64
    [labels, labels], videos by what they show and by what was answered.
    """

    subject: Subject
    videos: tuple[LabelledVideo, ...]
    shown: npt.NDArray[np.int64]
    best: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float32]
    top1: Proportion
    top5: Proportion | None
    confusion: npt.NDArray[np.int64]
    calibration: Calibration

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Bool [N]: whether the best answer is right."""
        return np.equal(self.shown, self.best)

    def recalls(self) -> dict[str, Proportion]:
        """For each action, as its directory is called, the share of its videos that were answered with its label."""
        right = self.right
        shown: dict[str, list[bool]] = {}
        for video, each in zip(self.videos, right, strict=True):
            shown.setdefault(video.label, []).append(bool(each))
        return {action: proportion(sum(rights), len(rights)) for action, rights in shown.items()}

    def confused(self) -> list[tuple[str, str, int]]:
        """What was most often taken for something else: shown, answered, how often; the most frequent first."""
        wrong = self.confusion.copy()
        np.fill_diagonal(wrong, 0)
        labels, pairs = self.subject.labels, np.argwhere(wrong)
        found = [(labels[shown], labels[answer], int(wrong[shown, answer])) for shown, answer in pairs]
        return sorted(found, key=lambda each: -each[2])


def scores_of(subject: Subject, answered: Sequence[Answered]) -> Scores:
    """What ``subject`` makes of the videos that have answers. Raises InputError for an action without a label."""
    pairs = [(each.video, each.answers) for each in answered if each.answers is not None]
    confidences = np.stack([subject.confidences(answers) for _, answers in pairs])
    shown = np.array([subject.index_of(video.label) for video, _ in pairs])
    best = confidences.argmax(axis=1)
    labels = len(subject.labels)
    confusion = np.zeros((labels, labels), np.int64)
    np.add.at(confusion, (shown, best), 1)
    top = np.argsort(-confidences, axis=1)[:, :_TOP]
    in_top = int((top == shown[:, None]).any(axis=1).sum())
    highest = confidences.max(axis=1)
    return Scores(
        subject,
        tuple(video for video, _ in pairs),
        shown,
        best,
        highest,
        proportion(int((shown == best).sum()), len(pairs)),
        proportion(in_top, len(pairs)) if labels > _TOP else None,
        confusion,
        calibration(highest, shown == best),
    )
