"""The pages of Swagger UI and ReDoc, with all their scripts and styles served by this service."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path

import msgspec
from aiohttp import hdrs, web

from server.api.docs.asyncapi import asyncapi
from server.api.docs.document import openapi
from server.api.stream_messages import STREAM_PATH
from server.config.version import VERSION
from server.http.context import SERVICE
from server.http.endpoint import ENDPOINTS, JSON_TYPE, Served

HTML_TYPE = "text/html"

_ASSETS = Path(__file__).parent / "assets"
_SERVED = frozenset(path.name for path in _ASSETS.iterdir() if path.suffix in (".js", ".css"))
_HOUR = "max-age=3600"

# The encoded document by the digest of its bundle, kept because it takes tens of milliseconds to make. It holds at
# most one entry, that of the model in service.
ENCODED_DOCUMENTS: web.AppKey[dict[tuple[str, ...], bytes]] = web.AppKey("encoded_documents", dict)

# Both pages set inline styles, and ReDoc searches in a web worker that it creates from a blob.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>vjepa2-serve</title>
<link rel="icon" href="data:,">
{head}
<body>
<div id="document"></div>
{scripts}
</body>
</html>
"""

# Relative addresses are also right behind a proxy that adds a prefix to the path.
SWAGGER_PAGE = _PAGE.format(
    head='<link rel="stylesheet" href="docs/swagger-ui.css">',
    scripts="\n".join(
        f'<script src="docs/{name}"></script>'
        for name in ("swagger-ui-bundle.js", "clip-form.js", "show-swagger-ui.js")
    ),
)
REDOC_PAGE = _PAGE.format(
    head="<style>body { margin: 0 }</style>",
    scripts='<script src="docs/redoc.standalone.js"></script>\n<script src="docs/show-redoc.js"></script>',
)


async def document(request: web.Request) -> web.Response:
    """The OpenAPI document of the model in service; raises NotReadyError until one is loaded."""
    service = request.app[SERVICE]
    manifest = service.loaded().manifest
    served = Served(manifest, tuple(model.protocol_name for model in service.models.ready()))
    made, key = request.app[ENCODED_DOCUMENTS], (manifest.digest, *served.names)
    if key not in made:
        encoded = await asyncio.to_thread(_encoded, request.app, served)
        made.clear()
        made[key] = encoded
    else:
        encoded = made[key]
    return web.Response(body=encoded, content_type=JSON_TYPE)


async def stream_document(request: web.Request) -> web.Response:
    """The AsyncAPI document of streams."""
    keyed = request.app[SERVICE].settings.api_key_file is not None
    return web.Response(body=_stream_document(keyed), content_type=JSON_TYPE)


async def swagger_ui(request: web.Request) -> web.Response:
    """The page of Swagger UI."""
    return _page(SWAGGER_PAGE)


async def redoc(request: web.Request) -> web.Response:
    """The page of ReDoc."""
    return _page(REDOC_PAGE)


async def asset(request: web.Request) -> web.FileResponse:
    """A script or a style sheet of the pages."""
    name = request.match_info["asset"]
    if name not in _SERVED:
        raise web.HTTPNotFound
    return web.FileResponse(_ASSETS / name, headers={hdrs.CACHE_CONTROL: _HOUR, "X-Content-Type-Options": "nosniff"})


def _encoded(app: web.Application, served: Served) -> bytes:
    keyed = app[SERVICE].settings.api_key_file is not None
    return msgspec.json.encode(openapi(app[ENDPOINTS], served, VERSION, keyed=keyed))


@functools.cache
def _stream_document(keyed: bool) -> bytes:
    return msgspec.json.encode(asyncapi(STREAM_PATH, VERSION, keyed=keyed))


def _page(html: str) -> web.Response:
    headers = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
    return web.Response(text=html, content_type=HTML_TYPE, headers=headers)
