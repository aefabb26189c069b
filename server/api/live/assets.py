"""The files of the page, read once, under an address that changes with their content."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

_DIRECTORY = Path(__file__).parent / "assets"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".webm": "video/webm"}
_COMPRESSED = (".js", ".css", ".svg")
_DIGEST_CHARACTERS = 12


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent; ``compressed`` is None where gzip would gain nothing."""

    content_type: str
    content: bytes
    compressed: bytes | None


@dataclass(frozen=True, slots=True)
class Assets:
    """``digest`` covers all files, because the modules name each other by relative addresses; ``html`` is the page."""

    digest: str
    html: str
    files: dict[str, Asset]


def read_assets() -> Assets:
    """Read the files of this package."""
    paths = {path.relative_to(_DIRECTORY).as_posix(): path for path in sorted(_DIRECTORY.rglob("*.*"))}
    sha256 = hashlib.sha256()
    files = {}
    for name, path in paths.items():
        if path.suffix in _TYPES:
            content = path.read_bytes()
            sha256.update(name.encode() + b"\0" + content + b"\0")
            files[name] = _asset(path.suffix, content)
    digest = sha256.hexdigest()[:_DIGEST_CHARACTERS]
    return Assets(digest, paths["page.html"].read_text().replace("{digest}", digest), files)


def _asset(suffix: str, content: bytes) -> Asset:
    compressed = gzip.compress(content, mtime=0) if suffix in _COMPRESSED else None
    return Asset(_TYPES[suffix], content, compressed)
