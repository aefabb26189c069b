"""The flags of the consumer in groups; each help text says when to change the value."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from commandline.values import checked, integer, number
from consumer.config.flag_types import http_url
from consumer.config.settings import Output, Sampling, Service
from consumer.feeds.reader import Reading
from consumer.output.event_sinks import ACCEPTED_TARGETS, check_target
from consumer.output.events import Rules
from consumer.output.evidence import EvidenceRules
from consumer.sources.ffmpeg import Link

DEFAULT_SAMPLING, DEFAULT_READING, DEFAULT_SERVICE = Sampling(), Reading(), Service()
DEFAULT_LINK, DEFAULT_OUTPUT, DEFAULT_RULES = Link(), Output(), Rules()
DEFAULT_EVIDENCE = EvidenceRules()


def add_all(parser: Any) -> None:
    """Add all flags to a configargparse parser (``Any``, because configargparse has no types)."""
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


def _add_reading_flags(group: Any) -> None:
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


def _add_service_flags(group: Any) -> None:
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


def _add_sending_flags(group: Any) -> None:
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
        help="most requests at the same time, over all sources; raise it for a service with a larger batch"
        " (default: %(default)d)",
    )
    group.add_argument(
        "--queue",
        type=integer(1, 1024),
        default=DEFAULT_SERVICE.queue,
        help="most clips of one source that wait to be sent; beyond that, a live source drops its oldest clip and a"
        " file waits; raise it to bridge longer pauses of the service, at up to 10 MB per clip (default: %(default)d)",
    )


def _add_output_flags(group: Any) -> None:
    group.add_argument(
        "--json",
        action=argparse.BooleanOptionalAction,
        default=DEFAULT_OUTPUT.json,
        help="also print each complete answer as a line of JSON on stdout, for programs that read the predictions",
    )
    group.add_argument(
        "--save-clips",
        metavar="DIR",
        type=Path,
        help="save clips in this directory as MP4 files with the label drawn into the frames, to see what the model saw"
        "; with --events only clips that have a prediction above the threshold and do not overlap",
    )
    group.add_argument(
        "--keep-days",
        metavar="DAYS",
        type=number(0.001, 36_500),
        help="delete files of --evidence and --save-clips that are older, for example because of a duty to do so"
        " (default: no limit)",
    )
    group.add_argument(
        "--keep-mb",
        metavar="MB",
        type=number(1, 1e9),
        help="delete the oldest files in the directories of --evidence and --save-clips when one of them has more than"
        " this many megabytes; set it so that the disk does not fill (default: no limit)",
    )
    group.add_argument(
        "--metrics-port",
        metavar="PORT",
        type=integer(1, 65_535),
        help="serve Prometheus metrics at http://HOST:PORT/metrics",
    )
    group.add_argument(
        "--metrics-host",
        metavar="HOST",
        default=DEFAULT_OUTPUT.metrics_host,
        help="address of this machine for --metrics-port; set it to 0.0.0.0 if Prometheus runs on another machine: the"
        " metrics need no key and name the addresses of the cameras (default: %(default)s)",
    )
    group.add_argument(
        "--log-format",
        choices=("text", "json"),
        default=DEFAULT_OUTPUT.log_format,
        help="text is for people, json for log collectors (default: %(default)s)",
    )


def _add_event_flags(group: Any) -> None:
    group.add_argument(
        "--events",
        metavar="TARGET",
        action="append",
        default=[],
        type=checked(check_target),
        help="send an event as JSON when an action starts or ends; may be given several times;"
        f" {ACCEPTED_TARGETS} (needs the extra mqtt)",
    )
    group.add_argument(
        "--event-threshold",
        type=number(0, 1),
        default=DEFAULT_RULES.threshold,
        help="minimum confidence for a clip to count as showing an action; lower it to miss fewer actions, raise it for"
        " fewer false alarms (default: %(default)g)",
    )
    group.add_argument(
        "--event-clips",
        type=integer(1, 1000),
        default=DEFAULT_RULES.clips,
        help="number of clips in a row that start or end an action; raise it for fewer false alarms, but later events"
        " (default: %(default)d)",
    )
    group.add_argument(
        "--event-timeout",
        dest="event_timeout_s",
        metavar="SECONDS",
        type=number(1, 86_400),
        default=DEFAULT_RULES.timeout_s,
        help="end the actions of a live source if none of its clips was classified for this long"
        " (default: %(default)g)",
    )
    group.add_argument(
        "--event-label",
        dest="event_labels",
        metavar="LABEL",
        action="append",
        default=[],
        help="send events only for this label; may be given several times (default: all labels)",
    )
    group.add_argument(
        "--evidence",
        dest="evidence_directory",
        metavar="DIR",
        type=Path,
        help="save one recording of each action in this directory: the camera's own video at full size",
    )
    group.add_argument(
        "--evidence-before",
        dest="evidence_before_s",
        metavar="SECONDS",
        type=number(0, 600),
        default=DEFAULT_EVIDENCE.before_s,
        help="how long before the action its recording starts, or up to a key frame earlier; raise it to see what led"
        " to the action (default: %(default)g)",
    )
    group.add_argument(
        "--evidence-after",
        dest="evidence_after_s",
        metavar="SECONDS",
        type=number(0, 600),
        default=DEFAULT_EVIDENCE.after_s,
        help="how long after the action its recording ends; raise it to see what followed (default: %(default)g)",
    )
