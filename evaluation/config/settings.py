"""All settings of ``evaluate`` in one frozen object; ``flags.py`` reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from archive.decoding.job import Sampling


@dataclass(frozen=True, slots=True)
class Settings:
    """See ``python -m evaluation --help``.

    ``annotations`` is None where the directories of ``videos`` name the actions. Without ``bundles`` it is the default
    one. ``heads`` are directories of heads. ``decoders`` of 0 are one for each core.
    """

    videos: Path
    annotations: Path | None
    bundles: tuple[Path, ...]
    heads: tuple[Path, ...]
    out: Path | None
    json: bool
    device: str | None
    decoders: int
    cache: Path
    sampling: Sampling = field(default_factory=Sampling)

    @property
    def views(self) -> str:
        """How often each video is seen, for people."""
        views = self.sampling.views
        if views is None:
            return "one view"
        return f"{views.segments} x {views.crops} views ({views.segments} segments, {views.crops} crops each)"
