"""Reloads the engine on SIGHUP or when the bundle on disk changes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from server.serving.fingerprint import fingerprint
from server.serving.loader import Loader


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
