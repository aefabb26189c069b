"""The flags of the service and of how clips are sent to it."""

from __future__ import annotations

from typing import Any

from commandline.values import integer, number
from consumer.config.flag_types import http_url
from consumer.config.settings import Service

DEFAULT_SERVICE = Service()


def add_service_flags(group: Any) -> None:
    """Which service, and how long to wait for it."""
    group.add_argument(
        "--service-url",
        dest="url",
        metavar="URL",
        env_var="VJEPA_SERVICE_URL",
        type=http_url,
        default=DEFAULT_SERVICE.url,
        help="address of the service; change it for another machine or port; for a service with --api-key-file, set the"
        " key in the environment variable VJEPA_API_KEY (default: %(default)s)",
    )
    group.add_argument(
        "--top-k",
        type=integer(1, 10_000),
        help="number of predictions per answer; raise it to see more of them with --json"
        " (default: that of the service)",
    )
    group.add_argument(
        "--model",
        metavar="NAME",
        help="model that answers, for a service that has several; GET /api/v1/models lists them under served_as"
        " (default: the first one of the service)",
    )
    group.add_argument(
        "--head",
        metavar="NAME",
        help="head whose labels to ask for and to report in events, instead of the model's own; clips that it answers"
        " with unknown cause no event (default: the labels of the model)",
    )
    group.add_argument(
        "--wait",
        dest="wait_s",
        metavar="SECONDS",
        type=number(0, 86_400),
        help="how long to wait for a service that is not ready, at the start or later, before the consumer fails; 0"
        " fails at once (default: no limit with a live source, else 60)",
    )
    group.add_argument(
        "--timeout",
        dest="timeout_s",
        metavar="SECONDS",
        type=number(0.1, 3600),
        default=DEFAULT_SERVICE.timeout_s,
        help="time limit of a request; raise it for a large model on a slow CPU, lower it to notice sooner that a"
        " service hangs (default: %(default)g)",
    )
    group.add_argument(
        "--retries",
        type=integer(0, 100),
        default=DEFAULT_SERVICE.retries,
        help="how often to send a clip again if the service is busy; raise it if many consumers share the service"
        " (default: %(default)d)",
    )


def add_sending_flags(group: Any) -> None:
    """How clips are sent."""
    group.add_argument(
        "--transport",
        dest="sending",
        choices=("stream", "clips"),
        help="stream sends each frame once, although clips overlap; clips sends each clip in a request of its own,"
        " which suits one long recording on an engine with large batches (default: stream if the service has streams)",
    )
    group.add_argument(
        "--weight",
        metavar="SHARE",
        type=number(0.01, 100),
        help="share of the engine for each stream beside other streams when there is more than it can do; raise it for"
        " a camera that matters more; needs streams (default: that of the service, 1)",
    )
    group.add_argument(
        "--still",
        choices=("skip", "classify"),
        help="skip leaves out clips in which nothing moves, to serve more cameras; needs streams (default: classify)",
    )
    group.add_argument(
        "--still-check",
        metavar="SHARE",
        type=number(0, 1),
        help="share of the clips skipped by --still that are classified all the same, to estimate what was missed;"
        " raise it to know that sooner (default: that of the service, 0.02)",
    )
    group.add_argument(
        "--still-threshold",
        metavar="LEVELS",
        type=number(0, 255),
        help="grey levels; --still skips clips in which less moves; lower it if small or faint actions are missed,"
        " raise it if the noise of a camera is taken for movement (default: that of the service, 4.5)",
    )
    group.add_argument(
        "--encoding",
        choices=("raw", "jpeg", "json"),
        help="raw is exact and needs no encoding time; jpeg needs a tenth of the bandwidth; json is for services that"
        " accept nothing else (default: raw on loopback, jpeg otherwise)",
    )
    group.add_argument(
        "--jpeg-quality",
        type=integer(1, 100),
        default=DEFAULT_SERVICE.jpeg_quality,
        help="lower it on a slow network (default: %(default)d)",
    )
    group.add_argument(
        "--in-flight",
        type=integer(1, 1024),
        default=DEFAULT_SERVICE.in_flight,
        help="most clips that wait for their answers at the same time, over all sources, or on each stream; raise it"
        " for a service with a larger batch (default: %(default)d)",
    )
    group.add_argument(
        "--queue",
        type=integer(1, 1024),
        default=DEFAULT_SERVICE.queue,
        help="most clips of one source that wait to be sent; beyond that, a live source drops its oldest clip and a"
        " file waits; raise it to bridge longer pauses of the service, at up to 10 MB per clip (default: %(default)d)",
    )
