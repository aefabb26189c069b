"""Decodes the frames of one stream: some ahead of their windows, the others with them."""

from __future__ import annotations

import asyncio

from engines.manifest import Preprocessing
from server.clips.decode_threads import DecodeThreads
from server.clips.lease import Lease
from server.errors import UnreadableError
from server.streams.events import Refused, Tell
from server.streams.frames import Making, ReadyFrame, StreamFrame
from server.streams.options import StreamOptions
from server.streams.pictures import Pictures
from server.streams.sums import Account
from server.streams.window_slot import DueWindow

# So many frames of a stream are decoded ahead of their windows. With more, the stream is late, and the others wait for
# their windows, which may be skipped.
_DECODED_AHEAD = 2


class Decoder:
    """Invariant: belongs to the event loop; ``_running`` holds the frames that are being decoded."""

    def __init__(
        self,
        threads: DecodeThreads,
        options: StreamOptions,
        lease: Lease,
        account: Account,
        tell: Tell,
        pictures: Pictures,
    ) -> None:
        """``lease`` holds what the frames hold; ``pictures`` gets some of the frames."""
        self._threads, self._options, self._lease = threads, options, lease
        self._account, self._tell, self._pictures = account, tell, pictures
        self._running: set[asyncio.Task[ReadyFrame]] = set()

    def begin(self, frame: StreamFrame, preprocessing: Preprocessing) -> None:
        """Decode ``frame`` now if the stream is not late."""
        if len(self._running) < _DECODED_AHEAD:
            self._start(frame, preprocessing)

    async def frames(self, due: DueWindow) -> list[ReadyFrame]:
        """The frames of the window; raises UnreadableError, of which the client is told, if one is damaged."""
        tasks = {frame: self._start(frame, due.takes.preprocessing) for frame in due.frames}
        await asyncio.wait(tasks.values())
        for frame, task in tasks.items():
            if (error := task.exception()) is not None:
                await self._report(frame, error)
                raise error
        due.decoded_s = asyncio.get_running_loop().time()
        return [tasks[frame].result() for frame in due.frames]

    def close(self) -> None:
        """Decode no more frames, because nobody waits for their windows."""
        for task in tuple(self._running):
            task.cancel()

    def _start(self, frame: StreamFrame, preprocessing: Preprocessing) -> asyncio.Task[ReadyFrame]:
        if frame.task is not None:
            return frame.task
        with_cells = self._options.still is not None
        pictures = self._pictures if self._pictures.due() else None
        how = Making(self._options.pixel_format, preprocessing, with_cells, pictures)
        task = frame.start(how, self._threads, self._lease)
        self._running.add(task)
        task.add_done_callback(self._decoded)
        return task

    def _decoded(self, task: asyncio.Task[ReadyFrame]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is None:
            self._account.frame_used()

    async def _report(self, frame: StreamFrame, error: BaseException) -> None:
        """Tell the client once that ``frame`` is at fault."""
        if isinstance(error, UnreadableError) and not frame.reported:
            frame.reported = True
            self._account.frame_refused()
            await self._tell(Refused(error, frame.time_s))
