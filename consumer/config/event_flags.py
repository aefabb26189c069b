"""The flags of events and of the recordings of actions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from commandline.values import checked, integer, number
from consumer.output.event_sinks import ACCEPTED_TARGETS, check_target
from consumer.output.events import Rules
from consumer.output.evidence import EvidenceRules

DEFAULT_RULES, DEFAULT_EVIDENCE = Rules(), EvidenceRules()


def add_event_flags(group: Any) -> None:
    """Events, and recordings of actions."""
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
