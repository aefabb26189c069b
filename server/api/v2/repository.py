"""Triton's model repository: which models there are, and loading and unloading them while the service runs."""

from __future__ import annotations

import msgspec
from aiohttp import web

from engines.errors import ServiceError
from server.api.v2 import answers
from server.api.v2.model import VERSION, answered
from server.api.v2.shared_memory import read_small
from server.errors import ForbiddenError, InvalidError, RequestError, UnreadableError, shown
from server.http.context import SERVICE
from server.serving.loader import Loader

LOADER: web.AppKey[Loader] = web.AppKey("loader", Loader)


class IndexBody(msgspec.Struct):
    """``ready``: only models that are in service."""

    ready: bool = False


async def index(request: web.Request) -> web.Response:
    """All models, those in directories of bundles that were never loaded too; raises ForbiddenError."""
    _check_allowed(request)
    only_ready = _parsed(await read_small(request)).ready
    found = [
        answers.RepositoryModel(one.name, VERSION, one.state, one.reason)
        for one in await request.app[LOADER].listed()
        if not only_ready or one.state == "READY"
    ]
    return web.Response(body=msgspec.json.encode(found), content_type="application/json")


async def load(request: web.Request) -> web.Response:
    """Load a model, or its bundle again; what is in service stays if that fails.

    Raises ForbiddenError, NotFoundError, and InvalidError if the model cannot be served.
    """
    _check_allowed(request)
    await read_small(request)
    try:
        await request.app[LOADER].load(request.match_info["model"])
    except RequestError:
        raise
    except ServiceError as error:
        raise InvalidError(f"the model cannot be loaded: {error}", field="model") from None
    return answered({})


async def unload(request: web.Request) -> web.Response:
    """Take a model out of service; requests that it has accepted are answered. Raises ForbiddenError, NotFoundError."""
    _check_allowed(request)
    await read_small(request)
    await request.app[LOADER].unload(request.match_info["model"])
    return answered({})


def _check_allowed(request: web.Request) -> None:
    if request.app[SERVICE].settings.api_key_file is None:
        raise ForbiddenError("models are loaded and unloaded with a key only; the service has keys with --api-key-file")


def _parsed(body: bytearray) -> IndexBody:
    try:
        return msgspec.json.decode(body or b"{}", type=IndexBody)
    except msgspec.ValidationError as error:
        raise InvalidError(f"the body is no request for the index: {shown(str(error))}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableError(f"the body is not JSON: {shown(str(error))}") from None
