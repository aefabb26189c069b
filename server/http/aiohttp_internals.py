"""The parts of aiohttp that its documentation does not promise, and that this package relies on.

``pyproject.toml`` admits one minor version of aiohttp; ``tests/server/test_aiohttp_internals.py`` compares what stands
here with the installed one. Relied on are:

- ``RequestHandler._parser`` is the parser that ``data_received`` feeds, and may be replaced by a new one between the
  end of a body and the next request;
- the constructor of ``HttpRequestParser``, which ``new_request_parser`` calls as ``RequestHandler`` itself does, and
  the attributes of ``RequestHandler`` that its arguments come from;
- ``StreamReader.feed_eof`` ends a body that the parser has not seen to its end;
- ``StreamReader.set_read_chunk_size`` and ``read_nowait``;
- the protocol of a transport may be exchanged while a request is handled.
"""

from __future__ import annotations

from aiohttp import web
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
