"""``POST /api/v1/video``: labels a video file, and answers a line for each window as it is classified."""

from __future__ import annotations

import asyncio
import importlib.util
import tempfile
from contextlib import aclosing
from pathlib import Path

import msgspec
from aiohttp import hdrs, web

from engines.errors import ServiceError
from server.api.answers import top_predictions
from server.api.video_answers import ErrorLine, Line, RecordingEnded, SegmentLine, WindowLine
from server.clips.lease import Lease
from server.errors import DeadlineError, ForbiddenError, OverloadedError, UnsupportedMediaError, shown
from server.http.context import LOG_FIELDS, SERVICE
from server.http.problem import problem_of
from server.http.request_body import RequestBody
from server.recordings.classification import RecordingClassification
from server.recordings.request import parse_recording_request
from server.serving.deadline import limited
from server.serving.service import Service
from server.serving.use_count import UseCount

NDJSON = "application/x-ndjson"
RECORDINGS: web.AppKey[UseCount] = web.AppKey("recordings", UseCount)
"""The videos that are being received or labelled."""

_ACCEPTED = "video/mp4, video/webm, video/x-matroska or another video type, or application/octet-stream"
_RETRY_S = 5


async def video(request: web.Request) -> web.StreamResponse:
    """Receive the video into a file, then answer its windows, and at its end the segments."""
    service = request.app[SERVICE]
    settings = service.settings
    _check_offered(service)
    _check_type(request)
    asked = parse_recording_request(request.query.items())
    served = service.models.asked(asked.model)
    request[LOG_FIELDS]["model"] = served.name
    if request.app[RECORDINGS].users >= settings.max_videos:
        raise OverloadedError(f"{settings.max_videos} videos are in the service already", retry_after_s=_RETRY_S)
    late = DeadlineError(f"the video was not labelled within {settings.video_timeout_s} s (--video-timeout-s)")
    with (
        request.app[RECORDINGS].used(),
        Lease() as lease,
        tempfile.TemporaryDirectory(prefix="vjepa-video-") as scratch,
    ):
        labelling = RecordingClassification(service, served, asked, lease)
        path = Path(scratch) / "video"
        answer = _Answer(request, labelling)
        try:
            async with limited(asyncio.timeout(settings.video_timeout_s), late):
                await _receive(request, service, lease, path)
                await answer.send(path, settings.video_timeout_s)
        except ServiceError as error:
            return await answer.fail(error)
        except ConnectionError:  # the client has left
            answer.response.force_close()
    return answer.response


def _check_offered(service: Service) -> None:
    """Raises ForbiddenError where videos are off or cannot be read."""
    if not service.settings.takes_videos:
        raise ForbiddenError("videos are not accepted here; start the service with --video")
    if importlib.util.find_spec("av") is None:
        raise ForbiddenError("videos cannot be read here: PyAV is not installed; help: pip install av")


def _check_type(request: web.Request) -> None:
    kind = request.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
    if not (kind.startswith("video/") or kind == "application/octet-stream"):
        raise UnsupportedMediaError(f"Content-Type is {shown(kind)}; accepted: {_ACCEPTED}", field="Content-Type")


async def _receive(request: web.Request, service: Service, lease: Lease, path: Path) -> None:
    settings = service.settings
    with Lease() as receiving:
        memory = receiving.take(service.admission.request_memory())
        body = RequestBody(
            request, settings.max_video_bytes, settings.video_timeout_s, memory, lease, service.decode_threads
        )
        with path.open("wb") as file:
            await body.write_to(file)


class _Answer:
    """The answer to one request: the lines of ``labelling``, as they come."""

    def __init__(self, request: web.Request, labelling: RecordingClassification) -> None:
        self._request = request
        self._labelling = labelling
        self.response = web.StreamResponse(headers={hdrs.CACHE_CONTROL: "no-store", "X-Accel-Buffering": "no"})
        self.response.content_type = NDJSON

    async def send(self, path: Path, cpu_s: int) -> None:
        """Send the lines of the video in ``path``; what is wrong before the first window is raised as for clips."""
        labelling = self._labelling
        async with aclosing(labelling.run(path, cpu_s)) as windows:
            async for window in windows:
                predictions = top_predictions(window.probabilities, labelling.labels, labelling.top_k)
                await self._write(WindowLine(window.start_s, window.end_s, predictions))
        found = await asyncio.to_thread(labelling.segments)
        for each in found:
            await self._write(SegmentLine(each.start_s, each.end_s, each.label, round(each.confidence, 6)))
        count = len(labelling.windows)
        await self._write(RecordingEnded(labelling.served.name, labelling.asked.head, count, len(found)))
        self._request[LOG_FIELDS] |= {"windows": count, "segments": len(found)}
        await self.response.write_eof()

    async def fail(self, error: ServiceError) -> web.StreamResponse:
        """Tell ``error`` in a last line, or raise it where nothing was sent yet."""
        if not self.response.prepared:
            raise error
        self._request[LOG_FIELDS] |= {"windows": len(self._labelling.windows), "error": str(error)}
        await self._write(ErrorLine(problem_of(error)))
        await self.response.write_eof()
        return self.response

    async def _write(self, line: Line) -> None:
        if not self.response.prepared:
            await self.response.prepare(self._request)
        await self.response.write(msgspec.json.encode(line) + b"\n")
