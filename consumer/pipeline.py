"""The way of a clip: video file -> sampled frames -> service -> log line."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from consumer.answer import ClassifiedClip
from consumer.client import Service
from consumer.clip import Clip, read_clips
from consumer.errors import NoVideoError
from consumer.settings import Settings
from consumer.video import VideoFile, open_video

logger = logging.getLogger(__name__)

# What V-JEPA 2's Something-Something models take, for services that do not say.
USUAL_FRAMES = 16


def run(settings: Settings) -> None:
    """Classify the source's clips until its end; raises a ConsumerError at the first that fails."""
    # Opened before the service is waited for, so that a wrong path is told at once; closed after the event loop, and
    # with it the thread that decodes, has ended.
    with open_video(settings.source) as video:
        asyncio.run(_classify_video(video, settings))


async def _classify_video(video: VideoFile, settings: Settings) -> None:
    async with Service(settings.service_url, settings.timeout_s, settings.retries) as service:
        await service.wait_until_ready(settings.wait_s)
        frames = settings.frames or await service.frame_count() or USUAL_FRAMES
        clips = read_clips(video, frames, settings.fps, settings.short_edge_px)
        classified = 0
        # One clip in flight: a file does not run away. The next is decoded when this one is answered.
        async with aclosing(_in_thread(video, clips)) as ready:
            async for clip in ready:
                _report(await _classify(service, clip, settings), settings)
                classified += 1
    if not classified:
        raise NoVideoError(f"no frame of {settings.source} could be decoded", "check that the file is whole")
    logger.info("done", extra={"source": settings.source, "clips": classified})


async def _in_thread(video: VideoFile, clips: Iterator[Clip]) -> AsyncGenerator[Clip]:
    """Read each clip in a thread, so that decoding never holds up the event loop."""
    try:
        while (clip := await asyncio.to_thread(next, clips, None)) is not None:
            yield clip
    finally:
        video.stop()


async def _classify(service: Service, clip: Clip, settings: Settings) -> ClassifiedClip:
    started_s = time.perf_counter()
    answer = await service.classify(clip, settings.top_k)
    latency_ms = (time.perf_counter() - started_s) * 1000
    return ClassifiedClip.of(settings.source, clip, answer, latency_ms)


def _report(clip: ClassifiedClip, settings: Settings) -> None:
    best = clip.predictions[0]
    fields = {
        "source": clip.source,
        "start_s": clip.start_s,
        "end_s": clip.end_s,
        "label": best.label,
        "confidence": round(best.confidence, 4),
        "latency_ms": clip.latency_ms,
        "clip_id": clip.clip_id,
    }
    logger.info("clip", extra=fields)
    if settings.json:
        sys.stdout.write(clip.json_line())
        sys.stdout.flush()
