"""The aiohttp application: the routes and the middleware around them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

from aiohttp import web
from aiohttp.typedefs import Middleware

from engines.errors import ConfigurationError
from server.api import routes
from server.api.docs import pages
from server.api.live.assets import read_assets
from server.api.live.page import ASSETS
from server.api.stream import STREAMS
from server.api.teaching import routes as teaching_routes
from server.api.teaching.endpoints import TEACHER, running
from server.api.v2.repository import LOADER
from server.api.v2.shared_memory import REGIONS
from server.api.video import RECORDINGS
from server.api.watching.event_feed import EventFeed
from server.api.watching.events import FEED
from server.api.watching.figures import HISTORY
from server.clips.tensors.regions import Regions
from server.config.settings import Settings
from server.http.auth import GUARD, Guard, guarded
from server.http.context import SERVICE
from server.http.cors import allow_origins
from server.http.endpoint import add_endpoints
from server.http.middleware import account, name_stream
from server.limits.api_keys import ApiKeys
from server.limits.rate_limit import RateLimit
from server.serving.loader import Loader
from server.serving.service import Service
from server.serving.use_count import UseCount
from server.streams.streams import Streams
from server.teaching.teacher import Teacher
from server.telemetry.history import History


def make_app(service: Service, loader: Loader) -> web.Application:
    """An application for ``service``, which the caller starts and closes; ``loader`` loads models on request.

    Raises:
        ConfigurationError: the key file cannot be used, the rate limit is not a rate, or tracing is not installed.
    """
    settings = service.settings
    app = web.Application(client_max_size=settings.max_body_bytes)
    app[SERVICE] = service
    app[LOADER] = loader
    app[FEED] = EventFeed(previews=settings.previews)
    app[STREAMS] = Streams(service, app[FEED])
    app[HISTORY] = History(service.metrics.registry)
    app[ASSETS] = read_assets()
    app[GUARD] = _guard(settings)
    app[REGIONS] = Regions()
    app[RECORDINGS] = UseCount()
    app[pages.ENCODED_DOCUMENTS] = {}
    app.cleanup_ctx.append(_recording)
    app.on_response_prepare.append(name_stream)
    if settings.teaching is None:
        add_endpoints(app, routes.ALL)
    else:
        app[TEACHER] = Teacher(service, settings.teaching)
        app.cleanup_ctx.append(running)
        add_endpoints(app, (*routes.ALL, *teaching_routes.ALL))
    app.middlewares.extend(_middlewares(settings, app))
    return app


async def _recording(app: web.Application) -> AsyncIterator[None]:
    """Record the figures while the application runs."""
    task = asyncio.create_task(app[HISTORY].run(), name="history")
    yield
    task.cancel()
    await asyncio.wait([task])


def _middlewares(settings: Settings, app: web.Application) -> Iterator[Middleware]:
    """The middleware from the outermost to the innermost."""
    if settings.cors_origins:
        yield allow_origins(settings.cors_origins)
    if settings.tracing:
        yield _traced(app)
    yield account
    if settings.api_key_file or settings.rate_limit:
        yield guarded


def _guard(settings: Settings) -> Guard:
    keys = ApiKeys(settings.api_key_file) if settings.api_key_file else None
    return Guard(keys, RateLimit(settings.rate_limit).check if settings.rate_limit else None)


def _traced(app: web.Application) -> Middleware:
    try:
        from server.http.tracing import Tracing
    except ImportError as error:
        raise ConfigurationError(
            f"--tracing needs {error.name}", help="pip install 'vjepa2-serve[tracing]', or start without --tracing"
        ) from None
    tracing = Tracing()
    app.on_cleanup.append(tracing.close)
    return tracing.middleware
