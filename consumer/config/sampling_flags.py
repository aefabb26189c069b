"""The flags of how clips are sampled and how sources are read."""

from __future__ import annotations

from typing import Any

from commandline.values import integer, number
from consumer.config.settings import Sampling
from consumer.feeds.reader import Reading
from consumer.sources.ffmpeg import Link

DEFAULT_SAMPLING, DEFAULT_READING, DEFAULT_LINK = Sampling(), Reading(), Link()


def add_sampling_flags(group: Any) -> None:
    """How clips are sampled."""
    group.add_argument(
        "--fps",
        type=number(0.01, 240),
        default=DEFAULT_SAMPLING.fps,
        help="frames to sample per second; change it for a model that was not trained at the 3 of Something-Something"
        " (default: %(default)g)",
    )
    group.add_argument(
        "--frames",
        type=integer(1, 256),
        help="frames per clip; set it for a service that does not report how many its model takes"
        " (default: the number that the service reports, else 16)",
    )
    group.add_argument(
        "--clip-stride",
        metavar="FRAMES",
        type=integer(1, 100_000),
        help="sampled frames between the starts of two clips; less than --frames makes clips overlap, so that no short"
        " action is split between two clips; more skips frames between clips (default: --frames)",
    )
    group.add_argument(
        "--max-gap",
        dest="max_gap_s",
        metavar="SECONDS",
        type=number(0.01, 3600),
        help="discard the current clip if no frame comes for this long; raise it for cameras that send frames only when"
        " something moves (default: for live sources the time of 1.5 sampled frames, at least 0.5 s, for files the"
        " length of a clip; always at least three frame intervals of a live source)",
    )
    group.add_argument(
        "--short-edge",
        dest="short_edge_px",
        metavar="PIXELS",
        type=integer(32, 4320, other="0"),
        help="shrink larger frames to this short edge before sending; 0 sends frames in their own size"
        " (default: the short edge that the service resizes to, else 292)",
    )


def add_reading_flags(group: Any) -> None:
    """How sources are read."""
    group.add_argument(
        "--name",
        dest="names",
        metavar="NAME",
        action="append",
        default=[],
        help="what to call a source in all outputs instead of its address; give one for each source, in their order, or"
        " write NAME=rtsp://HOST/PATH",
    )
    group.add_argument(
        "--backend",
        choices=("pyav", "deepstream"),
        default=DEFAULT_READING.backend,
        help="deepstream decodes RTSP on the GPU and needs NVIDIA's DeepStream SDK; it has not been tested on real"
        " hardware (default: %(default)s)",
    )
    group.add_argument(
        "--rtsp-transport",
        dest="transport",
        choices=("tcp", "udp"),
        default=DEFAULT_LINK.transport,
        help="choose udp for cameras that support nothing else, or if a late frame is worse than a lost one"
        " (default: %(default)s)",
    )
    group.add_argument(
        "--silence-timeout",
        dest="silence_s",
        metavar="SECONDS",
        type=number(0.5, 3600),
        default=DEFAULT_LINK.silence_s,
        help="reconnect to a live source that sends nothing for this long; raise it for cameras with a low frame rate"
        " (default: %(default)g)",
    )
    group.add_argument(
        "--reconnect-max",
        dest="longest_pause_s",
        metavar="SECONDS",
        type=number(0.1, 3600),
        default=DEFAULT_READING.longest_pause_s,
        help="longest pause between two attempts to connect; lower it to notice a returning camera sooner"
        " (default: %(default)g)",
    )
    group.add_argument(
        "--image-fps",
        type=number(0.01, 240),
        help="frame rate of a directory of images; set it to the rate at which they were extracted"
        " (default: --fps, so that every image is sampled)",
    )
