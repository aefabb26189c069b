"""The windows of a video file, decoded in a process of its own, for the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

from archive.decoding.job import Job
from archive.decoding.limits import Limits
from archive.decoding.process import DecodedWindow, DecoderProcess
from archive.errors import ArchiveError
from engines.engine import Model
from server.errors import UnreadableError
from video.errors import VideoError

# What a decoder may use, however the video is made. 8K takes 1.4 GiB, and an idle decoder has 1 GiB reserved.
_MEMORY_BYTES = 4 * 2**30
_OPEN_FILES = 64
_SILENCE_S = 60.0
# Windows that exist at once: one that is read while one is classified.
_WINDOWS_HELD = 2


def held_bytes(model: Model) -> int:
    """The memory that the windows of one video take at once."""
    manifest = model.manifest
    return _WINDOWS_HELD * manifest.frames * 3 * manifest.preprocessing.crop**2


async def read_windows(path: Path, job: Job, model: Model, cpu_s: int) -> AsyncGenerator[DecodedWindow]:
    """Yield the windows of the file ``path``, one ahead of what is taken; the process may use ``cpu_s`` of CPU time.

    However the generator ends, so does the process.

    Raises:
        UnreadableError: the file is no video, or is damaged, or takes more than a decoder may use.
    """
    limits = Limits(memory_bytes=_MEMORY_BYTES, cpu_s=cpu_s, open_files=_OPEN_FILES)
    process = DecoderProcess(model.allocate, limits, _SILENCE_S)
    windows = process.windows(job)
    ahead: asyncio.Future[DecodedWindow | None] = asyncio.ensure_future(asyncio.to_thread(next, windows, None))
    try:
        while (window := await asyncio.shield(ahead)) is not None:
            ahead = asyncio.ensure_future(asyncio.to_thread(next, windows, None))
            yield window
    except (VideoError, ArchiveError) as error:
        raise UnreadableError(error.what) from None
    finally:
        # A thread cannot be cancelled, but it ends with the process that it reads from.
        process.kill()
        await asyncio.wait({ahead})
        if not ahead.cancelled():
            ahead.exception()
        await asyncio.to_thread(windows.close)
        process.close()
