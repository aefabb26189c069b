"""The parts of aiohttp that its documentation does not promise, and that this package relies on.

``pyproject.toml`` admits one minor version of aiohttp; ``tests/server/test_aiohttp_internals.py`` compares what stands
here with the installed one. Relied on are:

- ``RequestHandler._parser`` is the parser that ``data_received`` feeds, and may be replaced by a new one between the
  end of a body and the next request;
- the constructor of ``HttpRequestParser``, which ``new_request_parser`` calls as ``RequestHandler`` itself does, and
  the attributes of ``RequestHandler`` that its arguments come from;
- ``StreamReader.feed_eof`` ends a body that the parser has not seen to its end;
- ``StreamReader.set_read_chunk_size`` and ``read_nowait``;
- ``RequestHandler._messages`` holds the requests that are parsed and not handled yet, each with its body, and
  ``_waiter`` is a future that is not done exactly while the handler waits for a request;
- ``RequestHandler.close`` closes the connection after the request that is being handled;
- ``BaseRequest._cache`` holds the version that the status line of the answer repeats;
- the protocol of a transport may be exchanged while a request is handled.
"""

from __future__ import annotations

from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.http import HttpRequestParser


def new_request_parser(handler: web.RequestHandler) -> HttpRequestParser:
    """A parser for the requests of ``handler``, made as ``handler`` made its own, which decompresses nothing."""
    return HttpRequestParser(
        handler,
        handler._loop,
        handler._read_bufsize,
        max_line_size=handler.max_line_size,
        max_field_size=handler.max_field_size,
        max_headers=handler.max_headers,
        payload_exception=web.RequestPayloadError,
        auto_decompress=False,
        max_msg_queue_size=handler._max_msg_queue_size,
    )


def replace_request_parser(handler: web.RequestHandler) -> None:
    """Let ``handler`` forget a body of which its parser still expects bytes."""
    handler._parser = new_request_parser(handler)


def has_queued_requests(handler: web.RequestHandler) -> bool:
    """Whether a request is parsed that ``handler`` has not begun to handle."""
    return bool(handler._messages)


def newest_body(handler: web.RequestHandler) -> StreamReader | None:
    """The body of the request that was parsed last, the only one that may be incomplete; None if none is queued."""
    return handler._messages[-1][1] if handler._messages else None


def waits_for_request(handler: web.RequestHandler) -> bool:
    """Whether every request is answered."""
    return handler._waiter is not None and not handler._waiter.done()


def answer_in_http_1_1(request: web.BaseRequest) -> None:
    """Write the answer to a request of any version as one of HTTP/1.1."""
    request._cache["version"] = HttpVersion11
