"""Where benchmarks keep what takes long to make: ``$XDG_CACHE_HOME/vjepa2-serve/bench``."""

from __future__ import annotations

import os
from pathlib import Path


def cache(name: str) -> Path:
    """A place for ``name``, which may not be there yet; its parent is."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = home / "vjepa2-serve" / "bench" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    return place
