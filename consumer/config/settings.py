"""Everything that can be set, in one frozen object; ``consumer/flags.py`` says where from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from consumer.client.async_client import DEFAULT_URL
from consumer.client.encodings import JPEG_QUALITY, Encoding
from consumer.feeds.reader import Reading
from consumer.output.events import Rules
from consumer.output.log import LogFormat
from consumer.sources.source import Source


@dataclass(frozen=True, slots=True)
class Sampling:
    """How clips are cut; ``None`` takes what the service's model or the source asks for."""

    fps: float = 3.0
    frames: int | None = None
    clip_stride: int | None = None
    max_gap_s: float | None = None
    short_edge_px: int | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """Where clips go and how; ``None`` of ``wait_s`` depends on whether there are live sources."""

    url: str = DEFAULT_URL
    api_key: str | None = field(default=None, repr=False)
    encoding: Encoding | None = None
    jpeg_quality: int = JPEG_QUALITY
    top_k: int | None = None
    wait_s: float | None = None
    timeout_s: float = 60.0
    retries: int = 5
    in_flight: int = 4
    queue: int = 2


@dataclass(frozen=True, slots=True)
class Output:
    """What is made of answers, beside a log line each."""

    json: bool = False
    log_format: LogFormat = "text"
    events: tuple[str, ...] = ()
    rules: Rules = field(default_factory=Rules)
    save_clips: Path | None = None
    metrics_port: int | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """See ``python -m consumer --help``; the defaults are those of its flags."""

    sources: tuple[Source, ...]
    sampling: Sampling = field(default_factory=Sampling)
    reading: Reading = field(default_factory=Reading)
    service: Service = field(default_factory=Service)
    output: Output = field(default_factory=Output)
