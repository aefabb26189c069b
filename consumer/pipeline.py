"""Runs the consumer: sources -> clips -> service -> reports."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

from consumer.client.async_client import AsyncClient
from consumer.client.wire import Model
from consumer.config.settings import Sampling, Settings
from consumer.errors import ConsumerError, OutputError
from consumer.feeds.feed import Feed, Shared
from consumer.feeds.reader import check_source
from consumer.feeds.sender import Sender
from consumer.feeds.service_watch import ServiceWatch
from consumer.output.event_channel import EventChannel
from consumer.output.event_sinks import Sink, open_sink
from consumer.output.metrics import Metrics
from consumer.output.report import Report
from consumer.output.saved_clips import SavedClips
from consumer.output.standard_output import check_standard_output
from consumer.sources.clip import Clipping
from consumer.sources.source import Source
from sampling.windows import Shape

logger = logging.getLogger(__name__)

# The shape of V-JEPA 2's Something-Something models, for services that do not describe their model.
DEFAULT_MODEL = Model(frames=16, crop=256)

MAX_OUTAGE_S = 60.0
"""How long the service may be away if no source is live; live sources wait without limit."""


def run(settings: Settings) -> int:
    """Classify the clips of all sources until all have ended, or until SIGTERM; returns the exit code.

    Raises ConsumerError for errors that are found before any source is read.
    """
    # Checked before waiting for the service, so that a wrong path is reported at once.
    for source in settings.sources:
        check_source(source, settings.reading)
    saved_clips = None if settings.output.save_clips is None else SavedClips(settings.output.save_clips)
    if settings.output.json:
        check_standard_output()
    sinks = [open_sink(target) for target in settings.output.events]
    metrics = Metrics()
    if settings.output.metrics_port is not None:
        metrics.serve(settings.output.metrics_host, settings.output.metrics_port)
    return asyncio.run(_consume(settings, metrics, saved_clips, sinks))


async def _consume(settings: Settings, metrics: Metrics, saved_clips: SavedClips | None, sinks: list[Sink]) -> int:
    main = asyncio.current_task()
    assert main is not None  # noqa: S101 for the type checker
    stopped = asyncio.Event()

    def stop() -> None:
        stopped.set()
        main.cancel()

    with contextlib.suppress(NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    try:
        return await _run_feeds(settings, metrics, saved_clips, sinks)
    except asyncio.CancelledError:
        if not stopped.is_set():
            raise
        logger.info("stopped")
        return 0


async def _run_feeds(settings: Settings, metrics: Metrics, saved_clips: SavedClips | None, sinks: list[Sink]) -> int:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(_client(settings))
        watch = await stack.enter_async_context(ServiceWatch(client, _max_outage_s(settings)))
        await watch.wait_at_start()
        service = settings.service
        sender = Sender(client, watch, service.in_flight, service.retries, service.top_k, metrics)
        shared = Shared(watch, sender, metrics, lambda: clipping(settings.sampling, watch.model))
        channels = [await stack.enter_async_context(EventChannel(sink, metrics)) for sink in sinks]
        feeds = list(_feeds(settings, tuple(channels), saved_clips, shared))
        codes = await _all(feeds, channels)
    return max(codes)


def clipping(sampling: Sampling, model: Model | None) -> Clipping:
    """Complete the sampling settings with the values of ``model``."""
    model = model or DEFAULT_MODEL
    frames = sampling.frames or model.frames
    short_edge_px = sampling.short_edge_px
    if short_edge_px is None:
        short_edge_px = model.short_edge_px or DEFAULT_MODEL.short_edge_px or 0
    return Clipping(Shape(frames, sampling.fps, sampling.clip_stride or frames), short_edge_px, sampling.max_gap_s)


async def _all(feeds: list[Feed], channels: list[EventChannel]) -> list[int]:
    """Run all feeds until they end; returns their exit codes. Raises the error of an output that fails for good."""
    tasks = [asyncio.create_task(_run_feed(feed)) for feed in feeds]
    codes = asyncio.gather(*tasks)
    deliveries = [channel.delivery for channel in channels]
    try:
        watched: list[asyncio.Future[Any]] = [codes, *deliveries]
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        for delivery in deliveries:
            if delivery.done():
                delivery.result()
        return await codes
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(codes, *tasks, return_exceptions=True)


async def _run_feed(feed: Feed) -> int:
    """Run one feed and return its exit code; its failure is logged and does not stop the other feeds.

    Raises OutputError and BrokenPipeError: an output that fails for good is that of all feeds.
    """
    fields = {"source": feed.source.name}
    try:
        await feed.run()
    except (OutputError, BrokenPipeError):
        raise
    except ConsumerError as error:
        logger.error(str(error), extra=fields)
        return error.exit_code
    except Exception:
        logger.exception("source failed, please report this error", extra=fields)
        return 1
    logger.info("done", extra=fields | {"clips": feed.classified})
    return 0


def _feeds(
    settings: Settings, channels: tuple[EventChannel, ...], saved_clips: SavedClips | None, shared: Shared
) -> Iterator[Feed]:
    for source in settings.sources:
        report = _report(source, settings, channels, saved_clips, shared.metrics)
        yield Feed(
            source,
            settings.reading,
            settings.service.queue,
            settings.service.in_flight,
            settings.output.rules.timeout_s,
            report,
            shared,
        )


def _report(
    source: Source,
    settings: Settings,
    channels: tuple[EventChannel, ...],
    saved_clips: SavedClips | None,
    metrics: Metrics,
) -> Report:
    return Report(source, settings.output.json, settings.output.rules, channels, saved_clips, metrics)


def _client(settings: Settings) -> AsyncClient:
    service = settings.service
    return AsyncClient(
        service.url,
        timeout_s=service.timeout_s,
        # The sender retries instead: it coordinates retries over all sources.
        retries=0,
        encoding=service.encoding,
        jpeg_quality=service.jpeg_quality,
        api_key=service.api_key,
    )


def _max_outage_s(settings: Settings) -> float | None:
    if settings.service.wait_s is not None:
        return settings.service.wait_s
    return None if any(source.live for source in settings.sources) else MAX_OUTAGE_S
