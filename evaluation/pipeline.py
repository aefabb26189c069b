"""Runs the command: labelled videos -> answers of each bundle -> scores of each subject -> report."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec
from rich.console import Console

from archive.errors import InputError
from engines.options import EngineOptions
from engines.runtimes.registry import load_engine
from evaluation.answer_cache import AnswerCache
from evaluation.answering import Answered, answered
from evaluation.comparison import Comparison, comparison
from evaluation.config.settings import Settings
from evaluation.labelled import LabelledVideo, labelled_videos, something_something
from evaluation.progress import VideoBar
from evaluation.report import Report, print_tables, write_files
from evaluation.scores import Scores, scores_of
from evaluation.subject import Subject, subjects_of

logger = logging.getLogger(__name__)


def run(settings: Settings, console: Console) -> int:
    """Evaluate all subjects; returns the exit code.

    Raises:
        ArchiveError: the videos cannot be listed, or do not fit the labels, or the report cannot be written.
        ServiceError: a bundle or head cannot be used, or the engine failed.
    """
    videos = _videos(settings)
    subjects = subjects_of(settings.bundles, settings.heads)
    for subject in subjects:
        for action in dict.fromkeys(video.label for video in videos):
            subject.index_of(action)
    answers = _answers(videos, subjects, settings, console)
    report = _report(videos, subjects, answers, settings)
    if settings.out is not None:
        write_files(report, settings.out)
    if settings.json:
        sys.stdout.write(msgspec.json.encode(report.as_dict()).decode() + "\n")
    else:
        print_tables(report, Console())
    return 1 if report.unreadable else 0


def _videos(settings: Settings) -> list[LabelledVideo]:
    if settings.annotations is None:
        return labelled_videos(settings.videos)
    return something_something(settings.videos, settings.annotations)


def _answers(
    videos: Sequence[LabelledVideo], subjects: Sequence[Subject], settings: Settings, console: Console
) -> dict[Path, dict[LabelledVideo, Answered]]:
    """The answers of each bundle, by its path, one engine at a time."""
    found: dict[Path, dict[LabelledVideo, Answered]] = {}
    bundles = {subject.bundle.path: subject.bundle for subject in subjects}
    features = any(subject.head for subject in subjects)
    with VideoBar(len(videos) * len(bundles), console) as bar:
        for path, bundle in bundles.items():
            with closing(load_engine(bundle, EngineOptions(device=settings.device))) as engine:
                cache = AnswerCache(settings.cache, engine, settings.sampling, features=features)
                answers = found[path] = {}
                for each in answered(videos, engine, settings.sampling, cache, features, settings.decoders):
                    answers[each.video] = each
                    bar.ended()
    return found


def _report(
    videos: Sequence[LabelledVideo],
    subjects: Sequence[Subject],
    answers: dict[Path, dict[LabelledVideo, Answered]],
    settings: Settings,
) -> Report:
    unreadable = {
        str(video.path): str(error)
        for of_bundle in answers.values()
        for video in videos
        if (error := of_bundle[video].error) is not None
    }
    for path, told in unreadable.items():
        logger.error(told, extra={"video": path})
    common = [video for video in videos if all(of_bundle[video].answers is not None for of_bundle in answers.values())]
    if not common:
        raise InputError("none of the videos can be read", "check the files; the log says what is wrong with each")
    scores = [scores_of(subject, [answers[subject.bundle.path][video] for video in common]) for subject in subjects]
    return Report(settings.views, scores, _comparisons(scores), unreadable)


def _comparisons(scores: Sequence[Scores]) -> list[Comparison]:
    """The first subject with each other one."""
    return [comparison(scores[0], each) for each in scores[1:]]
