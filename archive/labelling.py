"""Labels videos with an engine in this process, and hands each to what keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from archive.busy import BusyTime
from archive.classification import classify
from archive.config.settings import Settings
from archive.errors import ArchiveError, InputError
from archive.files.table import Description
from archive.version import VERSION
from archive.video import Scored, Video, WindowScores
from engines.cores import usable_cores
from engines.engine import Engine
from engines.options import EngineOptions
from engines.runtimes.default_bundle import default_bundle
from engines.runtimes.registry import load_engine
from engines.storage.bundle import Bundle, open_bundle
from video.errors import VideoError


@dataclass(frozen=True, slots=True)
class Labelled:
    """What became of ``video``: its ``windows``, or the ``error`` because of which it has none."""

    video: Video
    windows: list[WindowScores]
    error: VideoError | ArchiveError | None


def chosen_bundle(settings: Settings) -> Bundle:
    """The bundle of the settings, or the one that ``serve`` would take.

    Raises:
        BundleError: the bundle cannot be used.
        InputError: its network has no labels.
    """
    bundle = open_bundle(settings.bundle or default_bundle().path)
    if not bundle.manifest.labels:
        raise InputError(f"bundle {bundle.path} has no labels of its own", "give the --bundle of a classifier")
    return bundle


def load(bundle: Bundle, settings: Settings, threads: int = 0) -> Engine:
    """The engine of ``bundle`` with so many CPU threads (0: as many as there are cores). Raises ServiceError."""
    return load_engine(bundle, EngineOptions(device=settings.device, threads=threads))


def description_of(bundle: Bundle, settings: Settings) -> Description:
    """What the windows of this run have in common."""
    manifest, sampling = bundle.manifest, settings.sampling
    job = sampling.job("", "", manifest)
    return Description(
        model=manifest.name,
        model_sha256=manifest.content_sha256(),
        head=None,
        version=VERSION,
        labels=manifest.labels,
        frames=job.frames,
        fps=job.fps,
        stride=job.stride,
        max_gap_s=job.max_gap_s,
    )


def label(
    videos: Sequence[Video],
    engine: Engine,
    settings: Settings,
    busy: BusyTime,
    on_window: Callable[[Video, WindowScores], None] = lambda video, window: None,
) -> Iterator[Labelled]:
    """Yield each of ``videos`` when it has ended; ``on_window`` is called for each window on the way.

    Raises:
        EngineError: the engine failed.
    """
    decoders = max(1, min(settings.decoders or usable_cores(), len(videos)))
    windows: dict[str, list[WindowScores]] = {}
    with closing(classify(videos, engine, settings.sampling, decoders=decoders, busy=busy)) as events:
        for event in events:
            if isinstance(event, Scored):
                windows.setdefault(event.video.key, []).append(event.window)
                on_window(event.video, event.window)
            else:
                found = windows.pop(event.video.key, [])
                yield Labelled(event.video, [] if event.error else found, event.error)
