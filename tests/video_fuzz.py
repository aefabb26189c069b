"""``python -m tests.video_fuzz``: hostile videos are sent to one service, which stays and answers each."""

from __future__ import annotations

import argparse
import asyncio
import collections
import itertools
import json
import random
import sys

import aiohttp

from engines.storage.bundle import DEMO
from tests.live_server import LiveServer, serving
from tests.server.hostile_videos import hostile_videos
from tests.server.peers import clients, resident_bytes

_DOCUMENTED = (200, 400, 413, 422, 503)
_MOST_GROWTH_BYTES = 200 * 2**20
_AT_ONCE = 2

Ends = collections.Counter[str]


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--videos", type=int, default=500)
    flags.add_argument("--seed", type=int, default=22)
    asked = flags.parse_args()
    with serving(DEMO, "--max-videos", str(_AT_ONCE)) as server:
        ends = asyncio.run(_fuzz(server, asked.videos, asked.seed))
        code = server.stop()
    errors = [entry for entry in server.log if entry["level"] in ("ERROR", "CRITICAL")]
    print(f"{ends.total()} videos: " + ", ".join(f"{end} {count}" for end, count in ends.most_common()))
    print(f"exit code {code}, {len(errors)} errors in the log")
    return 1 if code or errors else 0


async def _fuzz(server: LiveServer, videos: int, seed: int) -> Ends:
    before = resident_bytes(server)
    hostile = itertools.islice(hostile_videos(random.Random(seed)), videos)
    ends = Ends()
    async with clients(server) as session:

        async def send_all() -> None:
            for video in hostile:
                ends[await send_video(session, video)] += 1

        await asyncio.gather(*(send_all() for _ in range(_AT_ONCE)))
    growth = resident_bytes(server) - before
    assert growth < _MOST_GROWTH_BYTES, growth
    return ends


async def send_video(session: aiohttp.ClientSession, video: bytes, **query: str) -> str:
    """Send ``video``; how its answer ended, which must be as documented."""
    headers = {"Content-Type": "video/mp4"}
    async with session.post("/api/v1/video", data=video, params=query, headers=headers) as response:
        assert response.status in _DOCUMENTED, await response.text()
        lines = [json.loads(line) for line in (await response.read()).splitlines()]
    if response.status != 200:
        assert "detail" in lines[0]
        return str(response.status)
    assert lines[-1]["type"] in ("ended", "error"), lines[-1]
    return f"200 {lines[-1]['type']}"


if __name__ == "__main__":
    sys.exit(main())
