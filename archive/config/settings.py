"""All settings of ``label`` in one frozen object; ``flags.py`` reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from archive.decoding.job import Sampling
from archive.segments import Rules

OutputFormat = Literal["json", "csv", "vtt", "parquet"]


@dataclass(frozen=True, slots=True)
class Settings:
    """See ``python -m archive --help``.

    ``bundle`` is None for the default bundle. ``decoders`` of 0 are one for each core, but not more than videos.
    ``ray`` is None without Ray, and an empty text for a cluster of this machine.
    """

    videos: tuple[str, ...]
    out: str | None = None
    formats: tuple[OutputFormat, ...] = ()
    annotate: bool = False
    bundle: Path | None = None
    device: str | None = None
    decoders: int = 0
    sampling: Sampling = field(default_factory=Sampling)
    rules: Rules = field(default_factory=Rules)
    ray: str | None = None
    ray_cores: int = 4
