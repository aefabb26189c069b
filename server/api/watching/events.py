"""``GET /api/v1/events``: what happens on all streams, as server-sent events."""

from __future__ import annotations

import asyncio

from aiohttp import hdrs, web

from server.api.watching.event_feed import EventFeed
from server.http.context import SERVICE
from server.http.cors import check_origin
from server.serving.classify import offered_by
from server.serving.service import Service

FEED: web.AppKey[EventFeed] = web.AppKey("feed", EventFeed)
EVENT_STREAM = "text/event-stream"
_LAST_EVENT_ID = "Last-Event-ID"
# Events are sent together at most this often, because each write costs as much as many events.
_PAUSE_S = 0.2
# Pictures are looked for this often. A comment shows that the connection is alive when there was no event.
_LOOK_S = 1.0
_ALIVE = b": alive\n\n"
_ALIVE_S = 15.0
_HEADERS = {
    hdrs.CACHE_CONTROL: "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold the events back
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


async def events(request: web.Request) -> web.StreamResponse:
    """The state of all streams, then what happens, until the client leaves or the service stops.

    With ``Last-Event-ID``, only what happened after that event, if it is not too long ago. With ``head``, also what
    that head says of each stream.
    """
    service, feed = request.app[SERVICE], request.app[FEED]
    check_origin(request, service.settings.cors_origins)
    head = _head(request, service)
    response = web.StreamResponse(headers=_HEADERS)
    response.content_type = EVENT_STREAM
    await response.prepare(request)
    if request.method == hdrs.METH_HEAD:
        return response
    stopping = asyncio.create_task(service.draining.wait(), name="stop events")
    try:
        with feed.watched(head):
            await _send(response, feed, request.headers.get(_LAST_EVENT_ID, ""), stopping)
    except ConnectionError:
        response.force_close()
    finally:
        stopping.cancel()
    return response


def _head(request: web.Request, service: Service) -> str | None:
    """The head in the query, or ``all``, if one is there; raises InvalidError for one that does not fit the model."""
    head = request.query.get("head")
    if head is not None:
        offered_by(service.loaded().manifest, service.fitting_heads(service.models.default)).labels_of(head)
    return head


async def _send(response: web.StreamResponse, feed: EventFeed, last_id: str, stopping: asyncio.Task[bool]) -> None:
    loop = asyncio.get_running_loop()
    data, place = feed.since(feed.place_of(last_id))
    sent_s = loop.time()
    await response.write(data or _ALIVE)
    while not await _done(stopping, _PAUSE_S):
        news = asyncio.create_task(feed.news(place), name="news")
        await asyncio.wait({news, stopping}, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        news.cancel()
        data, place = feed.since(place)
        if data or loop.time() - sent_s > _ALIVE_S:
            sent_s = loop.time()
            await response.write(data or _ALIVE)


async def _done(stopping: asyncio.Task[bool], timeout_s: float) -> bool:
    await asyncio.wait({stopping}, timeout=timeout_s)
    return stopping.done()
