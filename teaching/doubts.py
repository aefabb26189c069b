"""What a user should know before relying on a head, each in a sentence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.stats import chi2_contingency

from teaching.judgement import Judgement

_FEW_VIDEOS = 8
_MANY_MISSES = 0.2
# The folds would differ so much by chance in one lesson of a hundred.
_SURPRISE = 0.01


def doubts(judgement: Judgement, false_alarms: float, unreadable: Sequence[str]) -> tuple[str, ...]:
    """The warnings about ``judgement``, for whoever wants the rate ``false_alarms``; ``unreadable`` videos by name."""
    return (
        *_about_videos(judgement, unreadable),
        *_about_classes(judgement),
        *_about_folds(judgement),
        *_about_unknown(judgement, false_alarms),
    )


def _about_videos(judgement: Judgement, unreadable: Sequence[str]) -> Iterator[str]:
    if unreadable:
        yield f"{len(unreadable)} videos could not be read and were left out"
    lesson = judgement.lesson
    few = [
        f"{label} ({lesson.videos_of(index)})"
        for index, label in enumerate(lesson.labels)
        if lesson.videos_of(index) < _FEW_VIDEOS
    ]
    if few:
        yield f"fewer than {_FEW_VIDEOS} videos of {_listed(few)}: its figures are rough, film more"


def _about_classes(judgement: Judgement) -> Iterator[str]:
    labels = judgement.lesson.labels
    recalls = [judgement.videos_right(index) for index in range(len(labels))]
    poor = [label for label, recall in zip(labels, recalls, strict=True) if recall.low <= 1 / (len(labels) + 1)]
    if poor:
        yield f"{_listed(poor)}: not shown to be told better than by chance"


def _about_folds(judgement: Judgement) -> Iterator[str]:
    shown = judgement.lesson.shown
    folds, right = judgement.held_out.folds[shown], judgement.right[shown]
    counts = np.array([[right[folds == fold].sum(), (~right[folds == fold]).sum()] for fold in np.unique(folds)])
    if counts.sum(axis=0).all() and chi2_contingency(counts).pvalue < _SURPRISE:
        shares = counts[:, 0] / counts.sum(axis=1)
        yield (
            f"the folds disagree, with {shares.min():.0%} to {shares.max():.0%} right:"
            " some videos of an action are unlike its others"
        )


def _about_unknown(judgement: Judgement, false_alarms: float) -> Iterator[str]:
    alarms, misses = judgement.false_alarms, judgement.misses
    if alarms is None:
        yield "no background was given: what is none of the actions is known only by being unlike them"
    elif alarms.total * false_alarms < 1:
        yield (
            f"{alarms.total} background windows cannot show a false-alarm rate of {false_alarms:.1%}"
            f" (at most {alarms.high:.1%} is certain): film at least {math.ceil(1 / false_alarms)} windows"
        )
    if misses.share > _MANY_MISSES:
        yield f"{misses.share:.0%} of the clips of actions are answered with unknown: the background is too like them"


def _listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
