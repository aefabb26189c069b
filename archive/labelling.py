"""Labels videos with an engine in this process, and hands each to what keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from archive.busy import BusyTime
from archive.classification import classify
from archive.config.settings import Settings
from archive.errors import ArchiveError
from archive.files.table import Description
from archive.models.local import local_model
from archive.models.model import LabellingModel
from archive.version import VERSION
from archive.video import Scored, Video, WindowScores
from engines.cores import usable_cores
from engines.engine import Engine
from engines.linear_heads.storage import find_head
from engines.runtimes.default_bundle import default_bundle
from video.errors import VideoError


@dataclass(frozen=True, slots=True)
class Labelled:
    """What became of ``video``: its ``windows``, or the ``error`` because of which it has none."""

    video: Video
    windows: list[WindowScores]
    error: VideoError | ArchiveError | None


def chosen_model(settings: Settings) -> LabellingModel:
    """The service of the settings, else their bundle, else the one that ``serve`` would take.

    Raises:
        BundleError, HeadError: the bundle or the head cannot be used.
        ArchiveError: the service does not answer, or there are no labels, or the head does not fit the network.
    """
    if settings.service is not None:
        from archive.models.service import service_model

        return service_model(settings.service, settings.api_key, settings.head)
    head = None if settings.head is None else find_head(settings.head, settings.heads)
    return local_model(settings.bundle or default_bundle().path, settings.device, head)


def description_of(model: LabellingModel, settings: Settings) -> Description:
    """What the windows of this run have in common."""
    job = settings.sampling.job("", "", model.manifest)
    return Description(
        model=model.manifest.name,
        model_sha256=model.sha256,
        head=model.head,
        head_sha256=model.head_sha256,
        version=VERSION,
        labels=model.labels,
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
        RemoteError: the service that labels does not answer.
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
