"""Reads the settings; a flag takes precedence over its environment variable, that over the default."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from archive.config.recording_flags import add_decoders, add_device, add_fps
from archive.config.settings import Settings
from archive.decoding.job import Sampling
from archive.segments import Rules
from commandline.parser import Parser
from commandline.values import integer, number
from engines.linear_heads.storage import HEADS
from engines.storage.bundle import find_bundle

DEFAULT_RULES = Rules()

DESCRIPTION = """\
Labels recordings: tells which actions are seen from when to when. The engine is in this process, and needs no service.
Prints a table for each video, or writes results into --out, where what is there is not computed again. Exit codes: 0 if
every video was labelled; 1 if some of the videos could not be read, or the engine failed; 2 if an argument is wrong, no
video can be read or an output cannot be written; 130 after Ctrl-C; 141 if the reader of stdout has ended."""


def parse_settings(arguments: Sequence[str] | None = None) -> Settings:
    """Read the settings; an invalid value prints two lines on stderr and exits with code 2."""
    parser = Parser("label", env_prefix="VJEPA_LABEL_", description=DESCRIPTION, allow_abbrev=False)
    _add_flags(parser)
    values = vars(parser.parse_args(arguments))
    # Checked here, because the parser would report it before a flag that there is not.
    if not values["videos"]:
        parser.error("the following arguments are required: VIDEO|DIR")
    if values["out"] is None:
        for flag, wanted in (("--annotate", values["annotate"]), ("--ray", values["ray"] is not None)):
            if wanted:
                parser.error(f"{flag} needs --out, the directory to write to")
        if "parquet" in values["formats"]:
            parser.error("--format parquet needs --out, the directory to write to")
        if len(values["formats"]) > 1:
            parser.error("several --format need --out, the directory to write to")
    if values["service"] is not None:
        _check_service(parser, values)
    if values["leave"] > values["enter"]:
        parser.error("--leave is greater than --enter, so that a segment would end where it begins")
    return Settings(
        videos=tuple(values["videos"]),
        out=values["out"],
        formats=tuple(dict.fromkeys(values["formats"])),
        annotate=values["annotate"],
        bundle=None if values["bundle"] is None else find_bundle(values["bundle"]),
        head=values["head"],
        heads=values["heads"],
        service=values["service"],
        api_key=os.environ.get("VJEPA_API_KEY"),
        device=values["device"],
        decoders=values["decoders"],
        sampling=Sampling(fps=values["fps"], stride=values["stride"], max_gap_s=values["max_gap_s"]),
        rules=_rules(values),
        ray=values["ray"],
        ray_cores=values["ray_cores"],
    )


def _check_service(parser: Parser, values: dict[str, Any]) -> None:
    """A service has its own engine on its own devices."""
    if not values["service"].startswith(("http://", "https://")):
        parser.error(f"--service: {values['service']!r} is no URL; accepted: http://HOST:PORT")
    for flag in ("bundle", "device", "ray"):
        # The bundle may be set in the environment for other commands.
        if values[flag] is not None and values[flag] != os.environ.get(f"VJEPA_{flag.upper()}"):
            parser.error(f"--{flag} and --service exclude each other; a service labels with its own model")


def _rules(values: dict[str, Any]) -> Rules:
    return Rules(
        enter=values["enter"],
        leave=values["leave"],
        smoothing_s=values["smoothing_s"],
        shortest_s=values["shortest_s"],
        still_below=values["still_below"],
        no_action=tuple(values["no_action"] or DEFAULT_RULES.no_action),
    )


def _add_flags(parser: Parser) -> None:
    parser.add(
        "videos",
        metavar="VIDEO|DIR",
        nargs="*",
        help="one or more: video files, directories with video files below them, and URLs of both, as s3://BUCKET/PATH",
    )
    _add_output_flags(parser.add_argument_group("output"))
    _add_engine_flags(parser.add_argument_group("engine"))
    _add_sampling_flags(parser.add_argument_group("windows"))
    _add_segment_flags(parser.add_argument_group("segments"))
    _add_cluster_flags(parser.add_argument_group("cluster"))


def _add_output_flags(group: Any) -> None:
    group.add_argument(
        "--out",
        metavar="DIR",
        help="write a Parquet file for each video into this directory or URL, and continue there after an interruption;"
        " give it for more than a few videos",
    )
    group.add_argument(
        "--format",
        dest="formats",
        action="append",
        choices=("json", "csv", "vtt", "parquet"),
        default=[],
        help="json for programs, csv for spreadsheets, vtt for the subtitles of a player; printed, or with --out"
        " written beside the Parquet file, which is always there; may be repeated",
    )
    group.add_argument(
        "--annotate",
        action="store_true",
        help="also write each video as an MP4 with its actions in the picture into --out, to look at them",
    )


def _add_engine_flags(group: Any) -> None:
    group.add_argument(
        "--bundle",
        default=os.environ.get("VJEPA_BUNDLE"),
        help="directory of the engine bundle, or the name of a bundle in engines/bundles; give it to use another one"
        " than `serve` would [env var: VJEPA_BUNDLE]",
    )
    group.add_argument(
        "--head",
        metavar="NAME",
        help="label with this head, which you taught your own actions, in place of the model's labels",
    )
    group.add_argument(
        "--heads",
        metavar="DIR",
        type=Path,
        default=HEADS,
        help="where the head of this name is; give the directory that the service uses (default: engines/heads)",
    )
    group.add_argument(
        "--service",
        metavar="URL",
        help="label with a running service at low priority, so that an archive is done while no camera needs it, and no"
        " engine is needed here; for a service with keys, set the key in the environment variable VJEPA_API_KEY",
    )
    add_device(group)
    add_decoders(group, "lower it where memory is short, raise it if the engine waits")


def _add_sampling_flags(group: Any) -> None:
    add_fps(group)
    group.add_argument(
        "--stride",
        metavar="FRAMES",
        type=integer(1, 100_000),
        help="sampled frames between the starts of two windows; lower it for segments that begin and end more exactly,"
        " at a proportional cost (default: half a window)",
    )
    group.add_argument(
        "--max-gap",
        dest="max_gap_s",
        metavar="SECONDS",
        type=number(0.01, 3600),
        help="let no window span a longer time without a frame; raise it for recordings that have frames only where"
        " something moves (default: the length of a window)",
    )


def _add_segment_flags(group: Any) -> None:
    rules = DEFAULT_RULES
    group.add_argument(
        "--enter",
        type=number(0, 1),
        default=rules.enter,
        help="probability at which an action begins; raise it to see fewer and surer ones (default: %(default)g)",
    )
    group.add_argument(
        "--leave",
        type=number(0, 1),
        default=rules.leave,
        help="probability down to which it lasts; raise it if actions are too long (default: %(default)g)",
    )
    group.add_argument(
        "--smoothing",
        dest="smoothing_s",
        metavar="SECONDS",
        type=number(0, 3600),
        default=rules.smoothing_s,
        help="average each window with those so close to it; raise it if actions fall to pieces (default: %(default)g)",
    )
    group.add_argument(
        "--min-length",
        dest="shortest_s",
        metavar="SECONDS",
        type=number(0, 3600),
        default=rules.shortest_s,
        help="drop shorter actions; lower it for actions that are over in a moment (default: %(default)g)",
    )
    group.add_argument(
        "--still-below",
        metavar="LEVELS",
        type=number(0, 255),
        default=rules.still_below,
        help="a picture that changes less is still, and shows no action; raise it for a camera with much noise, 0 for"
        " actions without movement (default: %(default)g)",
    )
    group.add_argument(
        "--no-action",
        metavar="LABEL",
        action="append",
        default=[],
        help=f"a label that is no action; may be repeated (default: {', '.join(rules.no_action)})",
    )


def _add_cluster_flags(group: Any) -> None:
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        nargs="?",
        const="",
        help="label on the Ray cluster at this address, as ray://HEAD:10001 or auto; without an address, on a Ray of"
        " this machine; needs --out, and paths that every machine can read",
    )
    group.add_argument(
        "--ray-cores",
        metavar="N",
        type=integer(1, 1024),
        default=Settings.__dataclass_fields__["ray_cores"].default,
        help="cores of each worker on a machine without GPU; its decoders and its engine share them",
    )
