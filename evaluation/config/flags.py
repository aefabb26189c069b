"""Reads the settings; a flag takes precedence over its environment variable, that over the default."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from archive.config.recording_flags import add_decoders, add_device, add_fps
from archive.decoding.job import Sampling, Views
from commandline.parser import Parser
from commandline.values import checked
from engines.linear_heads.storage import HEADS, find_head
from engines.runtimes.default_bundle import default_bundle
from engines.storage.bundle import find_bundle
from evaluation.answer_cache import default_directory
from evaluation.config.settings import Settings

DESCRIPTION = """\
Tells how right bundles and heads are on labelled videos: accuracy with intervals, for each action, confusion and
calibration; several side by side, with a paired test. Exit codes: 0 if every video was answered; 1 if some of the
videos could not be read, or the engine failed; 2 if an argument is wrong or no video can be read; 130 after Ctrl-C."""

_VIEWS = re.compile(r"([1-9][0-9]?)x([1-9][0-9]?)")


def parse_settings(arguments: Sequence[str] | None = None) -> Settings:
    """Read the settings; an invalid value prints two lines on stderr and exits with code 2."""
    parser = Parser("evaluate", env_prefix="VJEPA_EVALUATE_", description=DESCRIPTION, allow_abbrev=False)
    _add_flags(parser)
    values = vars(parser.parse_args(arguments))
    if values["videos"] is None:
        parser.error("the following arguments are required: DIR")
    return Settings(
        videos=Path(values["videos"]),
        annotations=values["annotations"],
        bundles=tuple(find_bundle(name) for name in values["bundles"]) or (default_bundle().path,),
        heads=tuple(find_head(name, values["heads_directory"]) for name in values["heads"]),
        out=values["out"],
        json=values["json"],
        device=values["device"],
        decoders=values["decoders"],
        cache=values["cache"] or default_directory(),
        sampling=Sampling(fps=values["fps"], views=values["views"]),
    )


def views(text: str) -> Views | None:
    """``SEGMENTSxCROPS``; None for one view. Raises ValueError."""
    if not (match := _VIEWS.fullmatch(text)):
        raise ValueError(f"{text!r} is not SEGMENTSxCROPS, such as 1x1 or 2x3")
    segments, crops = int(match[1]), int(match[2])
    return None if segments == crops == 1 else Views(segments=segments, crops=crops)


def _add_flags(parser: Parser) -> None:
    parser.add(
        "videos",
        metavar="DIR",
        nargs="?",
        help="a directory with a directory for each action, named as its label, which holds videos or directories of"
        " images; with --annotations, the directory of Something-Something's ID.webm",
    )
    parser.add_argument(
        "--annotations",
        metavar="FILE",
        type=Path,
        help="Something-Something's own validation.json, which names the action of each video; give it to evaluate on"
        " that data set as it is downloaded",
    )
    _add_subject_flags(parser.add_argument_group("what is evaluated"))
    _add_view_flags(parser.add_argument_group("clips"))
    _add_output_flags(parser.add_argument_group("output"))


def _add_subject_flags(group: Any) -> None:
    group.add_argument(
        "--bundle",
        dest="bundles",
        metavar="BUNDLE",
        action="append",
        default=[],
        help="directory of an engine bundle, or the name of one in engines/bundles; repeat it to compare precisions or"
        " models on your clips (default: the one that `serve` would take)",
    )
    group.add_argument(
        "--head",
        dest="heads",
        metavar="NAME|DIR",
        action="append",
        default=[],
        help="evaluate a head in place of the bundle's own labels; videos in DIR/background should be answered with"
        " unknown; repeat it to compare heads",
    )
    group.add_argument(
        "--heads",
        dest="heads_directory",
        metavar="DIR",
        type=Path,
        default=HEADS,
        help="where the heads of these names are; give the directory that the service uses (default: engines/heads)",
    )
    add_device(group)


def _add_view_flags(group: Any) -> None:
    group.add_argument(
        "--views",
        metavar="SEGMENTSxCROPS",
        type=checked(views),
        help="how often each video is seen; 2x3 compares with published figures, at six times the cost (default: 1x1,"
        " one view, as the service sees it)",
    )
    add_fps(group)
    add_decoders(group)


def _add_output_flags(group: Any) -> None:
    group.add_argument("--json", action="store_true", help="print the report as JSON, for programs")
    group.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        help="write report.json, videos.csv with the answer for each video, and pictures of confusion and calibration"
        " into this directory, to look at what goes wrong",
    )
    group.add_argument(
        "--cache",
        metavar="DIR",
        type=Path,
        default=os.environ.get("VJEPA_ANSWERS"),
        help="where answers are kept by the content of the videos, so that the next run takes seconds; give another one"
        " if your home is small [env var: VJEPA_ANSWERS] (default: the user's cache directory)",
    )
