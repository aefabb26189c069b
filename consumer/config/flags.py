"""Reads the settings; a flag takes precedence over its environment variable, that over the default."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, NoReturn, TypeVar

from commandline.parser import Parser
from commandline.values import checked
from consumer.config.flag_groups import add_all
from consumer.config.settings import Output, Sampling, Service, Settings
from consumer.feeds.reader import Reading
from consumer.output.events import Rules
from consumer.output.evidence import EvidenceRules
from consumer.output.retention import Retention
from consumer.shown_text import without_credentials
from consumer.sources.ffmpeg import Link
from consumer.sources.source import ACCEPTED, Source
from consumer.sources.source_list import parse_sources, with_name

T = TypeVar("T")

PREFIX = "VJEPA_CONSUMER_"
SOURCES_VARIABLE = f"{PREFIX}SOURCES"

DESCRIPTION = """\
Samples clips from videos and cameras and sends them to a V-JEPA 2 service, which classifies the actions in them. Logs
one line per clip on stderr. Exit codes: 0 if every clip was classified, or after SIGTERM; 1 if the service refused a
request or could not be reached, or if some of the sources could not be read; 2 if an argument is wrong, no source can
be read or an output cannot be written; 130 after Ctrl-C; 141 if the reader of stdout has ended. A camera that cannot be
reached is not an error: the consumer keeps connecting to it."""

# What every head answers for a clip that is none of its actions.
UNKNOWN = "unknown"


class _Parser(Parser):
    def error(self, message: str) -> NoReturn:
        # The message may quote a URL that was given in the wrong place.
        super().error(without_credentials(message))


def parse_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Read the settings; an invalid value prints two lines on stderr and exits with code 2."""
    # Compose and systemd unit files pass an unset variable as an empty one.
    variables = {name: value for name, value in environment.items() if value}
    parser = _parser()
    values = vars(parser.parse_args(arguments, env_vars=variables))
    sources = [source for each in values.pop("sources") for source in each]
    sources = _named(parser, sources or _sources_of(parser, variables.get(SOURCES_VARIABLE, "")), values.pop("names"))
    values["api_key"] = _api_key(parser, variables.get("VJEPA_API_KEY"))
    # Several files are decoded at the same time, each in one thread, which costs less than many threads for each.
    file_threads = 1 if sum(not source.live for source in sources) > 1 else 0
    reading = _pick(Reading, values, link=_pick(Link, values), file_threads=file_threads)
    if values["still"] == "skip" and (values["sending"] == "clips" or values["encoding"] == "json"):
        parser.error("--still skip needs --transport stream, and --encoding raw or jpeg")
    if values["weight"] is not None and (values["sending"] == "clips" or values["encoding"] == "json"):
        parser.error("--weight needs --transport stream, and --encoding raw or jpeg")
    if values["sending"] == "stream" and values["encoding"] == "json":
        parser.error("--transport stream needs --encoding raw or jpeg")
    rules = _pick(Rules, values, prefix="event_", unknown=UNKNOWN if values["head"] else None)
    evidence = _pick(EvidenceRules, values, prefix="evidence_")
    output = _pick(Output, values, rules=rules, evidence=evidence, retention=_pick(Retention, values))
    return Settings(tuple(sources), _pick(Sampling, values), reading, _pick(Service, values), output)


def _pick(kind: type[T], values: Mapping[str, Any], prefix: str = "", **others: object) -> T:
    """Create a ``kind`` from the values that match its fields."""
    names = (each.name for each in fields(kind) if each.name not in others)  # type: ignore[arg-type]
    picked = {name: values[prefix + name] for name in names}
    return kind(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in picked.items()}, **others
    )


def _api_key(parser: _Parser, key: str | None) -> str | None:
    if key is not None and not key.isprintable():
        parser.error("VJEPA_API_KEY has a character that cannot be printed, for example a line feed; accepted: one key")
    return key


def _sources_of(parser: _Parser, text: str) -> list[Source]:
    try:
        sources = [source for each in shlex.split(text) for source in parse_sources(each)]
    except ValueError as error:
        parser.error(f"{SOURCES_VARIABLE}: {error}")
    if not sources:
        parser.error("the following arguments are required: SOURCE")
    return sources


def _named(parser: _Parser, sources: list[Source], names: list[str]) -> list[Source]:
    """The sources under their ``names``, if there are any; a name must not stand for two sources."""
    if names and len(names) != len(sources):
        parser.error(
            f"there are {len(names)} --name for {len(sources)} sources; accepted: one for each, in their order"
        )
    try:
        sources = [with_name(*each) for each in zip(sources, names, strict=True)] if names else sources
    except ValueError as error:
        parser.error(f"argument --name: {error}")
    given = Counter(source.name for source in set(sources) if source.name != without_credentials(source.location))
    if twice := [name for name, count in given.items() if count > 1]:
        parser.error(f"several sources are named {twice[0]!r}; accepted: a name of its own for each")
    return sources


def _parser() -> _Parser:
    parser = _Parser("consume", env_prefix=PREFIX, description=DESCRIPTION, allow_abbrev=False)
    parser.add(
        "sources",
        metavar="SOURCE",
        nargs="*",
        type=checked(parse_sources),
        help=f"one or more sources: {ACCEPTED.removeprefix('accepted: ')}; or set {SOURCES_VARIABLE} to a list"
        " separated by blanks",
    )
    add_all(parser)
    return parser
