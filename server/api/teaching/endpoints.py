"""``/api/v1/teaching``: examples come and go, heads are taught, tried, kept or thrown away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
from aiohttp import hdrs, web

from server.api.stream import STREAMS
from server.api.teaching import messages
from server.clips.lease import Lease
from server.errors import NotFoundError, shown
from server.http.context import SERVICE
from server.http.cors import check_origin
from server.http.endpoint import JSON_TYPE
from server.http.request_body import RequestBody
from server.streams.answering import Shown
from server.teaching.examples import MOST_EXAMPLE_BYTES
from server.teaching.process import missing
from server.teaching.teacher import Lesson, Teacher, draft_name

TEACHER: web.AppKey[Teacher] = web.AppKey("teacher", Teacher)


async def running(app: web.Application) -> AsyncIterator[None]:
    """Offer the drafts, and stop the process that teaches when the application ends."""
    await app[TEACHER].load()
    yield
    await app[TEACHER].close()


async def overview(request: web.Request) -> web.Response:
    """All that is taught, and the heads in service with their reports."""
    return await _overview(request, _teacher(request))


async def add_example(request: web.Request) -> web.Response:
    """Keep the video in the body, or what the camera of the stream ``session`` has just shown."""
    teacher, wanted = _teacher(request), request.match_info
    head, action = wanted["head"], wanted["action"]
    session, examples = request.query.get("session"), teacher.examples
    if session is not None:
        shown_now = _shown(request, session)
        async with teacher.changing:
            example = await asyncio.to_thread(examples.add_frames, head, action, shown_now.crops, shown_now.resize)
        return _answer(messages.kept(example))
    data, content_type = await _body(request), request.headers.get(hdrs.CONTENT_TYPE, "")
    async with teacher.changing:
        example = await asyncio.to_thread(examples.add_video, head, action, content_type, data)
    return _answer(messages.kept(example))


async def remove_example(request: web.Request) -> web.Response:
    """Remove one example."""
    teacher, wanted = _teacher(request), request.match_info
    async with teacher.changing:
        await asyncio.to_thread(teacher.examples.remove, wanted["head"], wanted["action"], wanted["example"])
    return await _overview(request, teacher)


async def teach(request: web.Request) -> web.Response:
    """Begin to teach the head."""
    teacher = _teacher(request)
    async with teacher.changing:
        await teacher.start(request.match_info["head"])
    return await _overview(request, teacher)


async def keep(request: web.Request) -> web.Response:
    """Serve what was taught."""
    teacher = _teacher(request)
    async with teacher.changing:
        await teacher.keep(request.match_info["head"])
    return await _overview(request, teacher)


async def discard(request: web.Request) -> web.Response:
    """Throw away what was taught."""
    teacher = _teacher(request)
    async with teacher.changing:
        await teacher.discard(request.match_info["head"])
    return await _overview(request, teacher)


def _teacher(request: web.Request) -> Teacher:
    """Raises ForbiddenError for a page of another origin, whatever ``--cors-origins`` allows."""
    check_origin(request, ())
    return request.app[TEACHER]


async def _overview(request: web.Request, teacher: Teacher) -> web.Response:
    service, examples = request.app[SERVICE], teacher.examples
    told = [
        await asyncio.to_thread(
            messages.in_teaching,
            name,
            examples,
            teacher.lessons.get(name, Lesson()),
            service.drafts.get(draft_name(name)),
        )
        for name in await asyncio.to_thread(examples.heads)
    ]
    heads = [messages.taught(name, head) for name, head in service.fitting_heads(service.models.default).items()]
    return _answer(messages.Teaching(missing=missing(), teaching=told, heads=heads))


async def _body(request: web.Request) -> bytearray:
    service = request.app[SERVICE]
    with Lease() as lease:
        memory = lease.take(service.admission.request_memory())
        timeout_s, threads = service.settings.body_timeout_s, service.decode_threads
        return await RequestBody(request, MOST_EXAMPLE_BYTES, timeout_s, memory, lease, threads).read()


def _shown(request: web.Request, session: str) -> Shown:
    """What the stream has shown in the window that it has answered last."""
    for opened in request.app[STREAMS]:
        if opened.id == session and opened.session.shown is not None:
            return opened.session.shown
    raise NotFoundError(f"no open stream {shown(session)} has answered a window", field="session")


def _answer(told: msgspec.Struct) -> web.Response:
    headers = {hdrs.CACHE_CONTROL: "no-store"}
    return web.Response(body=msgspec.json.encode(told), content_type=JSON_TYPE, headers=headers)
