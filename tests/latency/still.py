"""``python -m tests.latency.still``: what passing over still windows saves and misses, on rendered days of a camera.

Each day goes to the service twice: on a stream that passes over still windows, and on one that classifies them all,
which tells what the first one missed. The service's own estimate of that is compared with it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from engines.storage.bundle import DEMO
from export.demo.labels import HOLD, LABELS
from tests.live_server import LiveServer, serving
from tests.rendered_day import FPS, Action, Day
from tests.server.streams import END, image, streaming

EVENT_LABELS = [label for label in LABELS if label != HOLD]
EVENT_THRESHOLD = 0.5
_MOST_MISSED, _LEAST_SAVED, _LEAST_INSIDE = 0.02, 0.8, 0.9
# Frames whose windows end so much after an action are not its own.
_ROUNDING_S = 1e-3

Answer = dict[str, Any]


@dataclass
class Watched:
    """What both streams answered about a day; ``gated`` and ``all_answers`` by the number of the window."""

    actions: list[Action] = field(default_factory=list)
    gated: dict[int, Answer] = field(default_factory=dict)
    all_answers: dict[int, Answer] = field(default_factory=dict)
    summary: Answer = field(default_factory=dict)

    @property
    def still(self) -> list[int]:
        """The windows in which the gate saw no movement."""
        return [number for number, answer in self.gated.items() if answer.get("reason") == "still" or answer["still"]]

    @property
    def saved(self) -> float:
        """The share of the windows that were not classified."""
        return sum(answer["type"] == "skipped" for answer in self.gated.values()) / len(self.gated)

    @property
    def missed_actions(self) -> list[Action]:
        """The actions of which no window was classified."""
        seen = [answer for answer in self.gated.values() if answer["type"] == "prediction"]
        return [action for action in self.actions if not any(_shows(answer, action) for answer in seen)]

    @property
    def missed_share(self) -> float:
        """The share of the still windows that show an event."""
        return sum(_is_event(self.all_answers[number]) for number in self.still) / len(self.still)

    @property
    def is_inside(self) -> bool:
        """Whether what was missed lies in the interval that the service told; its ends are rounded."""
        estimate = self.summary["still"]
        return bool(estimate["low"] - 1e-6 <= self.missed_share <= estimate["high"] + 1e-6)


async def watch(session: aiohttp.ClientSession, day: Day, stride: int, **hello: Any) -> Watched:
    """Send ``day`` on two streams; ``hello`` is for the one that passes over still windows."""
    watched = Watched()
    asked: dict[str, Any] = {"fps": FPS, "stride": stride, "policy": "wait", "top_k": 1}
    gate = {"still": "skip", "event_threshold": EVENT_THRESHOLD, "event_labels": EVENT_LABELS}
    async with streaming(session, **asked, **gate, **hello) as gated, streaming(session, **asked) as every:
        frames = [asyncio.Queue[bytes | None](64) for _ in range(2)]
        async with asyncio.TaskGroup() as group:
            group.create_task(_render(day, watched.actions, frames))
            tasks = [
                group.create_task(_answers(client.socket, queue))
                for client, queue in zip((gated, every), frames, strict=True)
            ]
    watched.gated, watched.all_answers = (_by_window(task.result()) for task in tasks)
    watched.summary = tasks[0].result()[-1]
    return watched


async def _render(day: Day, actions: list[Action], queues: list[asyncio.Queue[bytes | None]]) -> None:
    scenes: Iterator[tuple[Action, list[tuple[float, bytes]]]] = day.scenes()
    while (scene := await asyncio.to_thread(next, scenes, None)) is not None:
        action, frames = scene
        actions.append(action)
        for time_s, data in frames:
            for queue in queues:
                await queue.put(image(time_s, data))
    for queue in queues:
        await queue.put(None)


async def _answers(socket: aiohttp.ClientWebSocketResponse, queue: asyncio.Queue[bytes | None]) -> list[Answer]:
    """Send what is in ``queue``, and return all answers, the last of which is the end."""

    async def send() -> None:
        while (message := await queue.get()) is not None:
            await socket.send_bytes(message)
        await socket.send_str(END)

    async with asyncio.TaskGroup() as group:
        group.create_task(send())
        reading = group.create_task(_read(socket))
    return reading.result()


async def _read(socket: aiohttp.ClientWebSocketResponse) -> list[Answer]:
    return [json.loads(message.data) async for message in socket]


def _by_window(answers: list[Answer]) -> dict[int, Answer]:
    return {answer["window"]: answer for answer in answers if "window" in answer}


def _shows(answer: Answer, action: Action) -> bool:
    starts_s, ends_s = max(answer["start_s"], action.start_s), min(answer["end_s"], action.end_s)
    return bool(ends_s - starts_s > _ROUNDING_S)


def _is_event(answer: Answer) -> bool:
    top = answer["predictions"][0]
    return top["confidence"] >= EVENT_THRESHOLD and top["label"] in EVENT_LABELS


async def _days(server: LiveServer, flags: argparse.Namespace) -> list[Watched]:
    print("seed  windows   saved   missed actions   missed windows   estimate (95 %)             inside")
    watched = []
    hello = {} if flags.threshold is None else {"still_threshold": flags.threshold}
    async with aiohttp.ClientSession(server.url, timeout=aiohttp.ClientTimeout(None)) as session:
        for seed in range(flags.first_seed, flags.first_seed + flags.seeds):
            day = Day(seed, flags.actions, flags.rest)
            watched.append(await watch(session, day, flags.stride, **hello))
            _print(seed, watched[-1])
    return watched


def _print(seed: int, day: Watched) -> None:
    told = day.summary["still"]
    estimate = f"{told['missed']} of {told['checked']}: {told['low']:.2%} to {told['high']:.2%}"
    missed = f"{len(day.missed_actions)} of {len(day.actions)}"
    inside = "yes" if day.is_inside else "NO"
    print(
        f"{seed:4}{len(day.gated):9}{day.saved:8.1%}{missed:>17}{day.missed_share:17.2%}   {estimate:28}{inside}",
        flush=True,
    )


def main() -> int:
    flags = _parser().parse_args()
    with serving(DEMO) as server:
        days = asyncio.run(_days(server, flags))
    missed = sum(len(day.missed_actions) for day in days) / sum(len(day.actions) for day in days)
    inside = sum(day.is_inside for day in days)
    saved = min(day.saved for day in days)
    print(
        f"\nsaved at least {saved:.1%}, missed {missed:.2%} of the actions, interval right for {inside} of {len(days)}"
    )
    holds = saved >= _LEAST_SAVED and missed <= _MOST_MISSED and inside >= _LEAST_INSIDE * len(days)
    print("holds" if holds else "MISSED: saved at least 80 %, missed at most 2 %, right for 9 of 10")
    return 0 if holds else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="just bench still", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=10, help="days to render (default: 10)")
    parser.add_argument("--first-seed", type=int, default=1, help="of the first day (default: 1)")
    parser.add_argument("--actions", type=int, default=200, help="in a day (default: 200)")
    parser.add_argument("--rest", type=int, default=224, help="still frames around each action (default: 224)")
    parser.add_argument("--stride", type=int, default=16, help="frames from window to window (default: 16)")
    parser.add_argument("--threshold", type=float, help="still_threshold in grey levels (default: the service's)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
