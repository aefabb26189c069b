"""Runs the consumer: sources -> clips -> service -> reports."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from consumer.client.async_client import AsyncClient
from consumer.client.wire import Model
from consumer.config.settings import Sampling, Settings
from consumer.errors import BackendMissingError, ConsumerError, OutputError, ServiceAwayError, SourceError
from consumer.feeds.feed import Feed, Shared
from consumer.feeds.reader import check_source
from consumer.feeds.service_watch import ServiceWatch
from consumer.output.event_channel import EventChannel
from consumer.output.event_sinks import Sink, open_sink
from consumer.output.evidence import Evidence
from consumer.output.log import on_terminal
from consumer.output.metrics import Metrics
from consumer.output.report import Report
from consumer.output.saved_clips import SavedClips, prepare_directory
from consumer.output.standard_output import check_standard_output
from consumer.output.tally import Tally
from consumer.sources.footage import Footage
from consumer.sources.source import Kind, Source
from consumer.transports import Transports, chosen_transport
from sampling.windows import Shape
from video.clipping import Clipping

logger = logging.getLogger(__name__)

# The shape of V-JEPA 2's Something-Something models, for services that do not describe their model.
DEFAULT_MODEL = Model(frames=16, crop=256)

MAX_OPEN_FILES = 8
"""How many recordings are open at the same time: enough to decode ahead of the service on any machine."""

PROGRESS_S = 10.0
PROGRESS_ON_TERMINAL_S = 0.5

LONGEST_CLIP_FRAMES = 64
LONGEST_LATENCY_S = 15.0

MAX_OUTAGE_S = 60.0
"""How long the service may be away if no source is live; live sources wait without limit."""


def run(settings: Settings) -> int:
    """Classify the clips of all sources until all have ended, or until SIGTERM; returns the exit code.

    Raises ConsumerError for errors that are found before any source is read.
    """
    tally = Tally(settings.sources)
    if settings.output.evidence.directory is not None:
        if settings.reading.backend == "deepstream":
            # Its frames come decoded, without the camera's own video.
            raise BackendMissingError("the deepstream backend cannot save --evidence", "use --backend pyav")
        prepare_directory(settings.output.evidence.directory, "--evidence")
    # Checked before waiting for the service, so that a wrong path is reported at once.
    readable = _readable(settings, tally)
    saved_clips = (
        None
        if settings.output.save_clips is None
        else SavedClips(settings.output.save_clips, settings.output.retention)
    )
    if settings.output.json:
        check_standard_output()
    sinks = [open_sink(target) for target in settings.output.events]
    metrics = Metrics()
    if settings.output.metrics_port is not None:
        metrics.serve(settings.output.metrics_host, settings.output.metrics_port)
    return asyncio.run(_consume(replace(settings, sources=readable), metrics, saved_clips, sinks, tally))


def _readable(settings: Settings, tally: Tally) -> tuple[Source, ...]:
    """The sources without those that turn out unreadable before the first readable one; these are logged.

    The others are found unreadable at their turn: to open thousands of files here would delay the first answer. Raises
    SourceError if no source can be read, and BackendMissingError.
    """
    for index, source in enumerate(settings.sources):
        try:
            check_source(source, settings.reading)
        except BackendMissingError:
            raise
        except SourceError as error:
            if index == len(settings.sources) - 1:
                raise
            _log_failure(source, error, tally)
        else:
            return settings.sources[index:]
    return ()


def _log_failure(source: Source, error: ConsumerError, tally: Tally) -> None:
    logger.error(str(error), extra={"source": source.name})
    tally.ended(source, failed=True)


async def _consume(
    settings: Settings, metrics: Metrics, saved_clips: SavedClips | None, sinks: list[Sink], tally: Tally
) -> int:
    main = asyncio.current_task()
    assert main is not None  # noqa: S101 for the type checker
    stopped = asyncio.Event()

    def stop() -> None:
        stopped.set()
        main.cancel()

    with contextlib.suppress(NotImplementedError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop)
    try:
        return await _run_feeds(settings, metrics, saved_clips, sinks, tally)
    except asyncio.CancelledError:
        if not stopped.is_set():
            raise
        logger.info("stopped")
        return 0


async def _run_feeds(
    settings: Settings, metrics: Metrics, saved_clips: SavedClips | None, sinks: list[Sink], tally: Tally
) -> int:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(_client(settings))
        watch = await stack.enter_async_context(ServiceWatch(client, _max_outage_s(settings), settings.service.model))
        await watch.wait_at_start()
        transports = Transports(client, watch, settings, await chosen_transport(client, watch, settings), metrics)
        stack.callback(tally.log_summary)
        open_files = asyncio.Semaphore(MAX_OPEN_FILES)
        shared = Shared(watch, open_files, metrics, lambda: clipping(settings.sampling, watch.model))
        channels = [await stack.enter_async_context(EventChannel(sink, metrics)) for sink in sinks]
        feeds = list(_feeds(settings, tuple(channels), saved_clips, transports, shared, tally))
        shows_progress = settings.output.log_format == "text" and on_terminal()
        codes = await _all(feeds, channels, tally, PROGRESS_ON_TERMINAL_S if shows_progress else PROGRESS_S)
    # What no source could be read from is a wrong argument; a broken file among others is one that was skipped.
    return max(codes) if all(codes) else int(tally.any_failed)


def clipping(sampling: Sampling, model: Model | None) -> Clipping:
    """Complete the sampling settings with the values of ``model``."""
    model = model or DEFAULT_MODEL
    frames = sampling.frames or model.frames
    short_edge_px = sampling.short_edge_px
    if short_edge_px is None:
        short_edge_px = model.short_edge_px or DEFAULT_MODEL.short_edge_px or 0
    return Clipping(Shape(frames, sampling.fps, sampling.clip_stride or frames), short_edge_px, sampling.max_gap_s)


async def _all(feeds: list[Feed], channels: list[EventChannel], tally: Tally, progress_interval_s: float) -> list[int]:
    """Run all feeds until they end; returns their exit codes. Raises the error of an output that fails for good."""
    tasks = [asyncio.create_task(_run_feed(feed, tally)) for feed in feeds]
    codes = asyncio.gather(*tasks)
    progress = asyncio.create_task(tally.log_progress(progress_interval_s))
    deliveries = [channel.delivery for channel in channels]
    try:
        watched: list[asyncio.Future[Any]] = [codes, *deliveries]
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        for delivery in deliveries:
            if delivery.done():
                delivery.result()
        return await codes
    finally:
        for task in (progress, *tasks):
            task.cancel()
        await asyncio.gather(codes, progress, *tasks, return_exceptions=True)


async def _run_feed(feed: Feed, tally: Tally) -> int:
    """Run one feed and return its exit code; its failure is logged and does not stop the other feeds.

    Raises OutputError, BrokenPipeError and ServiceAwayError: an output that fails for good and a service that does not
    return end all feeds.
    """
    fields = {"source": feed.source.name}
    try:
        await feed.run()
    except (OutputError, BrokenPipeError, ServiceAwayError):
        raise
    except ConsumerError as error:
        _log_failure(feed.source, error, tally)
        return error.exit_code
    except Exception:
        logger.exception("source failed, please report this error", extra=fields)
        tally.ended(feed.source, failed=True)
        return 1
    tally.ended(feed.source, failed=False)
    logger.info("done", extra=fields | {"clips": feed.classified})
    return 0


def _feeds(
    settings: Settings,
    channels: tuple[EventChannel, ...],
    saved_clips: SavedClips | None,
    transports: Transports,
    shared: Shared,
    tally: Tally,
) -> Iterator[Feed]:
    for source in settings.sources:
        report = _report(source, settings, channels, saved_clips, shared.metrics, tally)
        yield Feed(
            source,
            settings.reading,
            settings.service.queue,
            settings.service.in_flight,
            settings.output.rules.timeout_s,
            report,
            *transports.of(source),
            shared,
        )


def _report(
    source: Source,
    settings: Settings,
    channels: tuple[EventChannel, ...],
    saved_clips: SavedClips | None,
    metrics: Metrics,
    tally: Tally,
) -> Report:
    evidence = _evidence(source, settings, metrics)
    return Report(source, settings.output.json, settings.output.rules, channels, saved_clips, evidence, metrics, tally)


def _evidence(source: Source, settings: Settings, metrics: Metrics) -> Evidence | None:
    """What saves the actions of ``source``; a directory of images has its own."""
    output, sampling = settings.output, settings.sampling
    if output.evidence.directory is None or source.kind is Kind.IMAGES:
        return None
    footage = None
    if source.live:
        # An action is known after so many clips, and their answers.
        clip_s = max(sampling.clip_stride or 0, sampling.frames or LONGEST_CLIP_FRAMES) / sampling.fps
        footage = Footage(output.evidence.before_s + (output.rules.clips + 1) * clip_s + LONGEST_LATENCY_S)
    return Evidence(source, output.evidence.directory, output.evidence, output.retention, footage, metrics)


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
