"""The page for people: at ``/live``, and at ``/`` for those who ask for HTML."""

from __future__ import annotations

from aiohttp import hdrs, web

from server.api.live.assets import Assets
from server.api.status import index
from server.http.accept import asks_for_html

ASSETS: web.AppKey[Assets] = web.AppKey("assets", Assets)

# Pictures and chosen videos are blobs of the page itself. Everything else comes from this service.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_PAGE_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    hdrs.CACHE_CONTROL: "no-cache",
    hdrs.VARY: hdrs.ACCEPT,
}
_FOREVER = "public, max-age=31536000, immutable"


async def root(request: web.Request) -> web.Response:
    """The page for a browser, the description of the service for a program."""
    if asks_for_html(request):
        return await page(request)
    answer = await index(request)
    answer.headers[hdrs.VARY] = hdrs.ACCEPT
    return answer


async def page(request: web.Request) -> web.Response:
    """The page itself."""
    return web.Response(text=request.app[ASSETS].html, content_type="text/html", headers=_PAGE_HEADERS)


async def asset(request: web.Request) -> web.Response:
    """A script, a style sheet or a video of the page."""
    assets, wanted = request.app[ASSETS], request.match_info
    found = assets.files.get(wanted["name"])
    if found is None or wanted["digest"] != assets.digest:
        raise web.HTTPNotFound
    headers = {hdrs.CACHE_CONTROL: _FOREVER, "X-Content-Type-Options": "nosniff", hdrs.VARY: hdrs.ACCEPT_ENCODING}
    body = found.content
    if found.compressed is not None and "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
        body, headers[hdrs.CONTENT_ENCODING] = found.compressed, "gzip"
    return web.Response(body=body, content_type=found.content_type, charset=None, headers=headers)
