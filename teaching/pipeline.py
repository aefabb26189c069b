"""Runs the command: videos -> features -> a head that is judged by videos which it was not taught -> files."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version

import msgspec
import numpy as np
from rich.console import Console
from threadpoolctl import threadpool_limits

from archive.models.local import check_features
from archive.version import VERSION
from engines.linear_heads.manifest import FORMAT_VERSION, HeadManifest
from engines.linear_heads.storage import check_replaceable, write_head
from engines.manifest import Manifest
from engines.options import EngineOptions
from engines.runtimes.registry import load_engine
from engines.storage.bundle import Bundle, open_bundle
from evaluation.answer_cache import AnswerCache
from evaluation.answering import Answered, answered
from teaching.config.settings import Settings
from teaching.doubts import doubts
from teaching.examples import Examples, find_examples, lesson_of
from teaching.holdout import HeldOut, hold_out
from teaching.judgement import Judgement
from teaching.lesson import Lesson
from teaching.model import weights
from teaching.progress import Steps, print_line
from teaching.report import pictures_of, print_report
from teaching.spectrum import Spectrum, spectrum_of

logger = logging.getLogger(__name__)


def run(settings: Settings, console: Console) -> int:
    """Teach the head and write it; returns the exit code.

    Raises:
        ArchiveError: the videos cannot be listed, or not be taught.
        ServiceError: the bundle cannot be used, the engine failed, or the head cannot be written.
    """
    check_replaceable(settings.head)
    examples = find_examples(settings.examples, settings.background)
    bundle = open_bundle(settings.bundle)
    check_features(bundle)
    spectrum = spectrum_of(bundle.manifest)
    with Steps(console, lines=settings.json) as steps:
        found = _answers(examples, bundle, settings, steps)
        lesson = lesson_of(examples, found)
        held_out = _held_out(lesson, spectrum, steps)
    unreadable = [str(each.video.path) for each in found if each.answers is None]
    manifest = _write(held_out, spectrum, bundle.manifest, settings, unreadable)
    _tell(manifest, settings)
    return 1 if unreadable else 0


def _answers(examples: Examples, bundle: Bundle, settings: Settings, steps: Steps) -> list[Answered]:
    """The features of all videos that can be read; those that cannot are logged."""
    found: list[Answered] = []
    with closing(load_engine(bundle, EngineOptions(device=settings.device))) as engine:
        cache = AnswerCache(settings.cache, engine, settings.sampling, features=True)
        videos = answered(examples.videos, engine, settings.sampling, cache, features=True, decoders=settings.decoders)
        with closing(videos):
            for each in videos:
                found.append(each)
                steps.done("videos", len(found), len(examples.videos))
                if each.error is not None:
                    logger.error(str(each.error), extra={"video": str(each.video.path)})
    return found


def _held_out(lesson: Lesson, spectrum: Spectrum, steps: Steps) -> HeldOut:
    # The matrices are small: several threads would wait for each other most of the time.
    with threadpool_limits(1):
        return hold_out(lesson, spectrum, lambda done, of: steps.done("folds", done, of))


def _write(
    held_out: HeldOut, spectrum: Spectrum, model: Manifest, settings: Settings, unreadable: Sequence[str]
) -> HeadManifest:
    judgement = Judgement.of(held_out, settings.false_alarms)
    report = judgement.report()
    warnings = doubts(judgement, settings.false_alarms, unreadable)
    manifest = HeadManifest(
        format_version=FORMAT_VERSION,
        name=settings.name,
        model=model.source.model,
        features=model.features_identity() or "",
        labels=held_out.lesson.labels,
        temperature=judgement.temperature,
        rejection=judgement.rule,
        fps=settings.sampling.fps,
        taught_at=datetime.now(UTC).isoformat(timespec="seconds"),
        built_with={"vjepa2-serve": VERSION, "scikit-learn": version("scikit-learn"), "numpy": np.__version__},
        report=msgspec.structs.replace(report, warnings=warnings),
        weights_sha256="",
    )
    with threadpool_limits(1):
        taught = weights(held_out.lesson, spectrum, held_out.strength, held_out.directions)
    return write_head(settings.head, manifest, taught, pictures_of(judgement))


def _tell(manifest: HeadManifest, settings: Settings) -> None:
    for warning in manifest.report.warnings:
        logger.warning(warning)
    if settings.json:
        print_line("head", name=manifest.name, path=str(settings.head), report=manifest.report)
        return
    console = Console()
    print_report(manifest, console)
    console.print(f"head {settings.head}", markup=False, highlight=False, soft_wrap=True)
