"""All settings of the consumer in one frozen object; ``flags.py`` reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from consumer.client.async_client import DEFAULT_URL
from consumer.client.encodings import JPEG_QUALITY, Encoding
from consumer.client.stream_messages import Still
from consumer.feeds.reader import Reading
from consumer.feeds.transport import TransportKind
from consumer.output.events import Rules
from consumer.output.evidence import EvidenceRules
from consumer.output.log import LogFormat
from consumer.output.retention import Retention
from consumer.sources.source import Source


@dataclass(frozen=True, slots=True)
class Sampling:
    """How clips are sampled; ``None`` means the value that suits the service's model or the source."""

    fps: float = 3.0
    frames: int | None = None
    clip_stride: int | None = None
    max_gap_s: float | None = None
    short_edge_px: int | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """The service and how clips are sent to it; ``wait_s`` of ``None`` means 60, or no limit with live sources.

    ``sending`` of ``None`` means stream where the service has streams, else clips. ``still_check`` is the share of the
    windows skipped by ``still`` that are classified all the same, ``still_threshold`` how many grey levels move at
    least in a window that is not skipped, ``weight`` the share of each stream of the engine; ``None`` is the service's
    own.
    """

    url: str = DEFAULT_URL
    api_key: str | None = field(default=None, repr=False)
    encoding: Encoding | None = None
    jpeg_quality: int = JPEG_QUALITY
    top_k: int | None = None
    head: str | None = None
    model: str | None = None
    wait_s: float | None = None
    timeout_s: float = 60.0
    retries: int = 5
    sending: TransportKind | None = None
    still: Still | None = None
    still_check: float | None = None
    still_threshold: float | None = None
    weight: float | None = None
    in_flight: int = 4
    queue: int = 2


@dataclass(frozen=True, slots=True)
class Output:
    """The outputs for each answer, in addition to its log line."""

    json: bool = False
    log_format: LogFormat = "text"
    events: tuple[str, ...] = ()
    rules: Rules = field(default_factory=Rules)
    evidence: EvidenceRules = field(default_factory=EvidenceRules)
    save_clips: Path | None = None
    retention: Retention = field(default_factory=Retention)
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Settings:
    """See ``python -m consumer --help``; the defaults are those of its flags."""

    sources: tuple[Source, ...]
    sampling: Sampling = field(default_factory=Sampling)
    reading: Reading = field(default_factory=Reading)
    service: Service = field(default_factory=Service)
    output: Output = field(default_factory=Output)
