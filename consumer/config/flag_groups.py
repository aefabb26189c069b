"""The flags of the consumer, by what they are about; each one's help says why one would change it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from consumer.config.flag_types import checked, http_url, integer, number
from consumer.config.settings import Output, Sampling, Service
from consumer.feeds.reader import Reading
from consumer.output.event_sinks import ACCEPTED_TARGETS, check_target
from consumer.output.events import Rules
from consumer.sources.ffmpeg import Link

DEFAULT_SAMPLING, DEFAULT_READING, DEFAULT_SERVICE = Sampling(), Reading(), Service()
DEFAULT_LINK, DEFAULT_OUTPUT, DEFAULT_RULES = Link(), Output(), Rules()


def add_all(parser: Any) -> None:
    """Add them to a configargparse parser, whose groups are not typed."""
    _add_sampling_flags(parser.add_argument_group("clips"))
    _add_reading_flags(parser.add_argument_group("sources"))
    _add_service_flags(parser.add_argument_group("service"))
    _add_sending_flags(parser.add_argument_group("sending"))
    _add_output_flags(parser.add_argument_group("output"))
    _add_event_flags(parser.add_argument_group("events"))


def _add_sampling_flags(group: Any) -> None:
    group.add_argument(
        "--fps",
        type=number(0.01, 240),
        default=DEFAULT_SAMPLING.fps,
        help="frames sampled a second; change it for a model that was not trained on the 3 of Something-Something"
        " (default: %(default)g)",
    )
    group.add_argument(
        "--frames",
        type=integer(1, 256),
        help="frames in a clip; set it for a service that does not say how many its model takes"
        " (default: what the service says, else 16)",
    )
    group.add_argument(
        "--clip-stride",
        metavar="FRAMES",
        type=integer(1, 100_000),
        help="sampled frames from one clip's first to the next one's; less than --frames has clips overlap, so that"
        " nothing short falls between two, more looks only now and then (default: --frames)",
    )
    group.add_argument(
        "--max-gap",
        dest="max_gap_s",
        metavar="SECONDS",
        type=number(0.01, 3600),
        help="without a frame for this long, the clip that has begun is discarded; raise it for cameras that send"
        " frames only when something moves (default: 1.5 sampled frames and at least 0.5 s for what is live, a clip's"
        " length for files; three times the usual where frames are rarer than that)",
    )
    group.add_argument(
        "--short-edge",
        dest="short_edge_px",
        metavar="PIXELS",
        type=integer(32, 4320, or_zero=True),
        help="shrink larger frames to this short edge before sending; 0 sends frames as they are"
        " (default: what the service would shrink them to, else 292)",
    )


def _add_reading_flags(group: Any) -> None:
    group.add_argument(
        "--backend",
        choices=("pyav", "deepstream"),
        default=DEFAULT_READING.backend,
        help="deepstream decodes RTSP on the GPU where NVIDIA's DeepStream SDK is installed; it has not been tested on"
        " hardware (default: %(default)s)",
    )
    group.add_argument(
        "--rtsp-transport",
        dest="transport",
        choices=("tcp", "udp"),
        default=DEFAULT_LINK.transport,
        help="udp for cameras that speak nothing else, or where a late frame is worse than a lost one"
        " (default: %(default)s)",
    )
    group.add_argument(
        "--silence-timeout",
        dest="silence_s",
        metavar="SECONDS",
        type=number(0.5, 3600),
        default=DEFAULT_LINK.silence_s,
        help="connect again to a camera that says nothing for this long; raise it for one with rare frames"
        " (default: %(default)g)",
    )
    group.add_argument(
        "--reconnect-max",
        dest="longest_pause_s",
        metavar="SECONDS",
        type=number(0.1, 3600),
        default=DEFAULT_READING.longest_pause_s,
        help="the pause between two attempts to connect grows to this; lower it where seconds count"
        " (default: %(default)g)",
    )
    group.add_argument(
        "--image-fps",
        type=number(0.01, 240),
        help="frames a second that a directory of images holds; give the rate at which they were extracted"
        " (default: --fps, every image is looked at)",
    )


def _add_service_flags(group: Any) -> None:
    group.add_argument(
        "--service-url",
        dest="url",
        metavar="URL",
        env_var="VJEPA_SERVICE_URL",
        type=http_url,
        default=DEFAULT_SERVICE.url,
        help="where the service is; change it when that is another machine or port; a service with --api-key-file"
        " wants a key in the environment's VJEPA_API_KEY (default: %(default)s)",
    )
    group.add_argument(
        "--top-k",
        type=integer(1, 10_000),
        help="predictions in an answer; raise it to see with --json what else the model considered"
        " (default: the service's)",
    )
    group.add_argument(
        "--wait",
        dest="wait_s",
        metavar="SECONDS",
        type=number(0, 86_400),
        help="how long the service may be away, at the start and later, before that is an error; 0 fails at once"
        " (default: for ever with a live source, else 60)",
    )
    group.add_argument(
        "--timeout",
        dest="timeout_s",
        metavar="SECONDS",
        type=number(0.1, 3600),
        default=DEFAULT_SERVICE.timeout_s,
        help="how long a request may take; raise it for a large model on a slow CPU, lower it to notice a stuck"
        " service sooner (default: %(default)g)",
    )
    group.add_argument(
        "--retries",
        type=integer(0, 100),
        default=DEFAULT_SERVICE.retries,
        help="how often to send a clip again when the service is busy, after the pause it asks for; raise it when many"
        " consumers share the service (default: %(default)d)",
    )


def _add_sending_flags(group: Any) -> None:
    group.add_argument(
        "--encoding",
        choices=("raw", "jpeg", "json"),
        help="raw pixels are exact and cost no time, JPEG a tenth of the bytes, JSON is for services that take nothing"
        " else (default: raw on loopback, jpeg otherwise)",
    )
    group.add_argument(
        "--jpeg-quality",
        type=integer(1, 100),
        default=DEFAULT_SERVICE.jpeg_quality,
        help="lower it on a thin line (default: %(default)d)",
    )
    group.add_argument(
        "--in-flight",
        type=integer(1, 1024),
        default=DEFAULT_SERVICE.in_flight,
        help="requests at once, of all sources together; raise it for a service with a larger batch"
        " (default: %(default)d)",
    )
    group.add_argument(
        "--queue",
        type=integer(1, 1024),
        default=DEFAULT_SERVICE.queue,
        help="clips of a source that wait for their turn; a camera's oldest is dropped when there are more, a file"
        " waits; raise it to bridge longer pauses of the service, at up to 10 MB a clip (default: %(default)d)",
    )


def _add_output_flags(group: Any) -> None:
    group.add_argument(
        "--json",
        action=argparse.BooleanOptionalAction,
        default=DEFAULT_OUTPUT.json,
        help="also print each clip's whole answer as a line of JSON on stdout; for programs that read the predictions",
    )
    group.add_argument(
        "--save-clips",
        metavar="DIR",
        type=Path,
        help="write clips there as MP4 with their label burnt in, as evidence; with --events only those with a"
        " prediction above the threshold",
    )
    group.add_argument(
        "--metrics-port",
        metavar="PORT",
        type=integer(1, 65_535),
        help="serve figures for Prometheus at http://HOST:PORT/metrics",
    )
    group.add_argument(
        "--log-format",
        choices=("text", "json"),
        default=DEFAULT_OUTPUT.log_format,
        help="text for people, json for log collectors (default: %(default)s)",
    )


def _add_event_flags(group: Any) -> None:
    group.add_argument(
        "--events",
        metavar="TARGET",
        action="append",
        default=[],
        type=checked(check_target),
        help=f"tell there when an action starts and ends, as JSON; may be given several times;"
        f" {ACCEPTED_TARGETS} (needs the extra mqtt)",
    )
    group.add_argument(
        "--event-threshold",
        type=number(0, 1),
        default=DEFAULT_RULES.threshold,
        help="confidence from which a clip counts as showing an action; lower it to miss fewer, raise it for fewer"
        " false alarms (default: %(default)g)",
    )
    group.add_argument(
        "--event-clips",
        type=integer(1, 1000),
        default=DEFAULT_RULES.clips,
        help="clips in a row that start an action, or end it; raise it for fewer false alarms, which come later"
        " (default: %(default)d)",
    )
    group.add_argument(
        "--event-timeout",
        dest="event_timeout_s",
        metavar="SECONDS",
        type=number(1, 86_400),
        default=DEFAULT_RULES.timeout_s,
        help="end a camera's actions when none of its clips was classified for this long (default: %(default)g)",
    )
    group.add_argument(
        "--event-label",
        dest="event_labels",
        metavar="LABEL",
        action="append",
        default=[],
        help="an action to tell of; may be given several times (default: all)",
    )
