"""The client: the service as the consumer sees it, over HTTP."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Self
from uuid import uuid4

import aiohttp
import msgspec

from consumer.answer import Answer
from consumer.clip import Clip
from consumer.errors import ServiceAnswerError, ServiceRefusedError, ServiceUnreachableError
from consumer.wire import ClipBody, Problem, ServiceInfo

logger = logging.getLogger(__name__)

FIRST_POLL_S = 0.1
LONGEST_POLL_S = 2.0
POLL_TIMEOUT_S = 5.0

# What to make of a 503's Retry-After: this much if it names no seconds, and never more than the other.
USUAL_RETRY_S = 1.0
LONGEST_RETRY_S = 30.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back for one request, read to its end."""

    status: int
    body: bytes
    retry_after: str | None


class Service:
    """The service at ``url``, as an async context manager.

    A request may take ``timeout_s`` seconds; a clip is sent again up to ``retries`` times while the service says 503.
    """

    def __init__(self, url: str, timeout_s: float, retries: int) -> None:
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._retries = retries

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def wait_until_ready(self, wait_s: float) -> None:
        """Poll until the service accepts work; raises ServiceUnreachableError after ``wait_s`` seconds without."""
        deadline_s = time.monotonic() + wait_s
        pause_s = FIRST_POLL_S
        while (obstacle := await self._obstacle()) is not None:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise ServiceUnreachableError(self._url, f"is not ready after {wait_s:g} s: {obstacle}")
            if pause_s == FIRST_POLL_S:
                fields = {"url": self._url, "wait_s": wait_s, "reason": obstacle}
                logger.info("waiting for the service", extra=fields)
            await asyncio.sleep(min(pause_s, left_s))
            pause_s = min(pause_s * 2, LONGEST_POLL_S)

    async def frame_count(self) -> int | None:
        """How many frames the service's model takes, or ``None`` if it does not say."""
        reply = await self._request("GET", "/", self._poll_timeout_s)
        if reply.status != HTTPStatus.OK:
            return None
        try:
            return msgspec.json.decode(reply.body, type=ServiceInfo).model.frames
        except msgspec.MsgspecError:
            return None

    async def classify(self, clip: Clip, top_k: int | None) -> Answer:
        """Have ``clip`` classified. Raises a ServiceError; a 503 is one only once the retries are used up."""
        body = ClipBody(clip.pictures, top_k, clip_id=str(uuid4()))
        reply = await self._post(body)
        for retries_left in range(self._retries - 1, -1, -1):
            if reply.status != HTTPStatus.SERVICE_UNAVAILABLE:
                break
            pause_s = _pause_s(reply)
            fields = {"pause_s": pause_s, "retries_left": retries_left, "clip_id": body.clip_id}
            logger.warning("service busy, trying again", extra=fields)
            await asyncio.sleep(pause_s)
            reply = await self._post(body)
        return _read_answer(reply)

    @property
    def _poll_timeout_s(self) -> float:
        return min(POLL_TIMEOUT_S, self._timeout_s)

    async def _obstacle(self) -> str | None:
        """Say why the service is not ready, or ``None`` if it is."""
        try:
            reply = await self._request("GET", "/health/ready", self._poll_timeout_s)
        except ServiceUnreachableError as error:
            return error.reason
        if reply.status == HTTPStatus.SERVICE_UNAVAILABLE:
            return Problem.read(reply.status, reply.body).said
        if reply.status != HTTPStatus.OK:
            raise _refusal(reply)
        return None

    async def _post(self, body: ClipBody) -> Reply:
        return await self._request("POST", "/api/v1/infer", self._timeout_s, body)

    async def _request(self, method: str, path: str, timeout_s: float, body: ClipBody | None = None) -> Reply:
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        headers, data = (body.headers, _stream(body)) if body else (None, None)
        url = self._url + path
        try:
            async with self._session.request(method, url, headers=headers, data=data, timeout=timeout) as answer:
                return Reply(answer.status, await answer.read(), answer.headers.get("Retry-After"))
        except TimeoutError as error:
            raise ServiceUnreachableError(self._url, f"did not answer {method} {path} in {timeout_s:g} s") from error
        except aiohttp.ClientError as error:
            raise ServiceUnreachableError(self._url, f"cannot be reached: {_reason(error)}") from error


async def _stream(body: ClipBody) -> AsyncIterator[bytes]:
    for chunk in body.chunks():
        yield chunk


def _read_answer(reply: Reply) -> Answer:
    if reply.status != HTTPStatus.OK:
        raise _refusal(reply)
    try:
        return msgspec.json.decode(reply.body, type=Answer)
    except msgspec.MsgspecError as error:
        raise ServiceAnswerError(str(error)) from error


def _refusal(reply: Reply) -> ServiceRefusedError:
    problem = Problem.read(reply.status, reply.body)
    return ServiceRefusedError(reply.status, problem.title, problem.detail, problem.field)


def _pause_s(reply: Reply) -> float:
    asked = reply.retry_after or ""
    return min(float(asked) if asked.isdecimal() else USUAL_RETRY_S, LONGEST_RETRY_S)


def _reason(error: aiohttp.ClientError) -> str:
    # aiohttp wraps "connection refused" into a line of socket internals.
    if isinstance(error, aiohttp.ClientConnectorError) and (error.os_error.errno or 0) > 0:
        return os.strerror(error.os_error.errno or 0).lower()
    return str(error) or type(error).__name__
