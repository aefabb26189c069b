"""The asyncio client of the service; ``sync_client`` wraps it for programs without asyncio."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from types import TracebackType
from typing import Self, TypeVar
from uuid import uuid4

import aiohttp
import numpy as np
from aiohttp import hdrs
from numpy.typing import NDArray
from yarl import URL

from consumer.client.answer import Answer, Embedding
from consumer.client.encodings import (
    JPEG_QUALITY,
    Body,
    Encoding,
    Options,
    Picture,
    PixelFormat,
    default_encoding,
    encode_clip,
)
from consumer.client.replies import (
    MOST_ANSWER_BYTES,
    Reply,
    authorization,
    bounded,
    content_of,
    handshake_refusal,
    read_reply,
    reason_of,
    refusal_of,
)
from consumer.client.stream import Frames as StreamFrames
from consumer.client.stream import Stream, answers_of
from consumer.client.stream_messages import StreamAnswer, StreamOptions
from consumer.client.wire import EmbedAnswer, Health, Model, Models, Problem, ServiceInfo
from consumer.errors import ServiceAnswerError, ServiceError, ServiceRefusedError, ServiceUnreachableError
from consumer.retry import Backoff, WaitBudget
from consumer.shown_text import without_credentials

logger = logging.getLogger(__name__)

T = TypeVar("T")

DEFAULT_URL = "http://localhost:8000"
INFER_PATH = "/api/v1/infer"
EMBED_PATH = "/api/v1/embed"
MODELS_PATH = "/api/v1/models"
STREAM_PATH = "/api/v1/stream"
STREAMS_PATH = "/api/v1/streams"
POLL_TIMEOUT_S = 5.0
LONGEST_DEADLINE_MS = 600_000
POLLING = Backoff(first_s=0.2, longest_s=2.0)

Frames = Sequence[Picture] | NDArray[np.uint8]
"""A clip's frames in order: uint8 arrays ``[height, width, 3]`` of one size, or one array of all of them."""


class AsyncClient:
    """A client of the service at ``url``; an async context manager that any number of tasks may use at once.

    ``timeout_s`` limits one request; it is sent to the service as the deadline, so that the service does not compute
    answers that nobody waits for. A clip is sent again up to ``retries`` times while the service cannot be reached or
    answers 408, 425, 429, 502, 503 or 504, after growing pauses or the pause that the service asks for. ``encoding``
    is raw, jpeg or json; ``None`` means raw on loopback and jpeg elsewhere. ``api_key`` is for services with keys;
    without it, user and password of the URL are sent, for example to a proxy. Redirects are not followed.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float = 60.0,
        retries: int = 5,
        encoding: Encoding | None = None,
        jpeg_quality: int = JPEG_QUALITY,
        api_key: str | None = None,
    ) -> None:
        self.url = without_credentials(url).rstrip("/")
        self._timeout_s = timeout_s
        self._retries = retries
        self._encoding: Encoding = encoding or default_encoding(url)
        self._jpeg_quality = jpeg_quality
        # A compressed answer could be a thousand times as long as what arrives; these answers are short anyway.
        self._headers = {hdrs.ACCEPT_ENCODING: "identity"} | authorization(url, api_key)
        self._base = str(URL(url).with_user(None)).rstrip("/")

    async def __aenter__(self) -> Self:
        # No limit on connections: the caller decides how many requests are in flight.
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(headers=self._headers, connector=connector, auto_decompress=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def classify(
        self,
        frames: Frames,
        *,
        top_k: int | None = None,
        clip_id: str | None = None,
        pixel_format: PixelFormat = "RGB",
        head: str | None = None,
        model: str | None = None,
    ) -> Answer:
        """Send a clip and return its predictions.

        ``frames`` must be as many as the model takes (see :meth:`model`), in ``pixel_format`` RGB (PIL, PyAV) or BGR
        (OpenCV). ``top_k`` is the number of predictions to return. ``clip_id`` is returned with the answer; the
        default is a random UUID. ``head`` is the name of a head whose labels to answer with, or ``all``.
        ``model`` is the name of one of several models of the service; the default is its first one.

        Raises:
            ClipError: the frames do not form a valid clip.
            ServiceError: the service did not classify the clip, after all retries if the error is retriable.
        """
        body = await self.encode(
            frames, top_k=top_k, clip_id=clip_id, pixel_format=pixel_format, head=head, model=model
        )
        return await self._with_retries(lambda: self.post(body))

    async def embed(
        self,
        frames: Frames,
        *,
        clip_id: str | None = None,
        pixel_format: PixelFormat = "RGB",
        model: str | None = None,
    ) -> Embedding:
        """Send a clip and return its features; the parameters and errors are those of :meth:`classify`."""
        options = Options(
            clip_id or str(uuid4()), None, pixel_format, self._jpeg_quality, encoding_format="base64", model=model
        )
        body = await self._encoded(frames, options)
        return await self._with_retries(lambda: self._post_for_features(body))

    async def encode(
        self,
        frames: Frames,
        *,
        top_k: int | None = None,
        clip_id: str | None = None,
        pixel_format: PixelFormat = "RGB",
        head: str | None = None,
        model: str | None = None,
    ) -> Body:
        """Encode a clip for :meth:`post` without blocking the event loop. Raises ClipError."""
        return await self._encoded(
            frames, Options(clip_id or str(uuid4()), top_k, pixel_format, self._jpeg_quality, head, model=model)
        )

    async def post(self, body: Body) -> Answer:
        """Send an encoded clip once, without retries. Raises ServiceError."""
        return read_reply(await self._request("POST", INFER_PATH, self._timeout_s, body), Answer)

    async def _post_for_features(self, body: Body) -> Embedding:
        found = read_reply(await self._request("POST", EMBED_PATH, self._timeout_s, body), EmbedAnswer)
        return Embedding(found.features(), found.clip_id, found.model, found.sha256, found.timings_ms)

    async def _encoded(self, frames: Frames, options: Options) -> Body:
        pictures = [np.ascontiguousarray(frame) for frame in frames]
        if self._encoding == "jpeg":
            return await asyncio.to_thread(encode_clip, pictures, self._encoding, options)
        return encode_clip(pictures, self._encoding, options)

    async def _with_retries(self, post: Callable[[], Awaitable[T]]) -> T:
        failures = 0
        while True:
            try:
                return await post()
            except ServiceError as error:
                failures += 1
                if not error.retriable or failures > self._retries:
                    raise
                pause_s = Backoff().pause_s(failures, error.retry_after_s)
                fields = {"pause_s": round(pause_s, 3), "retries_left": self._retries - failures, "reason": error.what}
                logger.warning("trying again", extra=fields)
                await asyncio.sleep(pause_s)

    async def has_streams(self) -> bool:
        """Return whether the service accepts streams. Raises ServiceUnreachableError."""
        return (await self._request("GET", STREAMS_PATH, self._poll_timeout_s)).status == HTTPStatus.OK

    @asynccontextmanager
    async def open_stream(self, options: StreamOptions | None = None) -> AsyncIterator[Stream]:
        """Open a stream for the block: a connection on which each frame is sent once. Raises ServiceError."""
        options = options or StreamOptions()
        try:
            async with asyncio.timeout(self._timeout_s):
                socket = await self._session.ws_connect(self._base + STREAM_PATH, max_msg_size=MOST_ANSWER_BYTES)
        except TimeoutError as error:
            raise ServiceUnreachableError(self.url, f"did not open a stream in {self._timeout_s:g} s") from error
        except aiohttp.WSServerHandshakeError as error:
            raise handshake_refusal(error) from error
        except aiohttp.ClientError as error:
            raise ServiceUnreachableError(self.url, f"cannot be reached: {reason_of(error)}") from error
        async with socket:
            stream = Stream(socket, self.url, options.pixel_format, self._encoding, self._jpeg_quality)
            await stream.begin(options, self._timeout_s)
            yield stream

    async def stream(self, frames: StreamFrames, options: StreamOptions | None = None) -> AsyncIterator[StreamAnswer]:
        """Send frames, each once, and yield the answers for the windows that the service makes of them.

        ``frames`` are pairs of a time in seconds and a frame: an encoded image, or uint8 pixels ``[height, width, 3]``.
        An iterable that is not asynchronous is read in a thread. The next frame is taken when the one before is sent:
        with the policy wait, a busy service therefore makes ``frames`` wait. Read the answers as they come: the service
        closes a stream whose answers are not read. The first answer is a StreamReady. After the last frame, the windows
        that were begun are answered, and the last answer is a StreamEnded.

        Raises:
            ClipError: a frame is neither an image nor pixels.
            StreamClosedError: the connection was lost, or the service stops. Call ``stream`` again for the frames that
                follow; no window spans the interruption.
            ServiceRefusedError: the service does not accept the stream, for example because of its options or the key.
        """
        async with self.open_stream(options) as stream:
            async for answer in answers_of(stream, frames):
                yield answer

    async def models(self) -> tuple[Model, ...]:
        """Return the models in service; empty while none is loaded. Raises ServiceError."""
        reply = await self._request("GET", MODELS_PATH, self._poll_timeout_s)
        if reply.status == HTTPStatus.OK:
            return content_of(reply, Models).models
        refusal = refusal_of(reply)
        if refusal.status == HTTPStatus.SERVICE_UNAVAILABLE:
            return ()
        raise refusal

    async def model(self, name: str | None = None) -> Model | None:
        """Return the model that the service has under ``name``, or its first one; ``None`` if it does not tell.

        Raises ServiceUnreachableError.

        A description that cannot be right, for example one of no frames, is reported in the log and not used.
        """
        try:
            return next((model for model in await self.models() if name in (None, model.served_as)), None)
        except ServiceRefusedError:
            return await self._summary()
        except ServiceAnswerError as error:
            self._log_unusable(error)
            return None

    async def _summary(self) -> Model | None:
        """Return the model of a service that has no list of models, from its ``GET /``."""
        try:
            reply = await self._request("GET", "/", self._poll_timeout_s)
            found = content_of(reply, ServiceInfo).model if reply.status == HTTPStatus.OK else None
        except ServiceAnswerError as error:
            self._log_unusable(error)
            return None
        return None if found is None else Model(found.frames, found.name, found.crop)

    def _log_unusable(self, error: ServiceAnswerError) -> None:
        fields = {"url": self.url, "reason": error.what}
        logger.warning("the service does not describe its model in a usable way", extra=fields)

    async def health(self) -> Health:
        """Return the state of the service, whether healthy or not. Raises ServiceError."""
        reply = await self._request("GET", "/health", self._poll_timeout_s)
        if reply.status not in (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE):
            raise refusal_of(reply)
        return content_of(reply, Health)

    async def wait_until_ready(self, wait_s: float | None = None) -> None:
        """Wait until the service accepts work; raises ServiceUnreachableError after ``wait_s`` seconds.

        ``None`` means no limit. Raises ServiceRefusedError at once if the server is not a V-JEPA 2 service.
        """
        budget, polls = WaitBudget(wait_s), 0
        while (obstacle := await self.obstacle()) is not None:
            polls += 1
            pause_s = budget.left_s(POLLING.pause_s(polls))
            if pause_s is None:
                raise ServiceUnreachableError(self.url, f"is not ready after {wait_s:g} s: {obstacle}")
            await asyncio.sleep(pause_s)

    async def obstacle(self) -> str | None:
        """Return why the service does not accept work, or ``None`` if it does. Raises ServiceRefusedError."""
        try:
            reply = await self._request("GET", "/health/ready", self._poll_timeout_s)
        except ServiceUnreachableError as error:
            return error.reason
        if reply.status == HTTPStatus.OK:
            return None
        refusal = refusal_of(reply)
        if not refusal.retriable:
            raise refusal
        return Problem.read(reply.status, reply.body or b"").summary

    @property
    def _poll_timeout_s(self) -> float:
        return min(POLL_TIMEOUT_S, self._timeout_s)

    async def _request(self, method: str, path: str, timeout_s: float, body: Body | None = None) -> Reply:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        headers: dict[str, str] = {}
        if body is not None:
            headers = body.headers | {"X-Deadline-Ms": str(min(max(1, round(timeout_s * 1000)), LONGEST_DEADLINE_MS))}
        data = None if body is None else _stream(body)
        query = None if body is None else body.query
        try:
            async with self._session.request(
                method,
                self._base + path,
                params=query,
                headers=headers,
                data=data,
                timeout=timeout,
                # aiohttp, like a browser, would turn the POST into a GET.
                allow_redirects=False,
            ) as answer:
                content = await bounded(answer.content)
                fields = (answer.headers.get(name) for name in (hdrs.RETRY_AFTER, hdrs.LOCATION))
                return Reply(answer.status, content, *fields)
        except TimeoutError as error:
            raise ServiceUnreachableError(self.url, f"did not answer {method} {path} in {timeout_s:g} s") from error
        except aiohttp.ClientError as error:
            raise ServiceUnreachableError(self.url, f"cannot be reached: {reason_of(error)}") from error


async def _stream(body: Body) -> AsyncIterator[bytes | memoryview]:
    for chunk in body.chunks():
        yield chunk
