"""All settings of ``teach`` in one frozen object; ``flags.py`` reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from archive.decoding.job import Sampling


@dataclass(frozen=True, slots=True)
class Settings:
    """See ``python -m teaching --help``.

    ``background`` is None where only ``examples`` may hold one. The head ``name`` is written into
    ``heads``. ``false_alarms`` is a share. ``decoders`` of 0 are one for each core.
    """

    name: str
    examples: Path
    background: Path | None
    false_alarms: float
    bundle: Path
    device: str | None
    heads: Path
    json: bool
    decoders: int
    cache: Path
    sampling: Sampling

    @property
    def head(self) -> Path:
        """Where the head is written."""
        return self.heads / self.name
