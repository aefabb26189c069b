"""The flags of load, sizes and the stop; each help text says why one would change the flag."""

from __future__ import annotations

from commandline.parser import Parser
from commandline.values import integer
from server.config.settings import LONGEST_DEADLINE_MS, MIB, Settings


def add_load(parser: Parser) -> None:
    """How much may wait, and how long."""
    parser.add(
        "--deadline-ms",
        type=integer(1, LONGEST_DEADLINE_MS),
        default=Settings.deadline_ms,
        help="Milliseconds from the first byte of a request to its answer, after which it gets 504. The header"
        " X-Deadline-Ms overrides it. Set it to the time that your clients wait.",
    )
    parser.add(
        "--queue-size",
        type=integer(1, 1_000_000),
        default=Settings.queue_size,
        help="Largest number of clips in decoding, queue and engine. Further clips get 503. It bounds the waiting"
        " time: use several times the batch size, but not more clips than the engine classifies within a deadline.",
    )
    parser.add(
        "--max-inflight-mb",
        type=integer(1, 1_048_576),
        default=Settings.max_inflight_bytes // MIB,
        help="MiB of bodies and pixels that all requests may hold together. Further requests get 503. Lower it on"
        " machines with little memory; raise it for many large clips at once.",
    )


def add_sizes(parser: Parser) -> None:
    """How large a request may be."""
    parser.add(
        "--max-body-mb",
        type=integer(1, 4096),
        default=Settings.max_body_bytes // MIB,
        help="Largest request body in MiB. Raise it for raw frames above 1280 x 720.",
    )
    parser.add(
        "--max-clip-mb",
        type=integer(1, 16384),
        default=Settings.max_clip_bytes // MIB,
        help="Largest decoded clip in MiB; 16 frames of 1920 x 1080 take 95. Raise it for 4K images.",
    )


def add_videos(parser: Parser) -> None:
    """Whether whole videos are accepted, and how large and how many."""
    parser.add(
        "--video",
        action="store_true",
        default=None,
        help="Accept whole videos at /api/v1/video also from other machines. Each is decoded in a process of its own,"
        " with limits, but decoders have faults: use it among clients that you trust. (default: only on loopback"
        " addresses)",
    )
    parser.add(
        "--no-video",
        dest="video",
        action="store_false",
        help="Accept no videos, not even from this machine.",
    )
    parser.add(
        "--max-videos",
        type=integer(1, 256),
        default=Settings.max_videos,
        help="Videos that are received and labelled at the same time; further ones get 503. Each takes a core while it"
        " is decoded and its size on the disk of TMPDIR. Raise it on machines with many cores.",
    )
    parser.add(
        "--max-video-mb",
        type=integer(1, 1_048_576),
        default=Settings.max_video_bytes // MIB,
        help="Largest video in MiB. Raise it for long recordings, if TMPDIR has room for --max-videos of them.",
    )
    parser.add(
        "--video-timeout-s",
        type=integer(1, 86_400),
        default=Settings.video_timeout_s,
        help="Seconds in which a video must have been received and labelled, and seconds of CPU time of its decoder."
        " Raise it for long recordings.",
    )


def add_stop(parser: Parser) -> None:
    """How a stop goes on."""
    parser.add(
        "--drain-delay-s",
        type=integer(0, 3600),
        default=Settings.drain_delay_s,
        help="Seconds after SIGTERM in which requests are still accepted while /health/ready already returns 503. Set"
        " it to the time that your load balancer needs to notice.",
    )
    parser.add(
        "--drain-timeout-s",
        type=integer(0, 3600),
        default=Settings.drain_timeout_s,
        help="Seconds that a stop then waits for accepted requests. Together with the delay, keep it below the time"
        " after which your orchestrator kills the process.",
    )
