"""Bytes and CPU for each prediction: streams beside posts of the same windows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import numpy as np

from export.demo.rendering.clips import render_clip
from tests.latency.payloads import jpegs
from tests.latency.streams.serving import asking, cpu_s, stand_in
from tests.latency.tables import Table
from tests.live_server import LiveServer
from tests.server.streams import image, streaming

STRIDES = (1, 4, 16)
# What must hold of streams against posts: bytes, CPU.
LIMITS = {1: (0.10, 0.15), 4: (0.27, 0.35), 16: (None, 1.0)}
_FRAMES = 16
_SIZE = (720, 1280)
_CROP = 256
_BOUNDARY = "a-boundary-that-no-jpeg-contains"


@dataclass(frozen=True)
class Cost:
    """Of one prediction."""

    kilobytes: float
    cpu_ms: float


def measure(windows: int, repetitions: int) -> tuple[Table, bool]:
    """The table, and whether every limit holds; ``windows`` predictions are asked for at each stride."""
    images = _images()
    with stand_in("prepare", crop=_CROP) as server:
        posts = [asyncio.run(_post(server, images, windows)) for _ in range(repetitions)]
        streams = {
            stride: [asyncio.run(_stream(server, images, stride, windows)) for _ in range(repetitions)]
            for stride in STRIDES
        }
        posts += [asyncio.run(_post(server, images, windows))]
    post = _median(posts)
    rows = [("post", "", f"{post.kilobytes:.0f}", f"{post.cpu_ms:.1f}", "", "", "", "")]
    holds = True
    for stride, costs in streams.items():
        cost = _median(costs)
        ratios = (cost.kilobytes / post.kilobytes, cost.cpu_ms / post.cpu_ms)
        judged = [limit is None or ratio <= limit for ratio, limit in zip(ratios, LIMITS[stride], strict=True)]
        holds = holds and all(judged)
        limits = ["" if limit is None else f"at most {limit:g}" for limit in LIMITS[stride]]
        rows.append(
            (
                "stream",
                str(stride),
                f"{cost.kilobytes:.0f}",
                f"{cost.cpu_ms:.1f}",
                f"{ratios[0]:.3f}",
                limits[0],
                f"{ratios[1]:.3f}",
                limits[1] + ("" if all(judged) else " MISSED"),
            )
        )
    columns = ("", "stride", "kB up", "CPU ms", "kB / post", "must hold", "CPU / post", "must hold")
    title = f"A prediction from {_SIZE[1]} x {_SIZE[0]} JPEGs: reading, decoding, preprocessing to {_CROP} x {_CROP}"
    return Table(title, columns, rows), holds


def _images() -> list[bytes]:
    rendered = render_clip(11, frames=_FRAMES, size=_SIZE).frames[..., ::-1]
    noise = np.random.default_rng(11).normal(0, 4, rendered.shape)
    return jpegs(np.ascontiguousarray(np.clip(np.rint(rendered + noise), 0, 255).astype(np.uint8)))


async def _post(server: LiveServer, images: Sequence[bytes], windows: int) -> Cost:
    """One after the other, as a consumer with one camera sends them."""
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="frames"; filename="{number}.jpg"\r\n'
        f"Content-Type: image/jpeg\r\n\r\n".encode()
        + data
        + b"\r\n"
        for number, data in enumerate(images)
    ]
    body = b"".join([*parts, f"--{_BOUNDARY}--\r\n".encode()])
    headers = {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}"}
    async with asking(server) as session:
        await _answered(session, body, headers)
        before_s = cpu_s(server)
        for _ in range(windows):
            await _answered(session, body, headers)
        return Cost(len(body) / 1e3, (cpu_s(server) - before_s) * 1e3 / windows)


async def _answered(session: aiohttp.ClientSession, body: bytes, headers: dict[str, str]) -> None:
    async with session.post("/api/v1/infer", data=body, headers=headers) as response:
        assert response.status == 200, await response.text()
        await response.read()


async def _stream(server: LiveServer, images: Sequence[bytes], stride: int, windows: int) -> Cost:
    """All frames as fast as the service takes them, so that idle time costs nothing."""
    count = _FRAMES + stride * (windows - 1)
    async with asking(server) as session, streaming(session, stride=stride, policy="wait") as client:
        before_s, sent_bytes = cpu_s(server), 0

        async def send() -> None:
            nonlocal sent_bytes
            for index in range(count):
                message = image(index / 3, images[index % len(images)])
                sent_bytes += len(message)
                await client.socket.send_bytes(message)

        sending = asyncio.create_task(send())
        for _ in range(windows):
            await client.next("prediction")
        await sending
        used_s = cpu_s(server) - before_s
        await client.ended()
    return Cost(sent_bytes / 1e3 / windows, used_s * 1e3 / windows)


def _median(costs: Sequence[Cost]) -> Cost:
    middle = len(costs) // 2
    return Cost(sorted(one.kilobytes for one in costs)[middle], sorted(one.cpu_ms for one in costs)[middle])
