"""What a head would have answered for the clips that were held out, and what that says of it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from scipy.special import softmax

from engines.linear_heads.manifest import ClassReport, ConfidenceBin, Rejection, Report, ThresholdPoint
from evaluation.calibration import Calibration, calibration
from evaluation.proportion import Proportion, proportion
from teaching.holdout import HeldOut
from teaching.lesson import Choice, Floats, Integers, Lesson
from teaching.rejection import familiarities, rejection_for
from teaching.temperature import temperature_for

_MOST_THRESHOLDS = 40


@dataclass(frozen=True)
class Judgement:
    """Of the N held-out clips, ``answers`` int64 [N]: the index of an action, or their number for ``unknown``.

    ``logits``: float64 [N, K] of the actions only. ``rule`` and ``temperature`` are the head's.
    """

    held_out: HeldOut
    rule: Rejection
    temperature: float
    logits: Floats
    answers: Integers

    @classmethod
    def of(cls, held_out: HeldOut, false_alarms: float) -> Judgement:
        lesson = held_out.lesson
        count = len(lesson.labels)
        rule = rejection_for(held_out, false_alarms)
        logits = held_out.logits[:, :count]
        known = familiarities(held_out, rule) >= rule.threshold
        answered = known & lesson.shown
        temperature = temperature_for(logits[answered], lesson.classes[answered])
        return cls(held_out, rule, temperature, logits, np.where(known, logits.argmax(axis=1), count))

    @property
    def lesson(self) -> Lesson:
        return self.held_out.lesson

    @property
    def right(self) -> Choice:
        """Bool [N]: a clip of an action was answered with it, one of the background with ``unknown``."""
        return np.asarray(self.answers == self.lesson.classes)

    @property
    def confusion(self) -> Integers:
        """Int64 [K + 1, K + 1]: clips by what they show, at last the background, and by answer, at last ``unknown``."""
        counts = np.zeros((len(self.lesson.labels) + 1,) * 2, np.int64)
        np.add.at(counts, (self.lesson.classes, self.answers), 1)
        return counts

    def calibration(self, temperature: float) -> Calibration:
        """How true the confidences of the clips of actions are that are answered with an action."""
        chosen = self.lesson.shown & (self.answers < len(self.lesson.labels))
        confidences = softmax(self.logits[chosen] / temperature, axis=1).max(axis=1)
        return calibration(confidences, self.right[chosen])

    @property
    def false_alarms(self) -> Proportion | None:
        """Of the clips of the background, those taken for an action; None without a background."""
        background = ~self.lesson.shown
        if not background.any():
            return None
        return proportion(int((background & ~self.right).sum()), int(background.sum()))

    @property
    def misses(self) -> Proportion:
        """Of the clips of actions, those answered with ``unknown``."""
        shown = self.lesson.shown
        return proportion(int((self.answers[shown] == len(self.lesson.labels)).sum()), int(shown.sum()))

    def thresholds(self) -> tuple[ThresholdPoint, ...]:
        """What the rule would do with other thresholds, which are evenly spread over the held-out clips."""
        shown, familiar = self.lesson.shown, familiarities(self.held_out, self.rule)
        spread = np.quantile(familiar, np.linspace(0, 1, _MOST_THRESHOLDS))
        points = []
        for threshold in np.unique([*spread, self.rule.threshold]):
            known = familiar >= threshold
            alarms = None if shown.all() else float(known[~shown].mean())
            points.append(
                ThresholdPoint(threshold=float(threshold), misses=float(1 - known[shown].mean()), false_alarms=alarms)
            )
        return tuple(points)

    def videos_right(self, label: int) -> Proportion:
        """Of the videos of an action, those of which more than half of the clips were answered with it."""
        chosen = self.lesson.classes == label
        videos = self.lesson.videos[chosen]
        shares = [self.right[chosen][videos == video].mean() for video in np.unique(videos)]
        return proportion(sum(bool(share > 0.5) for share in shares), len(shares))

    def report(self) -> Report:
        """The figures; without the warnings, which others add."""
        lesson, alarms = self.lesson, self.false_alarms
        report = Report(
            classes=tuple(self._class_report(label) for label in range(len(lesson.labels))),
            confusion=tuple(tuple(row) for row in self.confusion[:-1].tolist()),
            accuracy=float(self.right[lesson.shown].mean()),
            calibration_error_before=self.calibration(1.0).error,
            calibration_error=self.calibration(self.temperature).error,
            misses=self.misses.share,
            thresholds=self.thresholds(),
            calibration=tuple(
                ConfidenceBin(confidence=each.confidence, accuracy=each.accuracy, clips=each.count)
                for each in self.calibration(self.temperature).bins
            ),
        )
        if alarms is None:
            return report
        return msgspec.structs.replace(
            report,
            background_windows=alarms.total,
            false_alarms=alarms.share,
            false_alarms_low=alarms.low,
            false_alarms_high=alarms.high,
        )

    def _class_report(self, label: int) -> ClassReport:
        recall = self.videos_right(label)
        return ClassReport(
            label=self.lesson.labels[label],
            videos=recall.total,
            clips=int((self.lesson.classes == label).sum()),
            recall=recall.share,
            recall_low=recall.low,
            recall_high=recall.high,
        )
