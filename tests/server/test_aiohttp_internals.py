"""The installed aiohttp has the internals on which ``server/http/transport/aiohttp_internals.py`` relies."""

from __future__ import annotations

import ast
import asyncio
import inspect
import textwrap
from typing import Any

import pytest
from aiohttp import StreamReader, web, web_protocol
from aiohttp.http import HttpRequestParser

from server.http.transport import aiohttp_internals


def _arguments(function: Any, called: str) -> tuple[int, dict[str, str]]:
    """The number of positional arguments and the names of the others in the one call of ``called`` in ``function``."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == called]
    assert len(calls) == 1
    return len(calls[0].args), {keyword.arg or "": ast.unparse(keyword.value) for keyword in calls[0].keywords}


def test_new_parser_gets_the_arguments_that_aiohttp_passes() -> None:
    theirs_positional, theirs = _arguments(web.RequestHandler.__init__, "HttpRequestParser")
    ours_positional, ours = _arguments(aiohttp_internals.new_request_parser, "HttpRequestParser")
    assert ours_positional == theirs_positional
    assert set(ours) == set(theirs)


@pytest.fixture
async def handler() -> web.RequestHandler:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response()

    handler: web.RequestHandler = web.Server(handle)()
    return handler


async def test_handler_attributes_for_a_parser_hold_the_constructor_arguments(
    handler: web.RequestHandler,
) -> None:
    parameters = inspect.signature(web.RequestHandler.__init__).parameters
    assert handler._loop is asyncio.get_running_loop()
    assert handler._read_bufsize == parameters["read_bufsize"].default
    assert handler._max_msg_queue_size == web_protocol.MAX_MSG_QUEUE_SIZE
    for name in ("max_line_size", "max_field_size"):
        assert getattr(handler, name) == parameters[name].default


async def test_request_parser_can_be_replaced(handler: web.RequestHandler) -> None:
    begun = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n123"
    before = handler._parser
    assert isinstance(before, HttpRequestParser)
    handler.data_received(begun)
    aiohttp_internals.replace_request_parser(handler)
    assert type(handler._parser) is type(before)
    assert handler._parser is not before
    handler.data_received(b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [message.path for message, _ in handler._messages] == ["/a", "/b"]


def test_stream_reader_has_the_methods_that_are_used() -> None:
    for name in ("feed_eof", "set_read_chunk_size", "read_nowait", "readany", "iter_chunks", "on_eof", "is_eof"):
        assert callable(getattr(StreamReader, name)), name
