"""The flags of the outputs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from commandline.values import integer, number
from consumer.config.settings import Output

DEFAULT_OUTPUT = Output()


def add_output_flags(group: Any) -> None:
    """Clips, metrics and logs."""
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
