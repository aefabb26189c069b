"""Reads the settings; a flag takes precedence over its environment variable, that over the default."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from archive.config.recording_flags import add_decoders, add_device, add_fps
from archive.decoding.job import Sampling
from commandline.parser import Parser
from commandline.values import integer, number
from engines.linear_heads.manifest import ALL, NAME
from engines.linear_heads.storage import HEADS
from engines.runtimes.default_bundle import default_bundle
from engines.storage.bundle import find_bundle
from evaluation.answer_cache import default_directory
from teaching.config.settings import Settings

DESCRIPTION = """\
Teaches a head your own actions from videos of them: DIR holds a directory of videos for each action, and in
`background` videos of what is none of them. Prints how well the head tells them apart on videos that it was not taught,
and writes it where the service finds it. Exit codes: 0 if the head was written from all videos; 1 if it was written
without some that could not be read, or the engine failed; 2 if an argument is wrong or the videos cannot be taught; 130
after Ctrl-C. A head is written at the very end, with its report; before that, none is written or changed."""


def parse_settings(arguments: Sequence[str] | None = None) -> Settings:
    """Read the settings; an invalid value prints two lines on stderr and exits with code 2."""
    parser = Parser("teach", env_prefix="VJEPA_TEACH_", description=DESCRIPTION, allow_abbrev=False)
    _add_flags(parser)
    values = vars(parser.parse_args(arguments))
    # Checked here, because the parser would report it before a flag that there is not.
    if values["examples"] is None:
        parser.error("the following arguments are required: NAME and DIR")
    if not re.fullmatch(NAME, values["name"]) or values["name"] == ALL:
        parser.error(
            f"a head cannot be called {values['name']!r}: accepted are up to 64 letters, digits, '.', '_' and '-',"
            f" not first '.' or '-', and not the word {ALL!r}"
        )
    return Settings(
        name=values["name"],
        examples=Path(values["examples"]),
        background=values["background"],
        false_alarms=values["false_alarms"],
        bundle=find_bundle(values["bundle"]) if values["bundle"] else default_bundle().path,
        device=values["device"],
        heads=values["heads"],
        json=values["json"],
        decoders=values["decoders"],
        cache=values["cache"] or default_directory(),
        sampling=Sampling(fps=values["fps"], stride=values["stride"]),
    )


def _add_flags(parser: Parser) -> None:
    parser.add("name", metavar="NAME", nargs="?", help="the name of the head, by which requests ask for it")
    parser.add(
        "examples",
        metavar="DIR",
        nargs="?",
        help="a directory with a directory for each action, named as its label, which holds videos or directories of"
        " images; the one called background holds what is none of the actions",
    )
    _add_unknown_flags(parser.add_argument_group("what is none of the actions"))
    _add_engine_flags(parser.add_argument_group("engine"))
    _add_clip_flags(parser.add_argument_group("clips"))
    _add_output_flags(parser.add_argument_group("output"))


def _add_unknown_flags(group: Any) -> None:
    group.add_argument(
        "--background",
        metavar="DIR",
        type=Path,
        help="videos of what your cameras show when none of the actions happens; give it to teach several heads with"
        " the same background, beside or instead of DIR/background",
    )
    group.add_argument(
        "--false-alarms",
        metavar="SHARE",
        type=number(0, 0.5),
        default=0.01,
        help="share of background windows that may be taken for an action; lower it if alarms are dear, raise it if"
        " misses are (default: %(default)g)",
    )


def _add_engine_flags(group: Any) -> None:
    group.add_argument(
        "--bundle",
        default=os.environ.get("VJEPA_BUNDLE"),
        help="directory of the engine bundle, or the name of a bundle in engines/bundles; give the one that you serve,"
        " because a head fits only its network [env var: VJEPA_BUNDLE] (default: the one that `serve` would take)",
    )
    add_device(group)
    add_decoders(group)


def _add_clip_flags(group: Any) -> None:
    add_fps(
        group,
        "give the rate at which the service will be sent clips, and raise it for actions that are over in a second",
    )
    group.add_argument(
        "--stride",
        metavar="FRAMES",
        type=integer(1, 100_000),
        help="sampled frames between the starts of two clips of a long video; lower it to cut more clips of few videos"
        " (default: half a clip)",
    )


def _add_output_flags(group: Any) -> None:
    group.add_argument(
        "--heads",
        metavar="DIR",
        type=Path,
        default=HEADS,
        help="write the head into this directory; give the one that the service reads (default: engines/heads)",
    )
    group.add_argument(
        "--json",
        action="store_true",
        help="print a line of JSON for each step and at last the report, for programs",
    )
    group.add_argument(
        "--cache",
        metavar="DIR",
        type=Path,
        default=os.environ.get("VJEPA_ANSWERS"),
        help="where features are kept by the content of the videos, so that the next run takes seconds; give another"
        " one if your home is small [env var: VJEPA_ANSWERS] (default: the user's cache directory)",
    )
