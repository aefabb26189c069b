"""Reloads the engine on SIGHUP or when the bundle on disk changes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from server.serving.loader import Loader

Fingerprint = tuple[tuple[str, int, int, int], ...]


async def reload_on_demand(loader: Loader, demanded: asyncio.Event) -> None:
    """Reload whenever ``demanded`` is set. Reloads run one after the other, and each demand causes only one."""
    while True:
        await demanded.wait()
        demanded.clear()
        await loader.reload()


async def watch_bundle(path: Path, every_s: float, changed: asyncio.Event) -> None:
    """Set ``changed`` when the files in ``path`` differ from those in service and were stable for ``every_s``."""
    served = seen = await asyncio.to_thread(fingerprint, path)
    while True:
        await asyncio.sleep(every_s)
        now = await asyncio.to_thread(fingerprint, path)
        if now and now == seen and now != served:
            served = now
            changed.set()
        seen = now


def fingerprint(path: Path) -> Fingerprint:
    """Name, inode, size in bytes and modification time in nanoseconds of each file; empty if ``path`` is unreadable.

    Hidden files are no part of a bundle: runtimes keep their caches there, and manifests are written there first. A
    file that cannot be seen, such as a link whose target is gone, has zeros, so that the others are still compared.
    """
    try:
        files = sorted(file for file in path.iterdir() if not file.name.startswith("."))
        return tuple((file.name, *_state(file)) for file in files)
    except OSError:
        return ()


def _state(file: Path) -> tuple[int, int, int]:
    try:
        stat = file.stat()
    except OSError:
        return 0, 0, 0
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
