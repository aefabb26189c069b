"""Decoder processes that work on many videos, one each."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from archive.decoding.buffer import Buffer
from archive.decoding.job import Sampling
from archive.decoding.limits import Limits
from archive.decoding.process import DecodedWindow, DecoderProcess
from archive.errors import ArchiveError
from archive.video import Ended, Video
from engines.engine import Model
from video.errors import VideoError

Decoded = tuple[Video, DecodedWindow] | Ended


class DecoderPool:
    """Decodes ``videos`` for ``model`` with ``decoders`` processes, at most ``ahead`` windows ahead of ``decoded``.

    A video whose decoder dies is one that failed. With one decoder, it uses all cores; several use one each,
    which costs less than many threads for each.
    """

    def __init__(
        self, videos: Iterable[Video], model: Model, sampling: Sampling, *, decoders: int, ahead: int, limits: Limits
    ) -> None:
        self._videos = iter(videos)
        self._taking = threading.Lock()
        self._model = model
        self._sampling = sampling
        self._threads_each = 0 if decoders == 1 else 1
        self._stopped = False
        self.decoded = Buffer[Decoded](ahead, decoders)
        self._processes = [DecoderProcess(model.allocate, limits) for _ in range(decoders)]
        self._threads = [threading.Thread(target=self._run, args=(each,), daemon=True) for each in self._processes]

    def start(self) -> None:
        """Start decoding."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the processes; what was decoded and not taken is discarded."""
        self._stopped = True
        self.decoded.close()
        for process in self._processes:
            process.kill()
        for thread in self._threads:
            thread.join()

    def _run(self, process: DecoderProcess) -> None:
        error: BaseException | None = None
        try:
            while not self._stopped and (video := self._next_video()) is not None:
                self.decoded.put(Ended(video, self._decode(video, process)))
        except BaseException as failure:  # raised again where the windows are taken
            error = failure
        finally:
            process.close()
            self.decoded.end(error)

    def _next_video(self) -> Video | None:
        with self._taking:
            return next(self._videos, None)

    def _decode(self, video: Video, process: DecoderProcess) -> VideoError | ArchiveError | None:
        try:
            job = self._sampling.job(video.fetch(), video.name, self._model.manifest, self._threads_each)
            for window in process.windows(job):
                if not self.decoded.put((video, window)):
                    return None
        except (VideoError, ArchiveError) as error:
            return error
        finally:
            video.release()
        return None
