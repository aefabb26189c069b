"""The rivals' own virtual environment, made once; nothing of it touches ours."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

from tests.latency.cache import cache

_PINS = Path(__file__).with_name("requirements.txt")


def rivals_python(packages: Sequence[str]) -> Path:
    """An interpreter that has ``packages``, in the versions of ``requirements.txt``."""
    wanted = f"{sys.version}\n{' '.join(packages)}\n{_PINS.read_text()}"
    place = cache(f"rivals-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}")
    python, done = place / "bin" / "python", place / "installed"
    if not done.exists():
        print(f"installing {', '.join(packages)} into {place} ...", file=sys.stderr, flush=True)
        shutil.rmtree(place, ignore_errors=True)
        venv.create(place, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--constraint", str(_PINS), *packages], check=True)
        done.touch()
    return python


def pinned_versions() -> dict[str, str]:
    """Of the rivals themselves."""
    pins = dict(line.split("==") for line in _PINS.read_text().split())
    return {name: pins[name] for name in ("fastapi", "uvicorn", "litserve", "mosec", "bentoml")}
