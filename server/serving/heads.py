"""The heads in service: found in a directory, checked, and replaced as a whole whenever their files change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from engines.errors import HeadError
from engines.linear_heads.head import Head
from engines.linear_heads.storage import heads_in, open_head
from engines.manifest import Manifest
from server.serving.fingerprint import Fingerprint, fingerprint

_log = logging.getLogger(__name__)


class Heads:
    """All heads of ``directory``, whichever network they were taught on.

    Invariants: all attributes belong to the event loop. ``_heads`` and what is made of it are replaced and never
    changed, so that a request that took them keeps what it took. A head whose files become bad stays as it was.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._heads: dict[str, Head] = {}
        self._seen: dict[str, Fingerprint] = {}
        self._loaded: dict[str, Fingerprint] = {}
        self._fitting: dict[str, Mapping[str, Head]] = {}
        self.refused: dict[str, str] = {}

    def fitting(self, identity: str | None) -> Mapping[str, Head]:
        """The heads, by name, that were taught on the features of that identity; none for None."""
        return self._fitting.get(identity or "", MappingProxyType({}))

    def total(self) -> int:
        """The number of heads that could be loaded, of any network."""
        return len(self._heads)

    def tell_fitting(self, identity: str | None, manifest: Manifest) -> None:
        """Log which heads the model of ``manifest`` serves, and which of them were taught on another network."""
        for name, head in sorted(self._heads.items()):
            if head.manifest.features != identity:
                taught_on = head.manifest.model
                _log.warning("head not served", extra={"head": name, "taught_on": taught_on, "bundle": manifest.name})

    async def load(self) -> None:
        """Load the heads as they are now."""
        await self._look(settled=True)

    async def watch(self, every_s: float) -> None:
        """Load heads again and again as they come, change and go, once their files were stable for ``every_s``."""
        while True:
            await asyncio.sleep(every_s)
            await self._look(settled=False)

    async def _look(self, *, settled: bool) -> None:
        found = await asyncio.to_thread(_fingerprints, self._directory)
        stable = {name for name, files in found.items() if settled or self._seen.get(name) == files}
        changed = sorted(name for name in stable if self._loaded.get(name) != found[name])
        # A head that is being replaced is away for a moment, so that one look does not tell that it is gone.
        gone = self._loaded.keys() - found.keys() - (set() if settled else self._seen.keys())
        self._seen = found
        if not changed and not gone:
            return
        opened = {name: await asyncio.to_thread(_opened, self._directory / name) for name in changed}
        loaded = {name: files for name, files in self._loaded.items() if name not in gone}
        self._loaded = loaded | {name: found[name] for name in changed}
        self._put(opened, gone)

    def _put(self, opened: Mapping[str, Head | HeadError], gone: set[str]) -> None:
        heads = {name: head for name, head in self._heads.items() if name not in gone}
        self.refused = {name: why for name, why in self.refused.items() if name not in gone and name not in opened}
        for name, found in opened.items():
            if isinstance(found, HeadError):
                self.refused[name] = str(found)
                _log.error("head refused", extra={"head": name, "error": str(found), "kept": name in heads})
            else:
                heads[name] = found
                _log.info("head loaded", extra={"head": name, "labels": len(found.manifest.labels)})
        for name in sorted(gone):
            _log.info("head gone", extra={"head": name})
        self._heads = heads
        by_identity: dict[str, dict[str, Head]] = {}
        for name, head in sorted(heads.items()):
            by_identity.setdefault(head.manifest.features, {})[name] = head
        self._fitting = {identity: MappingProxyType(fitting) for identity, fitting in by_identity.items()}


def _fingerprints(directory: Path) -> dict[str, Fingerprint]:
    return {path.name: fingerprint(path) for path in heads_in(directory)} if directory.is_dir() else {}


def _opened(path: Path) -> Head | HeadError:
    try:
        return open_head(path)
    except HeadError as error:
        return error
