"""What a client would rather have: a page or JSON."""

from __future__ import annotations

import contextlib

from aiohttp import hdrs, web

_HTML, _JSON = "text/html", "application/json"


def asks_for_html(request: web.Request) -> bool:
    """Whether ``Accept`` names HTML, and prefers it to JSON; browsers do, and ``*/*`` alone does not."""
    quality = dict(_ranges(",".join(request.headers.getall(hdrs.ACCEPT, ()))))
    json = quality.get(_JSON, quality.get("application/*", quality.get("*/*", 0.0)))
    html = quality.get(_HTML, 0.0)
    return html > json or (html > 0 and html == json and _JSON not in quality)


def _ranges(header: str) -> list[tuple[str, float]]:
    """Each media type with its quality; the last one of a type counts."""
    found = []
    for part in header.split(","):
        media_type, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = 1.0
        for name, _, value in (parameter.partition("=") for parameter in parameters):
            if name.strip() == "q":
                with contextlib.suppress(ValueError):
                    quality = float(value)
        found.append((media_type, quality))
    return found
