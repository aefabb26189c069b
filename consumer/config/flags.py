"""The flags: command line before environment before default."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NoReturn, TypeVar

import configargparse

from consumer.config.flag_groups import add_all
from consumer.config.flag_types import checked
from consumer.config.settings import Output, Sampling, Service, Settings
from consumer.feeds.reader import Reading
from consumer.output.events import Rules
from consumer.sources.ffmpeg import Link
from consumer.sources.source import ACCEPTED, Source, parse_source

T = TypeVar("T")

PREFIX = "VJEPA_CONSUMER_"
SOURCES_VARIABLE = f"{PREFIX}SOURCES"

DESCRIPTION = """\
Samples clips from videos and cameras and has a V-JEPA 2 service say what happens in them. Logs a line per clip on
stderr. Exit code 0: every clip was classified, or SIGTERM; 1: the service refused or could not be reached; 2: an
argument is wrong or a source cannot be read; 130: Ctrl-C. A camera that is away is no error: it is waited for."""


class _Parser(configargparse.ArgumentParser):  # type: ignore[misc]
    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"ERROR {message}; help: see python -m consumer --help\n")
        raise SystemExit(2)


def parse_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Read the settings; on one that cannot be used, prints a line on stderr and exits with code 2."""
    # An empty variable is what compose and unit files make of an unset one.
    variables = {name: value for name, value in environment.items() if value}
    parser = _parser()
    values = vars(parser.parse_args(arguments, env_vars=variables))
    sources = values.pop("sources") or _sources_of(parser, variables.get(SOURCES_VARIABLE, ""))
    values["api_key"] = variables.get("VJEPA_API_KEY")
    reading = _pick(Reading, values, link=_pick(Link, values))
    output = _pick(Output, values, rules=_pick(Rules, values, prefix="event_"))
    return Settings(tuple(sources), _pick(Sampling, values), reading, _pick(Service, values), output)


def _pick(kind: type[T], values: Mapping[str, Any], prefix: str = "", **others: object) -> T:
    """Make a ``kind`` of those of the values that it has fields for."""
    names = (each.name for each in fields(kind) if each.name not in others)  # type: ignore[arg-type]
    picked = {name: values[prefix + name] for name in names}
    return kind(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in picked.items()}, **others
    )


def _sources_of(parser: _Parser, text: str) -> list[Source]:
    try:
        sources = [parse_source(each) for each in shlex.split(text)]
    except ValueError as error:
        parser.error(f"{SOURCES_VARIABLE}: {error}")
    if not sources:
        parser.error("the following arguments are required: SOURCE")
    return sources


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m consumer",
        description=DESCRIPTION,
        auto_env_var_prefix=PREFIX,
        allow_abbrev=False,
    )
    parser.add(
        "sources",
        metavar="SOURCE",
        nargs="*",
        type=checked(parse_source),
        help=f"what to look at, any number of them; {ACCEPTED.removeprefix('accepted: ')}; the environment can name"
        f" them in {SOURCES_VARIABLE}, separated by blanks",
    )
    add_all(parser)
    return parser
