"""``python -m export.demo.show [VIDEO]``, which ``just demo`` runs: shows the whole service at work.

It starts the server with the demo engine, lets the consumer send a video over HTTP and prints the answers. Without
VIDEO it sends the bundled sample, ``sample.mp4``, or renders a motion. With ``--page`` it serves the page for people
instead, with three rendered cameras. It needs neither torch nor transformers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import aiohttp
import av

from commandline.parser import Parser
from commandline.programs import command
from commandline.suggestions import did_you_mean
from commandline.values import integer
from engines.storage.bundle import DEMO
from export.demo.cameras import NAMES, run_cameras
from export.demo.labels import LABELS
from export.demo.rendering.clips import render_clip

# The frame rate of Something-Something; the consumer samples every fourth frame.
VIDEO_FPS = 12
VIDEO_FRAMES = 64
VIDEO_SIZE = (360, 480)
BAR_CHARACTERS = 24

SAMPLE = Path(__file__).with_name("sample.mp4")
"""The bundled video, which ``write_motion`` rendered from the label and the seed below; it belongs to this package."""
SAMPLE_LABEL = "Moving something up"
SAMPLE_SEED = 35_000_000


class ShowError(Exception):
    """The server or the consumer failed; the text is its last message."""


class Wanted(NamedTuple):
    """The flags: the user's ``video``, or a motion to render, or else the sample; ``save`` keeps what is sent.

    With ``page``, the page is served, and nothing else is done.
    """

    video: Path | None
    label: str | None
    seed: int | None
    random: bool
    save: Path | None
    page: bool


def main() -> int:
    wanted = _wanted()
    try:
        if wanted.page:
            show_page()
            return 0
        with tempfile.TemporaryDirectory() as directory:
            video, drawn = _video(wanted, Path(directory))
            if wanted.save is not None:
                shutil.copyfile(video, wanted.save)
                print(f"saved         {wanted.save}")
            show(video, drawn)
            print(f"\nTo try it in a browser: {command('demo', '--page')}")
    except (ShowError, OSError, aiohttp.ClientError) as error:
        print(f"demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _video(wanted: Wanted, directory: Path) -> tuple[Path, str | None]:
    """The video to send and its true label, if that is known; what is rendered is written into ``directory``."""
    if wanted.video is not None:
        return wanted.video, None
    if not wanted.random and wanted.label is None and wanted.seed is None:
        print(f"video         the bundled sample: {SAMPLE_LABEL}")
        return SAMPLE, SAMPLE_LABEL
    video, label = directory / "motion.mp4", wanted.label or secrets.choice(LABELS)
    write_motion(video, label, secrets.randbelow(2**31) if wanted.seed is None else wanted.seed)
    print(f"video         {VIDEO_FRAMES} frames rendered of: {label}")
    return video, label


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


def show_page() -> None:
    """Serve the page, with rendered cameras under way, until the server ends or Ctrl-C. Raises ShowError."""
    with _server() as ready:
        print(f"page          {ready['url']}/", flush=True)
        print(f"cameras       {', '.join(NAMES)}: rendered motions\nCtrl-C ends it.", flush=True)
        asyncio.run(run_cameras(ready["url"]))
    raise ShowError("the server has ended")


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
    program = [sys.executable, "-m", "server", str(DEMO), "--port", "0", "--log-format", "json", "--log-level", "info"]
    process = subprocess.Popen(program, stderr=subprocess.PIPE, text=True)
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
    program = [sys.executable, "-m", "consumer", str(video), "--json"]
    environment = os.environ | {"VJEPA_SERVICE_URL": url}
    consumer = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    if consumer.returncode != 0:
        lines = consumer.stderr.strip().split("\n")
        # The last error: the summary of the run follows it.
        raise ShowError(([line for line in lines if "ERROR " in line] or lines)[-1])
    return [json.loads(line) for line in consumer.stdout.splitlines()]


def _row(prediction: dict[str, Any]) -> str:
    bar = "#" * round(prediction["confidence"] * BAR_CHARACTERS)
    return f"  {prediction['confidence']:7.2%}  {bar:<{BAR_CHARACTERS}}  {prediction['label']}"


def _wanted() -> Wanted:
    """The flags of the command line; exits with code 2 if they cannot be used."""
    parser = Parser("demo", description="Show the whole service at work on one video.")
    parser.add("video", nargs="?", type=Path, help="a video file of your own (if omitted: the bundled sample)")
    parser.add("--random", action="store_true", help="render a new video of a motion that is drawn at random")
    parser.add("--label", choices=LABELS, metavar="LABEL", help=f"render a video of this motion: {'; '.join(LABELS)}")
    parser.add("--seed", type=integer(0, 2**31 - 1), help="random seed of the rendered video, to render it again")
    parser.add("--save", type=Path, metavar="FILE", help="keep the sample or the rendered video in this file (MP4)")
    parser.add("--page", action="store_true", help="serve the page with three rendered cameras, until Ctrl-C")
    wanted = Wanted(**vars(parser.parse_args()))
    if wanted.video is not None and not wanted.video.exists():
        beside = [str(path) for path in wanted.video.parent.iterdir()] if wanted.video.parent.is_dir() else []
        parser.error(f"there is no video {wanted.video}{did_you_mean(str(wanted.video), beside)}")
    if wanted.video is not None and wanted[1:] != (None, None, False, None, False):
        parser.error("--random, --label, --seed, --save and --page are for the demo's own videos, not for yours")
    return wanted


if __name__ == "__main__":
    sys.exit(main())
