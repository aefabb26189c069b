"""All settings of ``label`` in one frozen object; ``flags.py`` reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from archive.decoding.job import Sampling
from archive.segments import Rules
from engines.linear_heads.storage import HEADS

OutputFormat = Literal["json", "csv", "vtt", "parquet"]


@dataclass(frozen=True, slots=True)
class Settings:
    """See ``python -m archive --help``.

    ``bundle`` is None for the default bundle. ``decoders`` of 0 are one for each core, but not more than videos.
    ``head`` names a head in place of the model's own labels: in the directory ``heads``, or of the service at the URL
    ``service``, which is asked with ``api_key``. ``ray`` is None without Ray, and an empty text for a cluster of this
    machine.
    """

    videos: tuple[str, ...]
    out: str | None = None
    formats: tuple[OutputFormat, ...] = ()
    annotate: bool = False
    bundle: Path | None = None
    head: str | None = None
    heads: Path = HEADS
    service: str | None = None
    api_key: str | None = field(default=None, repr=False)
    device: str | None = None
    decoders: int = 0
    sampling: Sampling = field(default_factory=Sampling)
    rules: Rules = field(default_factory=Rules)
    ray: str | None = None
    ray_cores: int = 4
