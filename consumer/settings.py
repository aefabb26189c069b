"""The settings, in one frozen object: command line flag before environment before default."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import configargparse
from yarl import URL

from consumer.log import LogFormat

DESCRIPTION = """\
Samples clips from a video file and has a V-JEPA 2 service say what happens in them. Logs a line per clip on stderr.
Exit code 0: every clip was classified; 1: the service refused or could not be reached; 2: an argument is wrong or the
source cannot be read."""


@dataclass(frozen=True, slots=True)
class Settings:
    """See ``python -m consumer --help``; ``None`` leaves the choice to the service."""

    source: str
    service_url: str = "http://localhost:8000"
    fps: float = 3.0
    frames: int | None = None
    short_edge_px: int = 292
    top_k: int | None = None
    wait_s: float = 30.0
    timeout_s: float = 60.0
    retries: int = 5
    json: bool = False
    log_format: LogFormat = "text"


DEFAULT = Settings(source="")


class _Parser(configargparse.ArgumentParser):  # type: ignore[misc]
    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"ERROR {message}; help: see python -m consumer --help\n")
        raise SystemExit(2)


def parse_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Read the settings; on one that cannot be used, prints a line on stderr and exits with code 2."""
    # An empty variable is what compose and unit files make of an unset one.
    variables = {name: value for name, value in environment.items() if value}
    return Settings(**vars(_parser().parse_args(arguments, env_vars=variables)))


def _parser() -> configargparse.ArgumentParser:
    parser = _Parser(
        prog="python -m consumer",
        description=DESCRIPTION,
        auto_env_var_prefix="VJEPA_CONSUMER_",
        allow_abbrev=False,
    )
    parser.add("source", metavar="SOURCE", help="path of a video file, in any format FFmpeg reads")
    _add_sampling_flags(parser)
    _add_service_flags(parser)
    _add_output_flags(parser)
    return parser


def _add_sampling_flags(parser: configargparse.ArgumentParser) -> None:
    parser.add(
        "--fps",
        type=_number(0.01, 240),
        default=DEFAULT.fps,
        help="frames sampled a second; change it for a model that was not trained on the 3 of Something-Something"
        " (default: %(default)g)",
    )
    parser.add(
        "--frames",
        type=_integer(1, 256),
        help="frames in a clip; set it for a service that does not say how many its model takes"
        " (default: what the service says, else 16)",
    )
    parser.add(
        "--short-edge",
        dest="short_edge_px",
        metavar="PIXELS",
        type=_integer(32, 4320, or_zero=True),
        default=DEFAULT.short_edge_px,
        help="shrink larger frames to this short edge before sending; raise it for a model that looks at more than"
        " 256 pixels, 0 to send frames as they are (default: %(default)d)",
    )


def _add_service_flags(parser: configargparse.ArgumentParser) -> None:
    parser.add(
        "--service-url",
        metavar="URL",
        env_var="VJEPA_SERVICE_URL",
        type=_http_url,
        default=DEFAULT.service_url,
        help="where the service is; change it when that is another machine or port (default: %(default)s)",
    )
    parser.add(
        "--top-k",
        type=_integer(1, 10_000),
        help="predictions in an answer; raise it to see with --json what else the model considered"
        " (default: the service's)",
    )
    parser.add(
        "--wait",
        dest="wait_s",
        metavar="SECONDS",
        type=_number(0, 3600),
        default=DEFAULT.wait_s,
        help="how long to wait at the start for the service to get ready; raise it for a large model that starts at"
        " the same time, 0 to fail at once (default: %(default)g)",
    )
    parser.add(
        "--timeout",
        dest="timeout_s",
        metavar="SECONDS",
        type=_number(0.1, 3600),
        default=DEFAULT.timeout_s,
        help="how long a request may take; raise it for a large model on a slow CPU, lower it to notice a stuck"
        " service sooner (default: %(default)g)",
    )
    parser.add(
        "--retries",
        type=_integer(0, 100),
        default=DEFAULT.retries,
        help="how often to send a clip again when the service is busy (503), after the pause it asks for; raise it"
        " when many consumers share the service (default: %(default)d)",
    )


def _add_output_flags(parser: configargparse.ArgumentParser) -> None:
    parser.add(
        "--json",
        action=argparse.BooleanOptionalAction,
        default=DEFAULT.json,
        help="also print each clip's whole answer as a line of JSON on stdout; for programs that read the predictions",
    )
    parser.add(
        "--log-format",
        choices=("text", "json"),
        default=DEFAULT.log_format,
        help="text for people, json for log collectors (default: %(default)s)",
    )


def _number(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low:g} to {high:g}")
        return value

    return parse


def _integer(low: int, high: int, or_zero: bool = False) -> Callable[[str], int]:
    accepted = ("0 or " if or_zero else "") + f"a whole number from {low} to {high}"

    def parse(text: str) -> int:
        # isdecimal() also keeps out the blanks and underscores that int() lets through.
        value = int(text) if text.isdecimal() else -1
        if not (low <= value <= high or (or_zero and value == 0)):
            raise argparse.ArgumentTypeError(f"{text!r} is not {accepted}")
        return value

    return parse


def _http_url(text: str) -> str:
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise argparse.ArgumentTypeError(f"{text!r} is not an http:// or https:// URL")
    return text
