"""Chooses how the clips of the sources travel, and makes what carries them."""

from __future__ import annotations

import logging
from dataclasses import replace

from consumer.client.async_client import AsyncClient
from consumer.client.stream_messages import StreamOptions
from consumer.config.settings import Settings
from consumer.errors import ServiceUnreachableError, TransportError
from consumer.feeds.sender import Counters, Sender
from consumer.feeds.service_watch import ServiceWatch
from consumer.feeds.transport import FrameStream, Posts, Transport, TransportKind
from consumer.sources.source import Source

logger = logging.getLogger(__name__)

# Other rates are told as one frame a second: the times on a stream are those of its ticks anyway.
_LEAST_FPS, _MOST_FPS = 0.1, 100.0


async def chosen_transport(client: AsyncClient, watch: ServiceWatch, settings: Settings) -> TransportKind:
    """The transport of ``settings``; without one, streams if the service has them. Raises ServiceError, TransportError.

    The service is asked once, and the log says what was chosen.
    """
    service = settings.service
    kind: TransportKind
    if service.sending == "clips" or service.encoding == "json":
        # Services that accept nothing but JSON have no streams.
        kind, why = "clips", "as set"
    elif await _has_streams(client, watch):
        kind, why = "stream", "the service has streams" if service.sending is None else "as set"
    elif service.sending == "stream" or service.still == "skip":
        raise TransportError(client.url)
    else:
        kind, why = "clips", "the service has no streams"
    logger.info("transport", extra={"transport": kind, "reason": why})
    return kind


async def _has_streams(client: AsyncClient, watch: ServiceWatch) -> bool:
    while True:
        outages = watch.outages
        try:
            return await client.has_streams()
        except ServiceUnreachableError:
            # Ready a moment ago, so this is the beginning of an outage, or one request that was lost.
            await watch.was_away(outages)


class Transports:
    """Makes the sender and the transport of each source."""

    def __init__(
        self, client: AsyncClient, watch: ServiceWatch, settings: Settings, kind: TransportKind, counters: Counters
    ) -> None:
        self._client, self._watch, self._settings, self._kind, self._counters = client, watch, settings, kind, counters
        self._shared = (
            self._sender(),
            Posts(client, settings.service.top_k, settings.service.head, settings.service.model),
        )

    def of(self, source: Source) -> tuple[Sender, Transport]:
        """Clips share a limit of requests; each source has a stream of its own."""
        if self._kind == "clips":
            return self._shared
        stream = FrameStream(self._client, stream_options(source, self._settings), self._settings.service.timeout_s)
        return self._sender(), stream

    def _sender(self) -> Sender:
        service = self._settings.service
        return Sender(self._watch, service.in_flight, service.retries, self._counters)


def stream_options(source: Source, settings: Settings) -> StreamOptions:
    """The hello for ``source``: nothing of a recording is skipped, while a camera is answered about now."""
    service, sampling, rules = settings.service, settings.sampling, settings.output.rules
    options = StreamOptions(
        name=source.name[:128],
        model=service.model,
        fps=sampling.fps if _LEAST_FPS <= sampling.fps <= _MOST_FPS else 1.0,
        stride=sampling.clip_stride,
        top_k=service.top_k,
        policy="latest" if source.live else "wait",
        head=service.head,
        weight=service.weight,
    )
    if service.still != "skip":
        return options
    return replace(
        options,
        still="skip",
        still_check=service.still_check,
        still_threshold=service.still_threshold,
        event_threshold=rules.threshold,
        event_labels=rules.labels,
    )
