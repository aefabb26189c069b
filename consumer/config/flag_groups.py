"""The groups of flags; each help text says when to change the value."""

from __future__ import annotations

from typing import Any

from consumer.config.event_flags import add_event_flags
from consumer.config.output_flags import add_output_flags
from consumer.config.sampling_flags import add_reading_flags, add_sampling_flags
from consumer.config.service_flags import add_sending_flags, add_service_flags


def add_all(parser: Any) -> None:
    """Add all flags to a configargparse parser (``Any``, because configargparse has no types)."""
    add_sampling_flags(parser.add_argument_group("clips"))
    add_reading_flags(parser.add_argument_group("sources"))
    add_service_flags(parser.add_argument_group("service"))
    add_sending_flags(parser.add_argument_group("sending"))
    add_output_flags(parser.add_argument_group("output"))
    add_event_flags(parser.add_argument_group("events"))
