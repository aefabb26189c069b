"""Finds the videos of a lesson, and makes a lesson of their features."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engines.linear_heads.manifest import LONGEST_LABEL, MOST_LABELS, UNKNOWN
from evaluation.answering import Answered
from evaluation.labelled import LabelledVideo, labelled_videos, videos_of
from evaluation.subject import BACKGROUND
from teaching.errors import LessonError
from teaching.lesson import Lesson

_FEWEST_VIDEOS = 2


@dataclass(frozen=True)
class Examples:
    """``actions`` and ``background``: the videos of a lesson; ``labels`` are the actions in their order."""

    labels: tuple[str, ...]
    actions: tuple[LabelledVideo, ...]
    background: tuple[LabelledVideo, ...]

    @property
    def videos(self) -> tuple[LabelledVideo, ...]:
        return (*self.actions, *self.background)


def find_examples(directory: Path, background: Path | None) -> Examples:
    """The videos in ``directory``, one directory for each action, and those of its and of the given background.

    Raises:
        InputError: a directory cannot be listed, or holds no video.
        LessonError: a head cannot have such labels, or there is nothing to tell apart.
    """
    found = labelled_videos(directory)
    actions = tuple(video for video in found if video.label.casefold() != BACKGROUND)
    beside = [replace(video, label=BACKGROUND) for video in found if video.label.casefold() == BACKGROUND]
    beside += videos_of(background, BACKGROUND) if background else []
    labels = tuple(dict.fromkeys(video.label for video in actions))
    _check_labels(labels)
    if len(labels) + bool(beside) < 2:
        raise LessonError(
            f"{directory} holds {len(labels) or 'no'} action and no background, so there is nothing to tell apart",
            f"film a second action, or what is none of them into {directory / BACKGROUND}",
        )
    _check_counts({label: sum(video.label == label for video in actions) for label in labels}, len(beside), "has")
    return Examples(labels, actions, tuple(beside))


def lesson_of(examples: Examples, answered: Sequence[Answered]) -> Lesson:
    """The lesson of what was ``answered``; videos with the same content count as one.

    Raises:
        LessonError: an action has too few videos left, or a video is in two actions, or its features are not finite.
    """
    read = sorted(
        ((each.video, each.answers) for each in answered if each.answers is not None),
        key=lambda each: examples.videos.index(each[0]),
    )
    contents: dict[bytes, LabelledVideo] = {}
    classes, videos = [], []
    for video, answers in read:
        if not np.isfinite(answers.features).all():
            raise LessonError(f"the features of {video.path} are not finite", "export the bundle again, or check it")
        first = contents.setdefault(answers.features.tobytes(), video)
        if first.label != video.label:
            raise LessonError(f"{first.path} and {video.path} are the same video", "keep it in one of the actions")
        index = examples.labels.index(video.label) if video.label != BACKGROUND else len(examples.labels)
        classes += [index] * len(answers.features)
        videos += [examples.videos.index(first)] * len(answers.features)
    _check_counts(*_different(examples, list(contents.values())), "has, of those that could be read and differ,")
    features = np.concatenate([answers.features for _, answers in read]).astype(np.float64)
    return Lesson(examples.labels, features, np.array(classes), np.array(videos))


def _different(examples: Examples, videos: Sequence[LabelledVideo]) -> tuple[dict[str, int], int]:
    shown = [video.label for video in videos]
    background = shown.count(BACKGROUND)
    # One that has vanished altogether must be reported like one with a single video.
    return {label: shown.count(label) for label in examples.labels}, background or int(bool(examples.background))


def _check_labels(labels: Sequence[str]) -> None:
    if len(labels) > MOST_LABELS:
        raise LessonError(f"there are {len(labels)} actions; accepted: up to {MOST_LABELS}", "teach several heads")
    if UNKNOWN in labels:
        raise LessonError(f"an action cannot be called {UNKNOWN!r}", "that is the answer for all others; rename it")
    seen: dict[str, str] = {}
    for label in labels:
        if len(label) > LONGEST_LABEL or not label.isprintable():
            raise LessonError(f"an action cannot be called {label!r}", f"use up to {LONGEST_LABEL} plain characters")
        alike = seen.setdefault(unicodedata.normalize("NFKC", label).casefold().strip(), label)
        if alike != label:
            raise LessonError(f"the actions {alike!r} and {label!r} look the same", "rename or merge them")


def _check_counts(actions: dict[str, int], background: int, how: str) -> None:
    counts = {f"action {label!r}": count for label, count in actions.items()}
    counts |= {"the background": background} if background else {}
    for name, count in counts.items():
        if count < _FEWEST_VIDEOS:
            raise LessonError(
                f"{name} {how} {count} video{'s' * (count != 1)}; at least {_FEWEST_VIDEOS} are needed, one to teach"
                " and one to try",
                "film more, or remove the directory",
            )
