"""Everything that can be set, in one frozen object: flag before environment before default."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import configargparse

from engines.bundle import BUNDLES
from engines.runtimes import default_bundle

LogFormat = Literal["auto", "json", "text"]
MIB = 2**20


@dataclass(frozen=True)
class Settings:
    """See ``python -m server --help``; the defaults are those of its flags."""

    bundle: Path
    host: str = "127.0.0.1"
    port: int = 8000
    threads: int = 0
    decode_threads: int = 2
    queue_size: int = 64
    max_body_bytes: int = 64 * MIB
    max_clip_bytes: int = 128 * MIB
    drain_timeout_s: int = 30
    log_format: LogFormat = "auto"
    log_level: str = "info"


def parse_settings(arguments: Sequence[str] | None = None) -> Settings:
    """Settings from the command line and the ``VJEPA_*`` environment; exits with code 2 on what cannot be used."""
    flags = vars(_parser().parse_args(arguments))
    return Settings(
        bundle=find_bundle(flags.pop("bundle")),
        max_body_bytes=flags.pop("max_body_mb") * MIB,
        max_clip_bytes=flags.pop("max_clip_mb") * MIB,
        **flags,
    )


def find_bundle(name: str | None) -> Path:
    """A directory as given, or the bundle of that name in ``engines/bundles``, or the default one."""
    if name is None:
        return default_bundle()
    known = BUNDLES / name
    return known if known.is_dir() and not Path(name).is_dir() else Path(name)


def _parser() -> configargparse.ArgParser:
    parser = configargparse.ArgParser(
        prog="python -m server",
        description="Serve an engine bundle over HTTP.",
        auto_env_var_prefix="VJEPA_",
        formatter_class=configargparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add(
        "bundle",
        nargs="?",
        default=os.environ.get("VJEPA_BUNDLE"),
        help="bundle directory, or the name of one in engines/bundles; left out: the newest one built here that this"
        " machine can run, else the demo [env var: VJEPA_BUNDLE]",
    )
    _add_network_flags(parser)
    _add_limit_flags(parser)
    _add_log_flags(parser)
    return parser


def _add_network_flags(parser: configargparse.ArgParser) -> None:
    parser.add("--host", default=Settings.host, help="0.0.0.0 to be reached from other machines and containers")
    parser.add("--port", type=_between(0, 65535), default=Settings.port, help="0 takes a free one and logs it")
    parser.add(
        "--drain-timeout-s",
        type=_between(0, 3600),
        default=Settings.drain_timeout_s,
        help="how long a stop waits for requests in flight; less than what your orchestrator waits before it kills",
    )


def _add_limit_flags(parser: configargparse.ArgParser) -> None:
    parser.add(
        "--threads",
        type=_between(0, 1024),
        default=Settings.threads,
        help="cores the engine takes, 0 for all; fewer leave room for other programs on the machine",
    )
    parser.add(
        "--decode-threads",
        type=_between(1, 1024),
        default=Settings.decode_threads,
        help="requests decoded at once; raise it when clients send large images and cores are idle",
    )
    parser.add(
        "--queue-size",
        type=_between(1, 1_000_000),
        default=Settings.queue_size,
        help="clips that may wait for the engine before new ones get 503; bounds both waiting time and memory",
    )
    parser.add(
        "--max-body-mb",
        type=_between(1, 4096),
        default=Settings.max_body_bytes // MIB,
        help="largest request body in MiB; raise it for raw frames above 1280 x 720",
    )
    parser.add(
        "--max-clip-mb",
        type=_between(1, 16384),
        default=Settings.max_clip_bytes // MIB,
        help="largest decoded clip in MiB (16 frames of 1920 x 1080 are 95); raise it for 4K images",
    )


def _add_log_flags(parser: configargparse.ArgParser) -> None:
    parser.add(
        "--log-format",
        choices=("auto", "json", "text"),
        default=Settings.log_format,
        help="json for log collectors, text for people; auto is text on a terminal",
    )
    parser.add(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default=Settings.log_level,
        help="warning leaves out the line per request",
    )


def _between(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not between {low} and {high}")
        return value

    parse.__name__ = "whole number"  # argparse's own message for a non-number names the type so
    return parse
