"""``python -m export.demo.show [VIDEO]``, which ``just demo`` runs: shows the whole service at work.

It starts the server with the demo engine, lets the consumer send a video over HTTP and prints the answers. Without
VIDEO it renders a random motion. It needs neither torch nor transformers.
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

# The frame rate of Something-Something; the consumer samples every fourth frame.
VIDEO_FPS = 12
VIDEO_FRAMES = 64
VIDEO_SIZE = (360, 480)
BAR_CHARACTERS = 24


class ShowError(Exception):
    """The server or the consumer failed; the text is its last message."""


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
    """Send ``video`` to a server and print the answers; ``drawn`` is its true label, if known. Raises ShowError."""
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
    """Render a clip of ``label`` from ``seed`` and write it as an H.264 MP4 of about five seconds."""
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
    """Run the server on a free port and yield its "ready" log entry. Raises ShowError if it does not start."""
    command = [sys.executable, "-m", "server", str(DEMO), "--port", "0", "--log-format", "json", "--log-level", "info"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        log = cast(IO[str], process.stderr)
        ready = _ready_entry(log)
        # The later lines are read too, because a full pipe would block the server.
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
    """Return what the consumer prints for each clip of ``video``, in order. Raises ShowError if it fails."""
    command = [sys.executable, "-m", "consumer", str(video), "--json"]
    environment = os.environ | {"VJEPA_SERVICE_URL": url}
    consumer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if consumer.returncode != 0:
        lines = consumer.stderr.strip().split("\n")
        # The last error: the summary of the run follows it.
        raise ShowError(([line for line in lines if "ERROR " in line] or lines)[-1])
    return [json.loads(line) for line in consumer.stdout.splitlines()]


def _row(prediction: dict[str, Any]) -> str:
    bar = "#" * round(prediction["confidence"] * BAR_CHARACTERS)
    return f"  {prediction['confidence']:7.2%}  {bar:<{BAR_CHARACTERS}}  {prediction['label']}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="just demo", description="Show the whole service at work on one video.")
    parser.add_argument("video", nargs="?", type=Path, help="a video file of your own (if omitted: a rendered motion)")
    parser.add_argument("--label", choices=LABELS, help="render this motion instead of a random one")
    parser.add_argument("--seed", type=int, help="random seed of the rendered clip, to render the same clip again")
    return parser


if __name__ == "__main__":
    sys.exit(main())
