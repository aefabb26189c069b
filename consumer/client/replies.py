"""The answers to requests, as far as all requests have them in common."""

from __future__ import annotations

import os
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

import aiohttp
from aiohttp import BasicAuth, hdrs
from yarl import URL

from consumer.client.wire import Problem, decoded
from consumer.errors import REDIRECTS, ServiceAnswerError, ServiceRefusedError
from consumer.retry import retry_after_s
from consumer.shown_text import shown, without_credentials

T = TypeVar("T")

# Room for 10,000 predictions, the most that --top-k asks for.
MOST_ANSWER_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one request; ``body`` is ``None`` where it is longer than 4 MiB."""

    status: int
    body: bytes | None
    retry_after: str | None = None
    location: str | None = None


async def bounded(content: aiohttp.StreamReader) -> bytes | None:
    """Read a body, or return ``None`` as soon as it exceeds 4 MiB."""
    body = bytearray()
    async for piece in content.iter_any():
        body += piece
        if len(body) > MOST_ANSWER_BYTES:
            return None
    return bytes(body)


def authorization(url: str, api_key: str | None) -> dict[str, str]:
    """The header for the key, else for user and password of ``url``; aiohttp accepts only one of them."""
    if api_key:
        return {hdrs.AUTHORIZATION: f"Bearer {api_key}"}
    basic = BasicAuth.from_url(URL(url), encoding="utf-8")
    return {} if basic is None else {hdrs.AUTHORIZATION: basic.encode()}


def read_reply(reply: Reply, kind: type[T]) -> T:
    if reply.status != HTTPStatus.OK:
        raise refusal_of(reply)
    return content_of(reply, kind)


def content_of(reply: Reply, kind: type[T]) -> T:
    if reply.body is None:
        raise ServiceAnswerError(f"it is longer than {MOST_ANSWER_BYTES} bytes")
    return decoded(reply.body, kind)


def refusal_of(reply: Reply) -> ServiceRefusedError:
    if reply.status in REDIRECTS:
        place = f"to {without_credentials(shown(reply.location))}" if reply.location else "without a place"
        return ServiceRefusedError(reply.status, f"redirect {place}", "redirects are not followed")
    problem = Problem.read(reply.status, reply.body or b"")
    requested_s = retry_after_s(reply.retry_after)
    return ServiceRefusedError(reply.status, problem.title, problem.detail, problem.field, requested_s)


def reason_of(error: aiohttp.ClientError) -> str:
    # The text of aiohttp's own error is full of socket details; the operating system's text is clearer.
    if isinstance(error, aiohttp.ClientConnectorError) and (error.os_error.errno or 0) > 0:
        return os.strerror(error.os_error.errno or 0).lower()
    return str(error) or type(error).__name__


def handshake_refusal(error: aiohttp.WSServerHandshakeError) -> ServiceRefusedError:
    """The refusal of a stream, whose body aiohttp does not keep."""
    requested_s = None if error.headers is None else retry_after_s(error.headers.get(hdrs.RETRY_AFTER))
    if error.status == HTTPStatus.SWITCHING_PROTOCOLS:
        return ServiceRefusedError(HTTPStatus.BAD_GATEWAY, "no WebSocket", error.message)
    return ServiceRefusedError(error.status, Problem.read(error.status, b"").title, "", None, requested_s)
