"""``python -m export.demo.show [VIDEO]``: the whole service at work, as ``just demo`` runs it.

Starts the server on the demo engine, has the consumer send it a video over HTTP, prints what came back. Without VIDEO
a motion is drawn at random and rendered for the occasion. Needs neither torch nor transformers.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import av

from engines.storage.bundle import DEMO
from export.demo.labels import LABELS
from export.demo.rendering.clips import render_clip

# Something-Something's rate; the consumer takes every fourth of the frames.
VIDEO_FPS = 12
VIDEO_FRAMES = 64
VIDEO_SIZE = (360, 480)
BAR_CHARACTERS = 24


class ShowError(Exception):
    """The server or the consumer failed; the text is their own last word."""


def main() -> int:
    flags = _parser().parse_args()
    try:
        with tempfile.TemporaryDirectory() as directory:
            video, drawn = flags.video, None
            if video is None:
                video, drawn = Path(directory) / "motion.mp4", flags.label or secrets.choice(LABELS)
                write_motion(video, drawn, secrets.randbelow(2**31) if flags.seed is None else flags.seed)
                print(f"rendered      {VIDEO_FRAMES} frames of: {drawn}")
            show(video, drawn)
    except ShowError as error:
        print(f"demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def show(video: Path, drawn: str | None) -> None:
    """Serve, consume, print; ``drawn`` is the motion that ``video`` is known to show. Raises ShowError."""
    with _server() as ready:
        print(f"serving       {ready['url']}")
        answers = _consume(video, ready["url"])
    print(f"model         {answers[0]['model']}")
    for answer in answers:
        print(f"\n{answer['start_s']:.1f} s to {answer['end_s']:.1f} s, answered in {answer['latency_ms']:.0f} ms")
        for prediction in answer["predictions"]:
            print(_row(prediction))
    if drawn is not None:
        right = answers[0]["predictions"][0]["label"] == drawn
        print(f"\n{'Right' if right else 'Wrong'}: the motion drawn {'came' if right else 'did not come'} first.")


def write_motion(path: Path, label: str, seed: int) -> None:
    """Render ``label`` from ``seed`` and write it as an H.264 MP4 of a little over five seconds."""
    frames = render_clip(seed, label, frames=VIDEO_FRAMES, size=VIDEO_SIZE).frames
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=VIDEO_FPS)
        stream.height, stream.width = VIDEO_SIZE
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


@contextlib.contextmanager
def _server() -> Iterator[dict[str, Any]]:
    """The server's own "ready" log entry, while it runs on a free port. Raises ShowError when it does not start."""
    command = [sys.executable, "-m", "server", str(DEMO), "--port", "0", "--log-format", "json", "--log-level", "info"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        log = cast(IO[str], process.stderr)
        ready = _ready_entry(log)
        # Its later lines are read too, so that the pipe never fills up and holds the server.
        threading.Thread(target=log.read, daemon=True).start()
        yield ready
    finally:
        process.terminate()
        process.wait()


def _ready_entry(log: IO[str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"event": "the server wrote no log"}
    for line in log:
        entry = json.loads(line)
        if entry["event"] == "ready":
            return entry
    raise ShowError(entry["event"])


def _consume(video: Path, url: str) -> list[dict[str, Any]]:
    """The consumer's answers to the clips of ``video``, in order. Raises ShowError when it fails."""
    command = [sys.executable, "-m", "consumer", str(video), "--json"]
    environment = os.environ | {"VJEPA_SERVICE_URL": url}
    consumer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if consumer.returncode != 0:
        raise ShowError(consumer.stderr.strip().rsplit("\n", 1)[-1])
    return [json.loads(line) for line in consumer.stdout.splitlines()]


def _row(prediction: dict[str, Any]) -> str:
    bar = "#" * round(prediction["confidence"] * BAR_CHARACTERS)
    return f"  {prediction['confidence']:7.2%}  {bar:<{BAR_CHARACTERS}}  {prediction['label']}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="just demo", description="Show the whole service at work on one video.")
    parser.add_argument("video", nargs="?", type=Path, help="a video file of yours; left out: a rendered motion")
    parser.add_argument("--label", choices=LABELS, help="render this motion instead of one drawn at random")
    parser.add_argument("--seed", type=int, help="render the same clip again")
    return parser


if __name__ == "__main__":
    sys.exit(main())
