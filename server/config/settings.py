"""All settings of the service in one frozen object; ``server/config/flags.py`` reads them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from commandline.hosts import is_loopback
from engines.device.cuda_driver import device_names
from engines.linear_heads.storage import HEADS
from engines.options import EngineOptions, Graphs
from server.config.model_sources import ModelSource

LogFormat = Literal["auto", "json", "text"]
MIB = 2**20
# The longest deadline that a client may set with X-Deadline-Ms.
LONGEST_DEADLINE_MS = 600_000


@dataclass(frozen=True)
class Settings:
    """The settings of ``python -m server``, which ``--help`` explains; the defaults here are those of the flags.

    The first of ``models`` is the default. ``directories`` are those of bundles, from which more may be loaded.
    ``bundle_reason`` says why the only model was taken, and is None where the user named it.
    """

    models: tuple[ModelSource, ...]
    directories: tuple[Path, ...] = ()
    bundle_reason: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    max_connections: int = 1024
    max_streams: int = 256
    previews: bool = True
    header_timeout_s: int = 10
    body_timeout_s: int = 30
    write_timeout_s: int = 30
    keepalive_timeout_s: int = 75
    cors_origins: tuple[str, ...] = ()
    api_key_file: Path | None = None
    rate_limit: str | None = None
    v2_shared_memory: bool = False
    devices: tuple[str, ...] = ()
    lanes: int = 0
    cuda_graphs: Graphs = "whole"
    threads: int = 0
    decode_threads: int = 0
    decode_timeout_ms: int = 10_000
    batch_wait_ms: int = 0
    engine_timeout_ms: int = 60_000
    bundle_poll_s: int = 2
    canary_s: int = 60
    swap_clips: int = 16
    swap_max_disagreement: float = 1.0
    heads: Path = HEADS
    teaching: Path | None = None
    bundle_sha256: tuple[str, ...] = ()
    trust_writable_bundles: bool = False
    deadline_ms: int = 30_000
    queue_size: int = 64
    max_inflight_bytes: int = 512 * MIB
    max_body_bytes: int = 64 * MIB
    max_clip_bytes: int = 128 * MIB
    device_ring_bytes: int = 128 * MIB
    video: bool | None = None
    max_videos: int = 2
    max_video_bytes: int = 512 * MIB
    video_timeout_s: int = 600
    drain_delay_s: int = 0
    drain_timeout_s: int = 30
    log_format: LogFormat = "auto"
    log_level: str = "info"
    tracing: bool = False

    @property
    def takes_videos(self) -> bool:
        """Whether whole videos are accepted: as the user says, else where only this machine can send them."""
        return is_loopback(self.host) if self.video is None else self.video

    def engines(self) -> tuple[EngineOptions, ...]:
        """The options of the engines, one for each device; raises ConfigurationError if a device does not exist.

        Of a model only the first engine gets page-locked memory, because all clips are decoded into its memory,
        whichever engine will read them. Several models share what all requests may hold.
        """
        page_locked_bytes = max(self.max_clip_bytes, self.max_inflight_bytes // len(self.models))
        first, *others = (
            EngineOptions(
                threads=self.threads,
                device=device,
                max_clip_bytes=self.max_clip_bytes,
                page_locked_bytes=page_locked_bytes,
                ring_bytes=self.device_ring_bytes,
                lanes=self.lanes,
                graphs=self.cuda_graphs,
                bundle_sha256=self.bundle_sha256,
                trust_writable_bundles=self.trust_writable_bundles,
            )
            for device in device_names(self.devices)
        )
        return first, *(replace(other, page_locked_bytes=0) for other in others)
